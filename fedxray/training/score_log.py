"""The log of `fedxray-predict`: which scores a model gave at a hospital, and when. It has no image and no name of one.

    day, image, score, version, sha256

`image` is a keyed hash of the file's content (HMAC-SHA-256, RFC 2104; 64 bits as hex): without the key, a file beside
the log, it tells nobody which image it was. With it an image that is predicted twice counts once, and labels that come
later find their scores. `version` is that of a promoted model, else empty; `sha256` is that of its parameters.
"""

import fcntl
import hmac
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from datetime import date
from pathlib import Path

import pandas as pd

from fedxray.core.errors import UserError
from fedxray.data.patients import secret_of

COLUMNS = ("day", "image", "score", "version", "sha256")
HEADER = ",".join(COLUMNS) + "\n"


def key_of(log: Path) -> Path:
    """The file of the key by which images are hashed in a log; nobody but its owner can read it."""
    return log.with_name(log.name + ".key")


def hashed(log: Path, images: Iterable[bytes]) -> list[str]:
    """What a log calls images, by the bytes of their files; the key is drawn if the log has none yet."""
    secret = secret_of(key_of(log))
    return [hmac.new(secret, image, "sha256").hexdigest()[:16] for image in images]


def check(log: Path) -> None:
    """Raise UserError if the file is there and is no such log; one whose header a power cut left torn is one."""
    if log.exists():
        with log.open("rb") as file:
            if not HEADER.encode().startswith(file.read(len(HEADER))):
                raise UserError(f"{log}: no log of fedxray-predict; give another file to --log")


def append(log: Path, day: date, images: Sequence[str], scores: Sequence[float], version: str, sha256: str) -> None:
    """Add a row for each image (of `hashed`), all of them or none; the file is made with mode 0600.

    Several processes may append at once. What a power cut left torn at the end is removed first. Raises UserError
    if the file is there and is no such log.
    """
    check(log)
    rows = [
        ",".join((day.isoformat(), image, repr(score), version, sha256))
        for image, score in zip(images, map(float, scores), strict=True)
    ]
    with open(os.open(log, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+b", buffering=0) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        size = _whole(file)
        try:
            os.ftruncate(file.fileno(), size)
            file.seek(size)
            text = (("" if size else HEADER) + "".join(f"{row}\n" for row in rows)).encode()
            if file.write(text) != len(text):
                raise UserError(f"{log}: no space left on the disk; free some, and run it again")
            os.fsync(file.fileno())
        except BaseException:
            with suppress(OSError):
                os.ftruncate(file.fileno(), size)
            raise


def _whole(file) -> int:
    """How many bytes of a log are a whole header and whole rows."""
    end = os.fstat(file.fileno()).st_size
    while True:
        first = max(0, end - 4096)
        file.seek(first)
        if (found := file.read(end - first).rfind(b"\n")) >= 0:
            return first + found + 1
        if first == 0:
            return 0
        end = first


def read_log(log: Path) -> pd.DataFrame:
    """The whole rows of a log: `day` as dates, `score` float64, the rest text.

    Raises UserError if it is none, and for a row that cannot be, such as one of a day to come.
    """
    try:
        text = log.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{log}: cannot be read; give the file that fedxray-predict --log wrote") from error
    if not HEADER.startswith(text[: len(HEADER)]):
        raise UserError(f"{log}: no log of fedxray-predict; give the file that its --log wrote")
    lines = text[len(HEADER) : text.rfind("\n") + 1].splitlines()  # one that is being written is not whole
    rows = []
    for number, line in enumerate(lines, start=2):
        try:
            day, image, score, version, sha256 = line.split(",")
            rows.append((date.fromisoformat(day), image, float(score), version, sha256))
            if not 0 <= rows[-1][2] <= 1:
                raise ValueError("the score is no probability")
            if rows[-1][0] > date.today():
                raise ValueError(f"the day {day} is to come")
        except ValueError as error:
            raise UserError(f"{log}: line {number}: {error}; correct or remove it") from error
    return pd.DataFrame(rows, columns=list(COLUMNS))
