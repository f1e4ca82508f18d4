"""A digest of the images that an experiment begins with: a parameter of the rules that read them, so that they run
again when the images are others, and only then.

Of an archive the directory of the zip is the content: names, sizes and checksums. Its own time counts for nothing. Of a
folder, the digest keeps as long as each file has the size and the times (of its content and of its inode) that it had
when it was last looked at. A file whose size or times are others is read, and compared by SHA-256 with what the
catalogue has of it, or with what it was compared with before: a file that was only touched, copied, or moved to another
disk and back changes nothing, and one that is put back as it was brings the old digest back. The table that says what
the images are is small and corrected by hand, so it is always read. Hidden files and documents do not count.

A record for each source, beside Snakemake's own, has what was seen last. It belongs to one catalogue, because two
experiments may have read the same folder at different times. Any plan may write it, also a dry run: a change that was
seen once gives a digest of its own, and keeps it until the images are what they were. Jobs, which may run on another
machine, only read the record.

Times on a network file system may be coarse, so a file that has changed within two seconds of a look is not trusted at
the next one, and is read then. Numbers of files (inodes) are not used. What is not seen: another content of the same
size, written so that both times stay as they were; that is possible only if the file system does not keep the time of
the inode, or if its clock is more than two seconds off and its times are coarse. And where nothing is known of a file's
content, because the catalogue does not list it, its times decide alone.
"""

import csv
import glob
import json
import logging
import os
import time
import zipfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from fnmatch import fnmatch
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from fedxray.core import files
from fedxray.core.listing import COPY, HIDDEN, is_document, is_hidden, is_table, walk

log = logging.getLogger(__name__)

RECENT_NS = 2_000_000_000
MANY = 1000  # files whose comparison is announced
READ_AGAIN = -1  # a time that no file has
UNREADABLE = "unreadable"
DAMAGED = (ValueError, KeyError, TypeError, AttributeError)  # what a record that was written otherwise gives


class Seen(NamedTuple):
    """A file as it was seen last, and what is known of its content."""

    size: int
    mtime: int  # nanoseconds
    ctime: int  # nanoseconds; READ_AGAIN if the file is to be read at the next look
    first: str = ""  # what stands for the content that it had first; by default its size and times
    first_sha256: str = ""  # of that content, once it is known
    sha256: str = ""  # of its content, if it was ever compared

    @property
    def token(self) -> str:
        """What stands for its content in the digest."""
        return self.sha256 if self.sha256 != self.first_sha256 else self.first or " ".join(map(str, self[:3]))


class Content:
    """The images of an experiment's sources."""

    def __init__(self, memory: str | Path, look: bool = True):
        """`memory` is a folder for the records. Without `look`, the digests are those of the records."""
        self.memory = Path(memory)
        self.look = look
        self.digests: dict[tuple[str, ...], str] = {}

    def digest(self, source: str | Path, catalogue: str | Path, table: str = "manifest.csv") -> str:
        """16 hexadecimal digits over the content of `source`: a zip, a folder, or a manifest in its images' folder.

        `catalogue` is the CSV that the rules make of it, which may not be there yet: it has columns file and
        sha256, which is empty where no step has read the file. `table` is a pattern of the names of tables that are
        read with the images. Within a process the digest stays as it was at the first call. It is "" if it has to be
        read from a record that is not there. Raises nothing for what cannot be read: the rule that reads it says so.
        """
        key = (str(source), str(catalogue), table)
        if key not in self.digests:
            name = sha256("\0".join(key).encode(errors="surrogateescape")).hexdigest()[:16]
            record = Record(self.memory / f"{name}.json")
            if self.look:
                record.update(Path(source), Path(catalogue), table)
            self.digests[key] = record.digest
        return self.digests[key]


