"""What lies below a folder, for everything that reads one: the same files count, whoever looks."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

# Folders and files of operating systems, beside all whose name begins with a dot.
HIDDEN_NAMES = ("__macosx", "thumbs.db", "desktop.ini", "@eadir", "$recycle.bin", "system volume information")
# Files that hold no image. What has another suffix, and none, may be one.
DOCUMENTS = (
    *(
        ".csv",
        ".tsv",
        ".txt",
        ".md",
        ".rst",
        ".pdf",
        ".json",
        ".xml",
        ".html",
        ".htm",
        ".doc",
        ".docx",
        ".xls",
        ".xlsx",
    ),
    *(".ods", ".odt", ".rtf", ".py", ".ipynb", ".sh", ".log", ".yml", ".yaml", ".ini", ".bib", ".sha256", ".md5"),
)
DOCUMENT_NAMES = ("readme", "license", "licence", "copying", "dicomdir", "checksums")


def is_hidden(name: str) -> bool:
    """Whether a file, by its path below the folder or in the archive, is hidden, or lies in what is hidden."""
    return any(part.startswith(".") or part.lower() in HIDDEN_NAMES for part in name.split("/"))


def is_document(name: str) -> bool:
    """Whether a file, by its path, is one that holds no image."""
    stem, suffix = os.path.splitext(name.rpartition("/")[2].lower())
    return suffix in DOCUMENTS or stem in DOCUMENT_NAMES


def files_below(root: str | Path) -> Iterator[tuple[str, os.stat_result | None]]:
    """(path below `root` with slashes, state) of each file that is not hidden, in no order.

    Links are followed, to files and to folders. A link to a folder that it lies in is passed over, which is found by
    paths and not by the numbers of files, because those of some network file systems change. So are links to nothing.
    A folder that cannot be listed comes as its path with a slash at the end, and a file that cannot be looked at as its
    path: both without a state.
    """
    top = os.path.realpath(root)
    # (path below root and a slash, real path, real paths of the folders that it lies in)
    waiting: list[tuple[str, str, tuple[str, ...]]] = [("", top, (top,))]
    while waiting:
        below, real, around = waiting.pop()
        try:
            with os.scandir(real) as entries:
                here = [entry for entry in entries if not is_hidden(entry.name)]
        except OSError:
            yield below or "/", None
            continue
        for entry in here:
            name = below + entry.name
            try:
                if entry.is_dir():
                    folder = os.path.realpath(entry.path) if entry.is_symlink() else entry.path
                    if folder not in around:
                        waiting.append((f"{name}/", folder, (*around, folder)))
                elif entry.is_file():
                    yield name, entry.stat()
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ELOOP):  # removed since it was listed; a link to itself
                    yield name, None
