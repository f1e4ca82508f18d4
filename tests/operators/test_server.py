"""The organiser's command: federation.yml, and a federation of real processes that sites join, leave, may not join."""

import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import psutil
import pytest
import yaml
from helpers.data import write_patients
from helpers.log import heard
from helpers.operators import ask, free_port, unpack
from helpers.tutorial import Reader
from helpers.workflow import ENVIRONMENT

from fedxray.core.errors import UserError
from fedxray.core.files import read_json, write_json
from fedxray.flare.own import OwnFile
from fedxray.flare.session import AdminSession
from fedxray.operators import server as command
from fedxray.operators.checks import check_server
from fedxray.operators.server import read_federation, start, status

GOOD = {
    "host": "fl.example.org",
    "port": 8002,
    "sites": ["us", "st-mary"],
    "image_size": 64,
    "fit": "stretch",
    "valid_days": 360,
}
WAIT_S = 180  # a command starts in a second, in twenty while all other tests run beside it on two cores


def test_sites_have_the_names_that_the_schema_of_the_workflow_allows(tmp_path, monkeypatch):
    path = tmp_path / "federation.yml"
    path.write_text(yaml.safe_dump(GOOD))
    assert read_federation(tmp_path) == GOOD
    schema = yaml.safe_load(Path("config/schema.yaml").read_text())
    for name in (*schema["properties"]["sites"]["items"]["not"]["enum"], "us\n", "9th"):
        path.write_text(yaml.safe_dump(GOOD | {"sites": [name]}))
        with pytest.raises(UserError, match="is no name for a site"):
            read_federation(tmp_path)
    path.write_text(yaml.safe_dump(GOOD))
    monkeypatch.setattr(command, "CHECKOUT", tmp_path)
    with pytest.raises(UserError, match=r"schema\.yaml: missing; provision in a checkout"):
        read_federation(tmp_path)
    schema["properties"]["sites"]["items"] |= {"pattern": "^[a-z]{2}$"}
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "schema.yaml").write_text(yaml.safe_dump(schema))
    with pytest.raises(UserError, match="'st-mary' is no name for a site"):
        read_federation(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"host": "Fl_1"}, "host: 'Fl_1' is no host name"),
        ({"host": 5}, "host: 5 is not str"),
        ({"port": 0}, "port: 0, but it must be 1 to 65535"),
        ({"port": "8002"}, "port: '8002' is not int"),
        ({"sites": ["US"]}, "'US' is no name for a site"),
        ({"sites": ["us", "server"]}, "'server' is no name"),
        ({"sites": ["us", "us"]}, "name each hospital once"),
        ({"sites": []}, "at least one"),
        ({"valid_days": 9999}, "valid_days: 9999"),
        ({"root": 1}, "these keys and no others"),
    ],
)
def test_what_does_not_fit_is_said_before_anything_is_made(tmp_path, change, said):
    (tmp_path / "federation.yml").write_text(yaml.safe_dump(GOOD | change))
    with pytest.raises(UserError, match=re.escape(said)):
        ask(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["federation.yml"]


def test_a_key_that_is_twice_is_told(tmp_path):
    (tmp_path / "federation.yml").write_text(yaml.safe_dump(GOOD) + "port: 9000\n")
    with pytest.raises(UserError, match=r"port: twice in .*federation\.yml, in lines"):
        read_federation(tmp_path)


class Process:
    """A command of ours, started; its lines are in a file."""

    def __init__(self, log, command, cwd, environment=os.environ):
        self.log = log
        environment = environment | {"PYTHONUNBUFFERED": ""}  # as systemd starts it
        with open(log, "w") as file:
            self.process = subprocess.Popen(command, stdout=file, stderr=file, cwd=cwd, env=environment)

    def wait_for(self, text, count=1):
        """Until the command has said `text`, `count` times."""
        deadline = time.monotonic() + WAIT_S
        while self.log.read_text().count(text) < count:
            assert time.monotonic() < deadline, f"{text!r} was not said: {self.log.read_text()}"
            time.sleep(0.2)

    def end(self, how=signal.SIGTERM):
        """Interrupt it; returns its exit code, when none of its children is left."""
        children = psutil.Process(self.process.pid).children(recursive=True) if self.process.poll() is None else []
        self.process.send_signal(how)
        code = self.process.wait(WAIT_S)
        assert not psutil.wait_procs(children, timeout=10)[1]
        return code


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """The reader of docs/tutorials/hospital.md, at home at a place with spaces and umlauts in its name."""
    home = tmp_path_factory.mktemp("federation") / "eine Föderation"
    write_patients(home / "images", 20)
    write_patients(home / "public-images", 6, first=30)
    replaced = {"fl.example.org": "localhost", "port: 8002": f"port: {free_port()}", "days: 360": "days: 100"}
    return Reader("hospital.md", home, replaced, ENVIRONMENT | {"HOME": str(home), "PYTHONPATH": os.getcwd()})


@pytest.fixture(scope="module")
def federation(reader):
    """(the organiser's folder, its server's process), of us and europe, as the tutorial says; its server is up."""
    folder = reader.folder / "federation"
    reader.read("The organiser, in short")
    command = ["bash", "-c", f"exec {reader.take('The organiser starts the server')}"]
    server = Process(folder / "server.log", command, reader.folder, reader.environment)
    server.wait_for("the server is up")
    yield folder, server
    assert server.end() == 130


@pytest.mark.slow
def test_the_operator_follows_the_tutorial_until_the_hospital_has_joined(federation, reader):
    """Where everything pinned is there already: the packages of this environment are shown to the hospital's."""
    folder, home = federation[0], reader.folder
    shutil.copy(folder / "archives" / "us.tar.gz", home)
    shutil.copytree(folder / "shared", home / "shared")
    said = reader.read("The archive")
    assert (folder / "archives" / "us.tar.gz.sha256").read_text().split()[0] in said
    here = reader.environment
    reader.environment = {key: value for key, value in here.items() if key != "PYTHONPATH"}
    reader.environment |= {"PYTHON": sys.executable, "PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull}
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", reader.folder / ".venv"], check=True)
    packages = next((reader.folder / ".venv").glob("lib/python*/site-packages"))
    (packages / "here.pth").write_text(sysconfig.get_path("purelib") + "\n")
    for heading in ("Install", "Your images", "What jobs may spend of your patients' privacy", "Check"):
        reader.read(heading)
    said = reader.read("What leaves your house")
    assert read_json(folder / "kits.json")["us"]["certificate_sha256"] in said.replace(":", "").lower()
    log = home / "site.log"
    site = Process(log, ["bash", "-c", f"exec {reader.take('Start')}"], reader.folder, reader.environment)
    site.wait_for("joined the federation")
    reader.environment = here
    reader.read("The organiser sees who is there")
    assert site.end() == 130
    assert not reader.blocks
    shutil.rmtree(reader.folder / ".venv")


@pytest.fixture
def join(federation, data, tmp_path):
    """A function that unpacks the archive of a site, gives it data, and starts it; all are ended at the end."""
    started = []

    def start(site, folder=None):
        place = folder or unpack(federation[0], site, tmp_path / f"Klinik {len(started)} für alle")
        OwnFile(place / "kit").write(data=data[site])
        command = [sys.executable, "-m", "fedxray.operators.site", "start"]
        log = tmp_path / f"{len(started)}.log"
        one = Process(log, command, place, os.environ | {"PYTHONPATH": os.getcwd()})
        started.append(one)
        one.folder = place
        return one

    yield start
    for one in started:
        if one.process.poll() is None:
            one.end(signal.SIGINT)


def connected(folder):
    return {row["name"]: row for row in status(folder) if row["heartbeat_s"] is not None}


def until(condition):
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.3)


@pytest.mark.slow
def test_a_certificate_of_another_root_is_refused_and_logged(federation, tmp_path):
    folder, server = federation
    other = tmp_path / "other"
    other.mkdir()
    for made in (folder, other):
        ask(made, sites=["us"])
    own, others = (unpack(made, "us", tmp_path / f"of {made.name}") / "kit" for made in (folder, other))
    for name in ("client.crt", "client.key"):
        shutil.copy(others / "startup" / name, own / "startup" / name)
    with pytest.raises(UserError, match="ask the organiser whether"):
        check_server(own)
    server.wait_for("a caller did not get in, TLS failed: SSL_ERROR_SSL")
    assert "Handshake failed" in (folder / "kits" / "localhost" / "out.txt").read_text()


@pytest.mark.slow
def test_an_admins_kit_from_before_its_renewal_is_refused_in_one_line(federation, tmp_path, capfd):
    folder, _ = federation
    ask(folder)
    kit = shutil.copytree(folder / "kits" / "admin@fedxray.org", tmp_path / "admin")
    ask(folder, renew=("admin@fedxray.org",))
    with (
        AdminSession(kit, 30, 0.5) as session,
        pytest.raises(UserError, match=r"refused: admin@fedxray.org is not admitted .*; copy the kit from there again"),
    ):
        session.call(lambda connected: connected.get_system_info())
    assert "Traceback" not in capfd.readouterr().err


def test_a_server_without_tensorboard_is_told_what_to_install(organiser, data, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install -r .*/requirements\.txt"):
        start(organiser, data["shared"], tmp_path)


def test_the_guide_installs_on_the_server_what_the_server_needs():
    guide = Path("docs/hospitals.md").read_text().split("### Install")[1].split("###")[0]
    pins = Path(re.search(r"pip install -r (\S+)", guide)[1]).read_text()
    assert {"tensorboard", "nvflare", "torch"} <= set(re.findall(r"^([\w-]+)==", pins, re.M))


@pytest.mark.slow
def test_a_hospital_comes_and_goes_while_the_server_runs(federation, join):
    folder, server = federation
    ask(folder, sites=["us"])
    us = join("us")
    us.wait_for("joined the federation")
    row = connected(folder)["us"]
    assert row["heartbeat_s"] < 30
    assert set(row["versions"]) == {"fedxray", "protocol", "python", "nvflare", "torch"}
    assert row["certificate_days"] == 99
    assert "trusts the certificate" in check_server(us.folder / "kit")

    ask(folder, sites=["us", "asia"])
    asia = join("asia")
    asia.wait_for("joined the federation")
    assert set(connected(folder)) == {"us", "asia"}

    ask(folder, sites=["us"])
    server.wait_for("dropped asia: its certificate is no longer admitted")
    until(lambda: set(connected(folder)) == {"us"})
    assert asia.end() == 130
    again = join("asia", asia.folder)
    assert again.process.wait(WAIT_S) == 1
    assert "refused: asia is not admitted with this certificate; ask the organiser" in again.log.read_text()
    server.wait_for("refused asia: certificate")
    assert us.log.read_text().count("joined") == 1  # nobody disturbed it
    assert server.process.poll() is None


@pytest.mark.slow
def test_a_renewed_kit_joins_and_the_old_one_no_longer(federation, join):
    folder, server = federation
    ask(folder, sites=["us", "europe"])
    old = join("europe")
    old.wait_for("joined the federation")
    ask(folder, renew=("europe",))
    server.wait_for("dropped europe")
    assert old.end() == 130
    new = join("europe")
    new.wait_for("joined the federation")
    refused = join("europe", old.folder)
    assert refused.process.wait(WAIT_S) == 1
    assert "not admitted with this certificate" in refused.log.read_text()
    assert "europe" in connected(folder)  # the thief of an old kit does not end the true one's session


def test_a_server_whose_certificate_has_ended_does_not_start_and_others_are_warned_of(tmp_path, data):
    ask(tmp_path, valid_days=20)
    manifest = read_json(tmp_path / "kits.json")
    manifest["us"]["not_after"] = "2019-01-01T00:00:00+00:00"
    manifest["localhost"]["not_after"] = "2020-01-01T00:00:00+00:00"
    write_json(tmp_path / "kits.json", manifest)
    ended = pytest.raises(UserError, match=r"server's certificate has ended.*fedxray-server renew")
    with heard() as lines, ended:
        start(tmp_path, data["shared"], tmp_path / "tensorboard")
    assert "the certificate of us has ended; renew it: fedxray-server renew" in "".join(lines.warnings)


def test_without_a_server_status_says_so(tmp_path):
    ask(tmp_path)
    with pytest.raises(UserError, match=r"no answer from the server in 2 s .*is it up"):
        status(tmp_path)
    with pytest.raises(UserError, match="run fedxray-server provision"):
        status(tmp_path / "empty")
