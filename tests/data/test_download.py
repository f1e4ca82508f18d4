"""The download, against a local server that answers as Kaggle does: its API, and a store that it redirects to.

Kaggle's client is aimed at it by settings alone: its own KAGGLE_API_ENVIRONMENT=LOCALHOST, which is port 80, and the
server as the HTTP proxy of that.
"""

import io
import os
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from helpers.log import heard

from fedxray.core.errors import UserError
from fedxray.core.files import read_json, sha256
from fedxray.data.download import fetch_archive

DATASET = "owner/chest-xray"
COMPETITION = "opacity-challenge"
SCRIPT = Path(__file__).parents[2] / "scripts" / "fetch_kaggle.py"
PAGE = b"<html>log in</html>"


def archive() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as images:
        images.writestr("chest_xray/train/NORMAL/IM-0001-0001.jpeg", os.urandom(3_000_000))
    return file.getvalue()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def reply(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in ({"Content-Length": len(body)} | headers).items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        """The API. Each request names the data set, and the download its version; or it names the competition."""
        request, server = self.rfile.read(int(self.headers["Content-Length"])), self.server
        server.requests.append((self.path.rpartition("/")[2], request.decode()))
        if server.status != 200:
            self.reply(server.status, b'{"message": "no"}', Content_Type="application/json")
        elif server.page:
            self.reply(200, PAGE, Content_Type="text/html")
        elif self.path.endswith("/IntrospectToken"):
            self.reply(200, b'{"active": true, "username": "reader"}', Content_Type="application/json")
        elif self.path.endswith("/DownloadDataFiles") and (refusal := self.refusal()):
            self.reply(*refusal, Content_Type="application/json")
        elif self.path.endswith(("/DownloadDataset", "/DownloadDataFiles")):
            self.reply(302, Location=f"http://localhost/bucket/archive.{server.format}?signature=abc")
        else:
            about = b'{"ref": "owner/chest-xray", "currentVersionNumber": 2}'
            self.reply(200, about if server.version else b"{}", Content_Type="application/json")

    def refusal(self):
        """What a competition answers to those whom it does not know, and to those who have not accepted its rules."""
        if self.headers.get("Authorization") != "Bearer right":
            return 401, b'{"code": 401, "message": "Unauthenticated"}'
        if not self.server.accepted:
            return 403, b'{"code": 403, "message": "You must accept this competition\'s rules"}'
        return None

    def do_GET(self):
        """The store. A range is of the current object, or else the whole of it comes."""
        server, body = self.server, self.server.body
        if server.store_status != 200:
            self.reply(server.store_status, b"<Error>expired</Error>", Content_Type="application/xml")
            return
        if server.corrupt:
            server.corrupt -= 1
            middle = len(body) // 2
            body = body[:middle] + bytes(byte ^ 1 for byte in body[middle : middle + 9]) + body[middle + 9 :]
        etag = f'"{hash(server.body)}"'
        first = int(self.headers.get("Range", "bytes=0-")[6:-1]) if self.headers.get("If-Range") == etag else 0
        server.ranges.append(first)
        self.send_response(206 if first else 200)
        self.send_header("Content-Length", str(len(body) - first))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", etag)
        self.send_header("Last-Modified", "Sat, 24 Mar 2018 19:41:59 GMT")
        self.end_headers()
        part = body[first:]
        if server.cuts or server.stalls:
            self.wfile.write(part[: len(part) // 2])
            self.wfile.flush()
            if server.stalls:
                server.stalls -= 1
                server.released.wait(60)
            else:
                server.cuts -= 1
            self.close_connection = True
            self.connection.shutdown(1)
        else:
            self.wfile.write(part)


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """A client that has closed its connection is no error of the server's."""


@pytest.fixture
def kaggle(tmp_path, monkeypatch):
    server = Server(("127.0.0.1", 0), Handler)
    server.status, server.store_status, server.page, server.version, server.body = 200, 200, False, True, archive()
    server.cuts, server.stalls, server.corrupt, server.ranges, server.requests = 0, 0, 0, [], []
    server.accepted, server.format, server.released = True, "zip", threading.Event()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name in [name for name in os.environ if name.startswith("KAGGLE") or name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "LOCALHOST")
    for protocol in ("http", "https"):  # the second so that no test can reach the true Kaggle
        monkeypatch.setenv(f"{protocol}_proxy", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    yield server
    server.released.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def output(tmp_path):
    return tmp_path / "data" / "images.zip"


@pytest.fixture
def member(kaggle, monkeypatch):
    """The server, for someone who has an account with a token and has accepted the competition's rules."""
    monkeypatch.setenv("KAGGLE_API_TOKEN", "right")
    return kaggle


def fetch(output, dataset=DATASET, retries=2, wait_s=0.01, stalled_s=30.0):
    fetch_archive(dataset, output, retries, wait_s, stalled_s)


def refused(output, dataset=DATASET, **options):
    """The one line that a failed download ends in."""
    with pytest.raises(UserError) as error:
        fetch(output, dataset, **options)
    assert not output.exists()
    assert not output.with_suffix(".json").exists()
    assert "\n" not in str(error.value)
    return str(error.value)


def kept(output):
    """The files below the output's folder that a later call goes on with."""
    return sorted(path.name for path in output.parent.rglob("*"))


def run(output, dataset=DATASET, **environment):
    """The script in a process of its own."""
    command = [sys.executable, SCRIPT, "--dataset", dataset, "--retries", "2", "--wait-s", "0.01", "--output", output]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True)


def test_the_script_needs_no_token_and_says_nothing_of_one(kaggle, output):
    done = run(output, VERBOSE="1")  # with which the client would read all of it into memory and print it
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert "Authentication" not in done.stderr
    assert len(done.stderr) < 10_000
    assert output.read_bytes() == kaggle.body


def test_the_archive_arrives_whole_with_its_record(kaggle, output):
    before = time.time()
    fetch(output)
    assert output.read_bytes() == kaggle.body
    record = {"dataset": DATASET, "version": 2, "bytes": len(kaggle.body), "sha256": sha256(output)}
    assert read_json(output.with_suffix(".json")) == record
    assert sorted(path.name for path in output.parent.iterdir()) == ["images.json", "images.zip"]  # nothing unpacked
    assert output.stat().st_mtime > before - 2  # not Kaggle's date
    names, requests = zip(*kaggle.requests, strict=True)
    assert names == ("GetDataset", "DownloadDataset")
    assert '"datasetVersionNumber": 2' in requests[1]  # the version that the record names


def test_a_link_stays_and_what_it_leads_to_arrives(kaggle, output, tmp_path):
    output.parent.mkdir()
    output.symlink_to(tmp_path / "large disk" / "a.zip")
    fetch(output)
    assert output.is_symlink()
    assert (tmp_path / "large disk" / "a.zip").read_bytes() == kaggle.body
    assert kept(output) == ["images.json", "images.zip"]


def test_a_version_that_kaggle_does_not_say_is_null(kaggle, output):
    kaggle.version = False
    fetch(output)
    assert read_json(output.with_suffix(".json"))["version"] is None


def test_a_cut_connection_goes_on_where_it_was(kaggle, output):
    kaggle.cuts = 1
    with heard() as lines:
        fetch(output)
    assert output.read_bytes() == kaggle.body
    assert max(kaggle.ranges) > 0
    assert "the connection was cut (ChunkedEncodingError) (attempt 1 of 2); going on in 0.01 s" in "\n".join(
        [*lines, *lines.warnings]
    )


def test_a_later_call_goes_on_where_it_was(kaggle, output):
    kaggle.cuts = 1
    assert "the connection was cut" in refused(output, retries=1)
    assert kept(output) == [".images.zip.download", "chest-xray.zip", "chest-xray.zip.kaggle-partial"]
    fetch(output)
    assert max(kaggle.ranges) > 0
    assert output.read_bytes() == kaggle.body


def test_what_arrived_of_another_archive_is_thrown_away(kaggle, output):
    kaggle.cuts = 1
    refused(output, retries=1)
    kaggle.body = archive()
    fetch(output)
    assert max(kaggle.ranges) == 0
    assert output.read_bytes() == kaggle.body


def test_a_server_that_says_nothing_more_is_not_waited_for(kaggle, output):
    kaggle.stalls = 1
    start = time.monotonic()
    fetch(output, stalled_s=0.5)
    assert time.monotonic() - start < 20
    assert max(kaggle.ranges) > 0
    assert output.read_bytes() == kaggle.body


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, "HTTP 401: Kaggle does not know this token"),
        (403, "HTTP 403: Kaggle refuses: accept the data set's terms at kaggle.com/datasets/owner/chest-xray, and put"),
        (404, "HTTP 404: Kaggle has no such data set"),
        (429, "HTTP 429: Kaggle asks to wait"),
        (418, "HTTP 418: try again later, or download the zip elsewhere"),
    ],
)
def test_a_refusal_is_one_line_with_what_to_do_at_the_first_attempt(kaggle, output, status, said):
    kaggle.status = status
    assert said in refused(output)
    assert len(kaggle.requests) == 1
    assert kept(output) == []


