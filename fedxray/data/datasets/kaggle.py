"""Kaggle's archive, as one zip, by Kaggle's own client.

kagglehub and not the `kaggle` package: it needs no credentials for public data sets, checks MD5 and resumes, where the
other exits when it is imported without a token. Its public call unpacks 2.3 GB into a cache; the images are read from
the zip here, so this uses its client one level below.
"""

import errno
import os
import time
import zipfile
from pathlib import Path

import kagglehub.auth  # noqa: F401  (completes the package's own circular imports)
import requests
from kagglehub.clients import build_kaggle_client, download_file
from kagglehub.exceptions import DataCorruptionError, KaggleApiHTTPError
from kagglehub.handle import parse_dataset_handle
from kagglehub.http_resolver import _build_dataset_download_request, _get_current_version
from kagglehub.resolver import Resolver  # noqa: F401

from fedxray.core.errors import UserError
from fedxray.core.files import sha256, write_json

ELSEWHERE = "or download the zip elsewhere and set dataset.archive to it"
HTTP = {
    401: "Kaggle does not know this token: mend or remove ~/.kaggle/kaggle.json, KAGGLE_KEY and KAGGLE_API_TOKEN",
    403: "Kaggle refuses: accept the data set's terms on its page and put a token in ~/.kaggle/kaggle.json",
    404: "Kaggle has no such data set: check its name",
    429: "Kaggle asks to wait: try again later",
}


def fetch_archive(dataset: str, output: Path, retries: int = 4, wait_s: float = 5.0) -> None:
    """Download the archive of `dataset` ("owner/name") to `output`, and its record to `output` with suffix .json.

    A download that is cut goes on where it was, in this call and in the next. Raises UserError with what to do when
    Kaggle refuses, when it cannot be reached after `retries`, and when what arrives is not a whole zip.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    partial = output.with_name(f".{output.name}.partial")
    for attempt in range(1, retries + 1):
        try:
            version = _download(dataset, partial)
            break
        except KaggleApiHTTPError as error:
            status = error.response.status_code if error.response is not None else 0
            if status < 500 or attempt == retries:
                advice = HTTP.get(status, f"try again later, {ELSEWHERE}")
                raise UserError(f"{dataset}: HTTP {status}: {advice}") from error
        except DataCorruptionError as error:
            if attempt == retries:
                raise UserError(f"{dataset}: wrong checksum {retries} times: try again, {ELSEWHERE}") from error
        except requests.RequestException as error:
            if attempt == retries:
                reason = "the connection was cut" if partial.exists() else "cannot reach Kaggle"
                raise UserError(f"{dataset}: {reason} ({type(error).__name__}): try again, {ELSEWHERE}") from error
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise UserError(f"{output.parent}: no space left on the disk; 2.5 GB are needed") from error
            raise
        print(f"fetch_kaggle: attempt {attempt} of {retries} failed, going on in {wait_s:g} s", flush=True)
        time.sleep(wait_s)
    if not zipfile.is_zipfile(partial):
        partial.unlink()
        raise UserError(f"{dataset}: what arrived is no zip (a proxy's page?): try again, {ELSEWHERE}")
    record = {"dataset": dataset, "version": version, "bytes": partial.stat().st_size, "sha256": sha256(partial)}
    write_json(output.with_suffix(".json"), record)
    os.replace(partial, output)


def _download(dataset: str, partial: Path) -> int:
    """One attempt; returns the version of the data set. A cut connection leaves what has arrived in `partial`."""
    handle = parse_dataset_handle(dataset)
    with build_kaggle_client() as client:
        handle = handle.with_version(_get_current_version(client, handle))
        response = client.datasets.dataset_api_client.download_dataset(_build_dataset_download_request(handle, None))
        if response.status_code >= 400:
            raise KaggleApiHTTPError(f"HTTP {response.status_code}", response=response)
        download_file(response, str(partial), handle)
        size = int(response.headers.get("Content-Length", 0))
    if size and partial.stat().st_size < size:
        raise requests.ConnectionError(f"{partial.stat().st_size} of {size} bytes arrived")
    return handle.version
