"""The archive of a data set or competition of Kaggle as one zip, by Kaggle's own client, the package `kaggle`.

The client leaves the zip as it is, goes on with a download that was cut if the server's ETag is still the same, and
needs no credentials for a public data set. A competition's data are for accounts that have accepted its rules. The
client neither limits how long it waits for the server, nor looks whether there is room, nor checks what arrived: all
are done here.
"""

import errno
import io
import json
import logging
import os
import shutil
import signal
import time
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from functools import partial
from pathlib import Path
from typing import Any

import requests

from fedxray.core.errors import UserError
from fedxray.core.files import sha256, write_json

ELSEWHERE = "or download the zip elsewhere and set dataset.archive to it"
TOKEN = "(~/.kaggle, KAGGLE_KEY, KAGGLE_API_TOKEN)"  # where the client looks for one
ADVICE = {
    401: f"Kaggle does not know this token: correct or remove it {TOKEN}",
    403: "Kaggle refuses: accept the data set's terms at {page}, and put a token in ~/.kaggle/access_token",
    404: "Kaggle has no such data set: check its name at {page}",
    429: "Kaggle asks to wait: try again later",
}
COMPETITION = ADVICE | {
    401: f"Kaggle wants a valid token {TOKEN}: make one at kaggle.com/settings, and accept the rules at {{page}}/rules",
    403: (
        "Kaggle refuses: accept the rules at {page}/rules, and put a token of the account that accepted them in "
        "~/.kaggle/access_token"
    ),
    404: "Kaggle has no such competition: check its name at {page}",
}

log = logging.getLogger(__name__)


class _Failed(Exception):
    """An attempt failed in a way that the next one may not."""


def fetch_archive(dataset: str, output: Path, retries: int, wait_s: float, stalled_s: float) -> None:
    """Download the archive of `dataset` to `output`, and its record to `output` with suffix .json.

    `dataset` is "owner/name" of a data set, or the name of a competition. The record has it, its version (null if
    Kaggle does not tell it; a competition has none), bytes and sha256. A download that is cut, or of which nothing
    arrives for `stalled_s` seconds, goes on where it was, in this call or in the next: what has arrived is kept beside
    `output`. Call it in the main thread, because a signal ends an attempt that stalls.

    Raises UserError with what to do when Kaggle refuses, when `retries` attempts fail, when the disk has no room, when
    the client cannot be imported, and when what arrives is no zip.
    """
    *owner, name = dataset.split("/")
    if len(owner) > 1 or not all((*owner, name)):
        raise UserError(
            f"--dataset {dataset}: give it as owner/name, or as a competition's name, as in its address at kaggle.com"
        )
    target = output.resolve()  # a link stays: what it leads to is written
    archive = target.with_name(f".{target.name}.download") / f"{name}.zip"  # the client names the file
    try:
        version = _complete(dataset, archive, retries, wait_s, stalled_s)
        record = {"dataset": dataset, "version": version, "bytes": archive.stat().st_size, "sha256": sha256(archive)}
        write_json(output.with_suffix(".json"), record)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(f"{output.parent}: no space left on the disk; make room, and run this again") from error
        raise
    finally:
        with suppress(OSError):
            archive.parent.rmdir()  # if nothing has arrived
    os.utime(archive)  # the client dates it back to Kaggle's upload, so that Snakemake would find it older than it is
    os.replace(archive, target)
    shutil.rmtree(archive.parent)


def _complete(dataset: str, archive: Path, retries: int, wait_s: float, stalled_s: float) -> int | None:
    """Attempt the download until `archive` is whole; returns the version of the data set."""
    attempt = 0
    while True:
        attempt += 1
        archive.parent.mkdir(parents=True, exist_ok=True)
        try:
            version = _download(dataset, archive, stalled_s)
            _check(dataset, archive)
            return version
        except _Failed as failure:
            if attempt >= retries:
                raise UserError(f"{dataset}: {failure}, {retries} times: try again, {ELSEWHERE}") from failure
            log.warning("%s: %s (attempt %d of %d); going on in %g s", dataset, failure, attempt, retries, wait_s)
            time.sleep(wait_s)