def test_a_server_in_trouble_is_asked_again(kaggle, output):
    kaggle.status = 503
    assert "HTTP 503, 2 times: try again, or download the zip elsewhere and set dataset.archive" in refused(output)
    assert len(kaggle.requests) == 2


def test_a_link_that_has_expired_says_nothing_of_the_terms_and_is_asked_for_again(kaggle, output):
    kaggle.store_status = 403
    assert "HTTP 403, 2 times: try again" in refused(output)
    assert [name for name, _ in kaggle.requests].count("DownloadDataset") == 2


def test_a_token_that_kaggle_does_not_know(kaggle, output):
    kaggle.status = 401
    done = run(output, KAGGLE_API_TOKEN="wrong")
    assert done.returncode == 1
    assert done.stderr.startswith("error: owner/chest-xray: HTTP 401: Kaggle does not know this token")
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


def test_wrong_bytes_are_fetched_again_and_then_refused(kaggle, output):
    kaggle.corrupt = 1
    fetch(output)
    assert output.read_bytes() == kaggle.body
    output.unlink()
    output.with_suffix(".json").unlink()
    kaggle.corrupt = 2
    assert "wrong checksum of chest_xray/train/NORMAL/IM-0001-0001.jpeg, 2 times" in refused(output)
    assert kept(output) == []


