"""The download, against a local server that answers as Kaggle's API does: metadata, a redirect, ranges and MD5."""

import base64
import hashlib
import io
import os
import subprocess
import sys
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from fedxray.core.files import read_json, sha256

# Kaggle's client can only be aimed elsewhere from within; its own TEST environment reads whole bodies to log them.
AIMED = """
import runpy, sys
from kagglesdk import kaggle_env
kaggle_env._env_to_endpoint[kaggle_env.KaggleEnv.PROD] = "http://localhost:" + sys.argv.pop(1)
sys.argv[0] = "scripts/fetch_kaggle.py"
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def archive() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as images:
        images.writestr("chest_xray/train/NORMAL/IM-0001-0001.jpeg", os.urandom(3_000_000))
    return file.getvalue()


class Kaggle(BaseHTTPRequestHandler):
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
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        server = self.server
        if server.status != 200:
            self.reply(server.status, b'{"message": "no"}', Content_Type="application/json")
        elif "Download" in self.path:
            self.reply(302, Location=f"http://localhost:{server.server_port}/bucket/archive.zip")
        else:
            self.reply(200, b'{"currentVersionNumber": 2}', Content_Type="application/json")

    def do_GET(self):
        server, body = self.server, self.server.body
        digest = hashlib.md5(b"other" if server.corrupt else body).digest()
        start = int(self.headers.get("Range", "bytes=0-")[6:-1])
        server.ranges.append(start)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body) - start))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("x-goog-hash", "md5=" + base64.b64encode(digest).decode())
        self.end_headers()
        part = body[start:]
        if server.cuts:
            server.cuts -= 1
            self.wfile.write(part[: len(part) // 2])
            self.close_connection = True
            self.wfile.flush()
            self.connection.shutdown(1)
        else:
            self.wfile.write(part)


@pytest.fixture
def kaggle():
    server = ThreadingHTTPServer(("localhost", 0), Kaggle)
    server.daemon_threads = True
    server.status, server.corrupt, server.cuts, server.ranges, server.body = 200, False, 0, [], archive()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def fetch(tmp_path, port, retries=2):
    environment = {key: value for key, value in os.environ.items() if not key.startswith("KAGGLE")}
    environment |= {"HOME": str(tmp_path), "KAGGLEHUB_CACHE": str(tmp_path / "cache")}
    output = tmp_path / "data" / "images.zip"
    command = [sys.executable, "-c", AIMED, str(port), "--retries", str(retries), "--wait-s", "0.1"]
    done = subprocess.run([*command, "--output", str(output)], env=environment, capture_output=True, text=True)
    return done, output


def test_the_archive_arrives_whole_with_its_checksum(kaggle, tmp_path):
    done, output = fetch(tmp_path, kaggle.server_port)
    assert done.returncode == 0, done.stderr
    assert output.read_bytes() == kaggle.body
    record = read_json(output.with_suffix(".json"))
    assert (record["sha256"], record["version"]) == (sha256(output), 2)
    assert sorted(path.name for path in output.parent.iterdir()) == ["images.json", "images.zip"]  # nothing unpacked


def test_a_cut_connection_goes_on_where_it_was(kaggle, tmp_path):
    kaggle.cuts = 1
    done, output = fetch(tmp_path, kaggle.server_port)
    assert done.returncode == 0, done.stderr
    assert output.read_bytes() == kaggle.body
    assert max(kaggle.ranges) > 0


def test_a_later_run_resumes(kaggle, tmp_path):
    kaggle.cuts = 1
    done, output = fetch(tmp_path, kaggle.server_port, retries=1)
    assert done.returncode == 1
    assert "cut" in done.stderr
    assert not output.exists()
    assert fetch(tmp_path, kaggle.server_port)[0].returncode == 0
    assert max(kaggle.ranges) > 0


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"status": 403}, "accept the data set's terms"),
        ({"status": 404}, "no such data set"),
        ({"corrupt": True}, "checksum"),
        ({"body": b"<html>log in</html>"}, "no zip"),
    ],
)
def test_each_failure_is_one_line_with_what_to_do(kaggle, tmp_path, fault, said):
    for name, value in fault.items():
        setattr(kaggle, name, value)
    done, output = fetch(tmp_path, kaggle.server_port)
    last = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1
    assert last.startswith("error: ")
    assert said in last
    assert "Traceback" not in done.stderr
    assert not output.exists()


def test_no_network(tmp_path):
    done, _ = fetch(tmp_path, 9)
    assert done.returncode == 1
    assert "dataset.archive" in done.stderr
    assert "Traceback" not in done.stderr