class Record:
    """What was seen last of a source. The first line of its file is enough as long as nothing has changed."""

    def __init__(self, path: Path):
        self.path = path
        self.digest = self.listing = ""
        with suppress(OSError, *DAMAGED), path.open(encoding="utf-8") as file:
            head = json.loads(file.readline())
            self.digest, self.listing = head["digest"], head["listing"]

    def update(self, source: Path, catalogue: Path, table: str) -> None:
        """Look at the source, and keep what was seen, if the file can be written."""
        start = time.time_ns()
        fixed, found = _look(source, table)
        listing = _digest((name, str(value)) for name, value in (fixed | found).items())
        if listing == self.listing:
            return
        seen = self._compared(source, catalogue, found)
        self.digest = _digest((fixed | {name: seen[name].token for name in found}).items())[:16]
        unsure = [name for name, file in found.items() if _is_recent(file, start) or seen[name].sha256 == UNREADABLE]
        for name in unsure:
            seen[name] = seen[name]._replace(ctime=READ_AGAIN, first=seen[name].first or seen[name].token)
        self.listing = "" if unsure else listing
        head = json.dumps({"source": str(source), "digest": self.digest, "listing": self.listing})
        with suppress(OSError):
            files.write_text(self.path, f"{head}\n{json.dumps(seen)}\n")

    def _compared(self, source: Path, catalogue: Path, found: dict[str, Seen]) -> dict[str, Seen]:
        """What is known now of the files that were found, and of those that the catalogue lists and that are gone."""
        old: dict[str, Seen] = {}
        with suppress(OSError, *DAMAGED), self.path.open(encoding="utf-8") as file:
            file.readline()
            old = {name: Seen(*values) for name, values in json.loads(file.readline()).items()}
        known = _known(catalogue) if old else {}
        seen = {name: file for name, file in old.items() if name in known} | found
        changed = {}
        for name, file in found.items():
            before = old.get(name)
            if before is None:
                continue
            if before[:3] == file[:3]:
                seen[name] = before
            elif (first_sha256 := before.first_sha256 or known.get(name)) is not None:
                first = before.first or " ".join(map(str, before[:3]))
                seen[name] = Seen(*file[:3], first, first_sha256)
                if first_sha256:
                    changed[name] = seen[name]
        if len(changed) > MANY:
            log.warning(f"{source}: {len(changed)} files have other times than before; their contents are compared")
        root = _root(source)
        with ThreadPoolExecutor(8) as pool:
            digests = list(pool.map(_sha256, [root / name for name in changed]))
        for (name, file), digest in zip(changed.items(), digests, strict=True):
            seen[name] = file._replace(sha256=digest)
        return seen


def _root(source: Path) -> Path:
    """The folder that the names of files are relative to."""
    return source if source.is_dir() else source.parent


def _look(source: Path, table: str) -> tuple[dict[str, str], dict[str, Seen]]:
    """({name: what stands for its content}, {name: state}): what is known at once; files that may have to be read."""
    if is_table(source):
        return _look_below(source.parent, glob.escape(source.name))
    if source.is_dir():
        return _look_below(source, table)
    try:
        with zipfile.ZipFile(source) as archive:
            members = [one for one in archive.infolist() if not is_hidden(one.filename)]
            return {one.filename: f"{one.file_size} {one.CRC}" for one in members}, {}
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        try:
            return {}, {source.name: _seen(source.stat())}
        except OSError:
            return {source.name: UNREADABLE}, {}


def _look_below(root: Path, table: str) -> tuple[dict[str, str], dict[str, Seen]]:
    """The same of what counts in a folder."""
    fixed, found = {}, {}
    for name, why, entry in walk(root):
        if why in (HIDDEN, COPY):
            continue
        if fnmatch(name.rpartition("/")[2].lower(), table.lower()):
            fixed[name] = _sha256(root / name)
        elif why or entry is None:
            fixed[name] = UNREADABLE
        elif not is_document(name):
            try:
                found[name] = _seen(entry.stat())
            except OSError:
                fixed[name] = UNREADABLE
    return fixed, found


def _seen(state: os.stat_result) -> Seen:
    return Seen(state.st_size, state.st_mtime_ns, state.st_ctime_ns)


def _is_recent(file: Seen, now: int) -> bool:
    """Whether a file may change once more without a change of its times."""
    return abs(now - file.mtime) < RECENT_NS or abs(now - file.ctime) < RECENT_NS


def _known(catalogue: Path) -> dict[str, str]:
    """{file: SHA-256, or "" if it was not read} of a catalogue; empty if there is none."""
    try:
        with catalogue.open(encoding="utf-8", newline="") as file:
            return {row["file"]: row["sha256"] for row in csv.DictReader(file)}
    except (OSError, ValueError, KeyError, csv.Error):
        return {}


def _sha256(path: str | Path) -> str:
    """The SHA-256 of a file, or UNREADABLE."""
    try:
        return files.sha256(path)
    except OSError:
        return UNREADABLE


def _digest(pairs: Iterable[tuple[str, str]]) -> str:
    """The SHA-256 over pairs of a name and a text, in the order of the names."""
    text = "".join(f"{name}\0{value}\n" for name, value in sorted(pairs))
    return sha256(text.encode(errors="surrogateescape")).hexdigest()