@pytest.mark.parametrize("place", ["store", "api"])
def test_a_proxys_page(kaggle, output, place):
    if place == "store":
        kaggle.body = PAGE
    kaggle.page = place == "api"
    assert "a proxy's page?): try again, or download the zip elsewhere" in refused(output)
    assert kept(output) == []


def test_no_network(kaggle, output, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    line = refused(output)
    assert "cannot reach Kaggle" in line
    assert "set dataset.archive to it" in line


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux's")
def test_a_full_disk_is_named_and_not_tried_again(kaggle, output):
    folder = output.with_name(".images.zip.download")
    folder.mkdir(parents=True)
    (folder / "chest-xray.zip").symlink_to("/dev/full")
    assert refused(output) == f"{output.parent}: no space left on the disk; make room, and run this again"
    assert len(kaggle.ranges) == 1


@pytest.mark.parametrize(("arrived", "more"), [(0, "0.003"), (1, "0.00195")])
def test_a_disk_without_room_is_named_before_the_download(kaggle, output, monkeypatch, arrived, more):
    """What has arrived, which the client writes in whole MiB, needs no more room."""
    usage = shutil.disk_usage(output.parents[1])
    if arrived:
        kaggle.cuts = 1
        refused(output, retries=1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1_000_000))
    said = f"{output.parent}: {more} GB are needed and 0.001 GB are free; make room, or use another disk"
    assert refused(output, retries=1) == said
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=2_000_000 if arrived else 3_100_000))
    fetch(output)
    assert output.read_bytes() == kaggle.body


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("print('Authentication required')\nexit(1)", "(SystemExit: 1): install requirements.txt again"),
        ("import a_module_that_is_not_there", "(ModuleNotFoundError: No module named 'a_module_that_is_not_there')"),
        ("open('/no/such/folder/kaggle.json')", "set KAGGLE_CONFIG_DIR to a folder that can be written"),
    ],
)
def test_a_client_that_cannot_be_imported(kaggle, output, tmp_path, code, said):
    (tmp_path / "kaggle.py").write_text(code)
    done = run(output, PYTHONPATH=os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    assert done.returncode == 1
    assert done.stderr.startswith("error: the package kaggle cannot be imported")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_a_competition_arrives_whole_with_its_record(member, output):
    fetch(output, COMPETITION)
    assert output.read_bytes() == member.body
    record = {"dataset": COMPETITION, "version": None, "bytes": len(member.body), "sha256": sha256(output)}
    assert read_json(output.with_suffix(".json")) == record
    assert sorted(path.name for path in output.parent.iterdir()) == ["images.json", "images.zip"]
    name, request = member.requests[-1]
    assert (name, request) == ("DownloadDataFiles", f'{{"competitionName": "{COMPETITION}"}}')


def test_the_script_fetches_a_competition(member, output):
    done = run(output, COMPETITION, KAGGLE_API_TOKEN="right")
    assert done.returncode == 0, done.stderr
    assert output.read_bytes() == member.body


@pytest.mark.parametrize("trouble", ["cuts", "stalls"])
def test_a_competition_goes_on_where_it_was(member, output, trouble):
    setattr(member, trouble, 1)
    refused(output, COMPETITION, retries=1, stalled_s=0.5)
    assert kept(output) == [".images.zip.download", f"{COMPETITION}.zip", f"{COMPETITION}.zip.kaggle-partial"]
    fetch(output, COMPETITION)
    assert member.ranges == [0, 0, 1 << 20]  # the client writes whole MiB
    assert output.read_bytes() == member.body


def test_a_competitions_wrong_bytes_are_fetched_again(member, output):
    member.corrupt = 1
    fetch(output, COMPETITION)
    assert output.read_bytes() == member.body
    assert [name for name, _ in member.requests].count("DownloadDataFiles") == 2


def test_a_competition_without_a_token_says_how_to_get_one(kaggle, output):
    done = run(output, COMPETITION)
    assert done.returncode == 1
    assert done.stderr == (
        "error: opacity-challenge: HTTP 401: Kaggle wants a valid token (~/.kaggle, KAGGLE_KEY, KAGGLE_API_TOKEN): "
        "make one at kaggle.com/settings, and accept the rules at kaggle.com/competitions/opacity-challenge/rules\n"
    )
    assert done.stdout == ""
    assert kept(output) == []


def test_a_competition_whose_rules_are_not_accepted_names_the_page(member, output):
    member.accepted = False
    assert refused(output, COMPETITION) == (
        "opacity-challenge: HTTP 403: Kaggle refuses: accept the rules at "
        "kaggle.com/competitions/opacity-challenge/rules, and put a token of the account that accepted them in "
        "~/.kaggle/access_token"
    )
    assert [name for name, _ in member.requests].count("DownloadDataFiles") == 1
    assert kept(output) == []


def test_a_competition_that_is_none(member, output):
    member.status = 404
    said = "HTTP 404: Kaggle has no such competition: check its name at kaggle.com/competitions/opacity-challenge"
    assert said in refused(output, COMPETITION)


@pytest.mark.parametrize("place", ["store", "api", "another format"])
def test_a_proxys_page_in_place_of_a_competition(member, output, place):
    if place != "api":
        member.body = PAGE
    member.page, member.format = place == "api", "7z" if place == "another format" else "zip"
    assert "a proxy's page?): try again, or download the zip elsewhere" in refused(output, COMPETITION)
    assert kept(output) == []


@pytest.mark.parametrize("name", ["", "/chest-xray", "owner/", "owner/chest-xray/2"])
def test_a_name_that_is_none(output, name):
    with pytest.raises(UserError, match="give it as owner/name, or as a competition's name, as in its address"):
        fetch_archive(name, output, 1, 0.0, 1.0)
