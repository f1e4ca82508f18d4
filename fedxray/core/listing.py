"""What lies below a folder, for everything that reads one: the same files count, whoever looks."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

# What systems and programs leave in folders, beside names that begin with a point.
LEFT_BEHIND = (
    *("__macosx", "icon\r", "network trash folder", "temporary items", "lost+found"),
    *("thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "recycler", "system volume information"),
    *("@eadir", "#recycle", "@recycle", "#snapshot", "@tmp"),  # of network storage; deleted files lie there
)
TABLES = (".csv", ".tsv")
# Suffixes and names of further files that hold no image.
DOCUMENTS = (
    *(".txt", ".md", ".rst", ".pdf", ".html", ".htm", ".doc", ".docx", ".odt", ".rtf", ".xls", ".xlsx", ".ods"),
    *(".json", ".xml", ".yaml", ".yml", ".ini", ".cfg", ".log", ".bak", ".swp", ".tmp", ".part", ".py", ".sh", ".lock"),
    *(".ipynb", ".bib", ".sha256", ".md5"),
)
DOCUMENT_NAMES = ("readme", "license", "licence", "copying", "dicomdir", "checksums")

# Why a file cannot be read, or need not be.
HIDDEN, COPY = "hidden", "copy"
UNREADABLE, UNLISTED, SPECIAL = "unreadable", "a folder that may not be listed", "not an image"


class Found(NamedTuple):
    """A file below a folder: its path from there with slashes, why it cannot be read, or "", and its entry."""

    name: str
    why: str
    entry: "os.DirEntry[str] | None"


def is_hidden(name: str) -> bool:
    """Whether a file, by its path below the folder or in the archive, is hidden or left behind by a system."""
    return any((part.startswith(".") and part != ".") or part.lower() in LEFT_BEHIND for part in name.split("/"))


def is_table(path: Path) -> bool:
    """Whether what a user gives is a table, in whose folder the images lie."""
    return path.suffix.lower() in TABLES and not path.is_dir()


def is_document(name: str) -> bool:
    """Whether a file is a table or a document by its name."""
    stem, suffix = os.path.splitext(name.rpartition("/")[2].lower())
    return suffix in TABLES or suffix in DOCUMENTS or stem in DOCUMENT_NAMES


def walk(root: str | Path) -> Iterator[Found]:
    """Each file below the folder `root`, in no order.

    A folder that is hidden, that may not be listed, or that a link leads to and that is found elsewhere too, comes as
    its path with a slash at the end. Links are followed, real folders first, and folders are told apart by their real
    paths, because the numbers of files change on some network file systems.
    """
    folders, links, seen = [("", os.path.realpath(root))], [], set()
    while folders or links:
        below, folder = folders.pop() if folders else links.pop(0)
        if folder in seen:
            yield Found(below, COPY, None)
            continue
        seen.add(folder)
        try:
            with os.scandir(folder) as entries:
                here = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            yield Found(below or "./", f"{UNLISTED}: {error.strerror}", None)
            continue
        for entry in here:
            name = below + entry.name
            try:
                is_folder, is_file = entry.is_dir(), entry.is_file()
            except OSError as error:  # such as a link to itself
                yield Found(name, HIDDEN if is_hidden(entry.name) else f"{UNREADABLE}: {error.strerror}", entry)
                continue
            if is_hidden(entry.name):
                yield Found(name + "/" * is_folder, HIDDEN, entry)
            elif is_folder and entry.is_symlink():
                links.append((f"{name}/", os.path.realpath(entry.path)))
            elif is_folder:
                folders.append((f"{name}/", entry.path))
            elif is_file:
                yield Found(name, "", entry)
            else:
                nowhere = f"{UNREADABLE}: a link that leads nowhere"
                yield Found(name, nowhere if entry.is_symlink() else SPECIAL, entry)
