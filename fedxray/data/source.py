"""The files of a source: a zip, which is never unpacked, or a folder. All are listed, the reason with those that are no
images.
"""

import lzma
import os
import re
import struct
import zipfile
import zlib
from fnmatch import fnmatch
from functools import cache, cached_property
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from fedxray.core import listing
from fedxray.core.errors import UserError
from fedxray.core.files import printable

SUFFIXES = (".jpeg", ".jpg", ".png", ".bmp", ".tif", ".tiff", ".dcm", ".dicom")
# Why a file is not taken. The first five need no word in the configuration.
HIDDEN, COPY, DOCUMENT, KNOWN, DROPPED = listing.HIDDEN, listing.COPY, "document", "known, without a label", "dropped"
VIEW, NOT_AN_IMAGE, NO_LABEL = "another view", listing.SPECIAL, "no label"
UNREADABLE, UNLISTED, BURNED_IN = listing.UNREADABLE, listing.UNLISTED, "annotations in the pixels"

# What a file in a damaged archive raises.
DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError, NotImplementedError, ValueError)
PLAIN = tuple(suffix for suffix in SUFFIXES if suffix not in (".dcm", ".dicom"))
COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)


class File(NamedTuple):
    """A file of a source: its name, relative to the source with "/", and why it cannot be an image; "" if it may be."""

    name: str
    why: str


class Reader:
    """Reads files by name, and lists none, so that it opens fast; raises BadZipFile for a file that is not a zip."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.root = self.path.parent if listing.is_table(self.path) else self.path
        self.zip = None if self.root.is_dir() else zipfile.ZipFile(self.path)

    @cached_property
    def members(self) -> dict[str, zipfile.ZipInfo]:
        """The files of the zip by name, with "/" where a program of Windows wrote another, and without "./" before it.

        Raises UserError if a name is there twice.
        """
        assert self.zip is not None
        members = {}
        for member in self.zip.infolist():
            if member.is_dir() or member.filename.endswith("\\"):
                continue
            name = re.sub(r"^(\./+)+", "", member.filename.replace("\\", "/"))
            if name in members:
                raise UserError(f"{self.path}: {printable(name)} is in it twice; pack it again")
            members[name] = member
        return members

    def read(self, name: str, size: int = -1) -> bytes:
        """The first `size` bytes of the file `name`, or all; raises OSError or what zipfile raises for damaged ones."""
        if not self.zip:
            with open(self.root / name, "rb") as file:
                return file.read(size)
        with self.zip.open(self.members[name]) as file:
            return file.read(size)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.zip:
            self.zip.close()


@cache
def open_reader(path: Path) -> Reader:
    """The reader of `path`. A process opens it once: reading a zip's directory takes longer than a chunk's images."""
    return Reader(path)


os.register_at_fork(after_in_child=open_reader.cache_clear)  # a fork that kept the open file would share its position


def open_source(path: str | Path) -> Reader:
    """A reader of the images that a user names; raises UserError if nothing is there, or no folder, table or zip.

    It also raises UserError for a zip with a password or of a compression that Python cannot undo.
    """
    path = Path(path)
    try:
        if not path.exists():
            raise UserError(f"{path}: no such file or directory; it is where your images should be: check the path")
        if not path.is_file() and not path.is_dir():
            raise UserError(f"{path}: neither a file nor a folder; give a folder, a zip or a .csv")
        reader = Reader(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, NotImplementedError, zipfile.BadZipFile, struct.error) as error:  # of a damaged one
        raise UserError(
            f"{path}: not a zip archive, or cut short; download it again, or give a folder, a zip or a .csv"
        ) from error
    again = "unpack it and give the folder, or pack it again as a plain zip"
    for member in reader.zip.infolist() if reader.zip else ():
        if member.flag_bits & 1:
            raise UserError(f"{path}: its files have a password; {again}")
        if member.compress_type not in COMPRESSIONS:
            kind = {9: "deflate64, as Windows makes zips above 2 GB"}.get(member.compress_type, member.compress_type)
            raise UserError(f"{path}: packed by a method that Python cannot read ({kind}); {again}")
    return reader


def list_files(reader: Reader, known: tuple[str, ...] = ()) -> list[File]:
    """Every file of the source, sorted by name; a folder that is hidden, or may not be listed, comes with "/" after it.

    Links to folders are followed, each folder once. `known` are patterns of names of further files of a known data set.
    Raises UserError for a zip that has a name twice.
    """
    if reader.zip:
        names = dict.fromkeys(reader.members, "")
    else:
        names = {found.name: found.why for found in listing.walk(reader.root)}
    files = [File(printable(name), why or _why(reader, name, known)) for name, why in names.items()]
    for number, file in enumerate(files):
        first = _first_copy(file.name)
        if not file.why and first != file.name and first in names:
            files[number] = File(file.name, COPY)
    return sorted(files)


def may_be_dicom(name: str) -> bool:
    """Whether a file, by its name, may be a DICOM."""
    return PurePosixPath(name).suffix.lower() not in PLAIN


def _why(reader: Reader, name: str, known: tuple[str, ...]) -> str:
    """Why the file cannot be an image; "" if it may be."""
    if listing.is_hidden(name):
        return HIDDEN
    if any(fnmatch(name, pattern) or fnmatch(name, f"*/{pattern}") for pattern in known):
        return KNOWN
    if printable(name) != name:
        return f"{UNREADABLE}: its name is not UTF-8 or has a line break; rename it"
    if PurePosixPath(name).suffix.lower() in SUFFIXES:
        return ""
    if listing.is_document(name):
        return DOCUMENT
    try:
        return "" if reader.read(name, 132)[128:] == b"DICM" else NOT_AN_IMAGE
    except Exception:  # zipfile raises many things for damaged members
        return NOT_AN_IMAGE


def _first_copy(name: str) -> str:
    """The name that a copy in Kaggle's archive is of: `chest_xray/chest_xray/x` is a copy of `chest_xray/x`.

    Where the source is the outer of these two folders, `chest_xray/train/x` is a copy of `train/x`.
    """
    name = re.sub(r"^chest_xray/(train|val|test)/", r"\1/", name)
    return re.sub(r"(^|/)chest_xray/chest_xray/", r"\1chest_xray/", name)