def _download(dataset: str, archive: Path, stalled_s: float) -> int | None:
    """Make one attempt to complete `archive`; returns the version of the data set."""
    try:
        with redirect_stdout(io.StringIO()), _ended_if_stalled(archive.parent, stalled_s):  # the bar is on stderr
            client = _client(archive.parent)
            if "/" not in dataset:
                client.competition_download_files(dataset, path=archive.parent, quiet=False)
                return None
            status = json.loads(client.dataset_status(dataset, format="json(current_version_number)"))
            version = status["current_version_number"] or None  # the client has 0 for one that it was not told
            release = f"{dataset}/{version}" if version else dataset
            client.dataset_download_files(release, path=archive.parent, quiet=False)
            return version
    except json.JSONDecodeError as error:
        raise UserError(f"{dataset}: the answer is not Kaggle's (a proxy's page?): try again, {ELSEWHERE}") from error
    except requests.HTTPError as error:
        answer: Any = error.response
        status = answer.status_code
        if status < 500 and answer.request.method == "POST":  # a GET goes to the store that Kaggle names
            kind, known = ("datasets", ADVICE) if "/" in dataset else ("competitions", COMPETITION)
            advice = known.get(status, f"try again later, {ELSEWHERE}").format(page=f"kaggle.com/{kind}/{dataset}")
            raise UserError(f"{dataset}: HTTP {status}: {advice}") from error
        raise _Failed(f"HTTP {status}") from error
    except (requests.RequestException, ConnectionError, TimeoutError) as error:
        reason = "the connection was cut" if archive.exists() else "cannot reach Kaggle"
        raise _Failed(f"{reason} ({type(error).__name__})") from error
    except ValueError as error:  # such as another size than the server said
        shutil.rmtree(archive.parent)
        raise _Failed(f"wrong bytes ({error})") from error


def _client(folder: Path) -> Any:
    """Kaggle's client, which writes below `folder`, and signs in while it is imported if there is a token."""
    for name in ("VERBOSE", "VERBOSE_OUTPUT"):
        os.environ.pop(name, None)  # with either, the client reads the whole archive into memory to print it
    try:
        import kaggle  # here, because it prints how to get a token if there is none, and may end the process
    except (Exception, SystemExit) as error:
        advice = "install requirements.txt again"
        if isinstance(error, OSError):  # it makes a folder for its settings
            advice = "set KAGGLE_CONFIG_DIR to a folder that can be written"
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"the package kaggle cannot be imported ({reason}): {advice}, {ELSEWHERE}") from error
    client: Any = kaggle.api
    client.download_file = partial(_receive, client, folder)  # which its methods for a whole archive call
    return client


def _receive(client: Any, folder: Path, response: Any, archive: str, *options: Any) -> None:
    """Let the client write the answer to `archive` below `folder`, if there is room; it would retry on a full disk."""
    size, path = int(response.headers.get("Content-Length") or 0), Path(archive)
    more, free = size - (path.stat().st_size if path.exists() else 0), shutil.disk_usage(folder).free
    if more > free:
        raise UserError(
            f"{folder.parent}: {more / 1e9:.3g} GB are needed and {free / 1e9:.3g} GB are free; make room, or use "
            "another disk"
        )
    type(client).download_file(client, response, archive, *options, max_retries=0)


@contextmanager
def _ended_if_stalled(folder: Path, stalled_s: float) -> Iterator[None]:
    """Raise TimeoutError inside the block if the files in `folder` do not grow for `stalled_s` seconds."""

    def arrived() -> int:
        return sum(path.lstat().st_size for path in folder.iterdir())

    before = arrived()

    def look(signum: int, frame: object) -> None:
        nonlocal before
        before, last = arrived(), before
        if before == last:
            raise TimeoutError(f"nothing arrived for {stalled_s:g} s")

    handler, timer = signal.signal(signal.SIGALRM, look), signal.setitimer(signal.ITIMER_REAL, stalled_s, stalled_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, *timer)
        signal.signal(signal.SIGALRM, handler)


def _check(dataset: str, archive: Path) -> None:
    """Remove an archive that is no zip, or of which a member is not what its CRC-32 says, and raise."""
    if not zipfile.is_zipfile(archive):
        shutil.rmtree(archive.parent)
        raise UserError(f"{dataset}: what arrived is no zip (a proxy's page?): try again, {ELSEWHERE}")
    try:
        with zipfile.ZipFile(archive) as members:
            wrong = members.testzip()
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        wrong = str(error)
    if wrong:
        shutil.rmtree(archive.parent)
        raise _Failed(f"wrong checksum of {wrong}")
