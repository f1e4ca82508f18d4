"""The one error that a user is meant to read, and errors of the disk as lines of that kind."""

import errno
import os
import re
from collections.abc import Iterator


class UserError(Exception):
    """Something the user can fix: the message names the file or key, what is wrong, and what to do.

    Scripts print it as one line and exit with 1 (`fedxray.core.cli`); everything else is a bug and keeps its traceback.
    """


FULL = "no space left on the disk; free some, and run it again"
DENIED = "permission denied; let this user read and write it, or give another place"
DISK = {
    errno.ENOSPC: FULL,
    errno.EDQUOT: "no space left on the disk for this user (quota); free some, and run it again",
    errno.EFBIG: "larger than files may be there (ulimit -f, or the file system); give another place",
    errno.EROFS: "on a file system that can only be read; give another place, or mount it for writing",
    errno.EACCES: DENIED,
    errno.EPERM: DENIED,
    errno.EIO: "the disk fails (input/output error); see the system's log, and give another place",
    errno.ELOOP: "a link that leads back to itself; remove it",
    errno.EISDIR: "a folder, where a file is needed; give another name",
    errno.ENOTDIR: "a part of this path is a file, where a folder is needed; give another place",
    errno.EEXIST: "there already, and no folder; give another place",
    errno.ENAMETOOLONG: "a longer name than the file system takes; give a shorter one",
}
# If the error names no file, it is of something else, such as a signal to a process that is not permitted.
OF_FILES = {errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR, errno.EEXIST}
# What libraries say that raise errors of their own: the words of C or Rust, and of NumPy.
WORDS = {
    rf"{os.strerror(code)}|\(os error {code}\)": code for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
} | {r"\d+ requested and \d+ written": errno.ENOSPC}


def disk_error(error: BaseException) -> OSError | None:
    """The error of the disk, one of `DISK`, that `error` is or comes from; None if there is none."""
    for cause in _causes(error):
        if isinstance(cause, OSError) and cause.errno in DISK:
            return cause if cause.filename or cause.errno not in OF_FILES else None
        for words, code in WORDS.items():
            if re.search(words, str(cause)):
                return OSError(code, os.strerror(code))
    return None


def disk_line(error: BaseException) -> str:
    """The line that tells the user of the disk's error behind `error`; empty if there is none."""
    fault = disk_error(error)
    if not fault or fault.errno is None:
        return ""
    return f"{fault.filename}: {DISK[fault.errno]}" if fault.filename else DISK[fault.errno]


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error:
        yield error
        error = error.__cause__ or error.__context__
