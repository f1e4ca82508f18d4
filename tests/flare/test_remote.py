"""A federation of machines: a network namespace for the server, each site and the workflow, with its own files."""

import json
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
from helpers.data import make_settings, make_sites
from helpers.network import HOST, PORT, Capture, Machines, Network, is_tls, make_kits, wait_until, why_not

from fedxray.core.files import read_json, read_table, sha256, write_table
from fedxray.core.parameters import load_model, save_model
from fedxray.data.site import load_site
from fedxray.federation.inprocess import InProcess
from fedxray.federation.policy import Schedule
from fedxray.federation.pooled import Pooled
from fedxray.federation.rounds import ServerRounds, SiteRounds
from fedxray.runs import train_alone

SITES = ["us", "europe", "asia"]
WAITS = {"--start-timeout-s": "120", "--round-timeout-s": "3600", "--patience-s": "600", "--poll-s": "0.5"}
EVERYONE = {"--absent": "fail", "--min-sites": "0"}
LATE_S = 25  # what a round may take here, on busy cores
CUT_S = 35  # longer than a heartbeat waits for its answer; a minute passes as well

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(why_not()), reason=why_not() or "namespaces work"),
]
# Three networks, each of a worker of its own; tests/conftest.py says which comes first.
CUT, MISSED, OTHER = (pytest.mark.xdist_group(f"network-{name}") for name in ("cut", "missed", "other"))


class Run:
    """A script of the workflow, on its own machine, and what it says."""

    def __init__(self, machines, script, output, options, sites=SITES):
        self.log = output.parent / f"{output.name}-{time.monotonic_ns()}.log"
        argv = [f"scripts/{script}.py", "--admin-kit", machines.kit("workflow"), "--sites", *sites]
        argv += [word for option in (WAITS | options).items() for word in option]
        with self.log.open("wb") as log:
            self.process = machines.run(argv, stdout=log, stderr=subprocess.STDOUT)

    def said(self):
        return self.log.read_text()

    def wait_for(self, text, timeout_s=120):
        wait_until(lambda: text in self.said() or self.process.poll() is not None, timeout_s, text)
        assert text in self.said(), self.said()

    def end(self, timeout_s=150):
        code = self.process.wait(timeout_s)
        return code, self.said()


def settings_of(epochs):
    return make_settings(image_size=16, epochs=epochs)


def in_words(settings):
    """{option: word} of the settings of a run."""
    words = settings.options()
    return dict(zip(words[::2], words[1::2], strict=True))


def train(machines, output, rounds, local_epochs, options=None, **more):
    """Start a federated run of `rounds`, with `options` in place of the usual ones."""
    words = EVERYONE | in_words(settings_of(rounds * local_epochs)) | (options or {})
    words |= {"--rounds": str(rounds), "--local-epochs": str(local_epochs), "--output": output / "model.safetensors"}
    return Run(machines, "train_remote", output, words, **more)


def expected(machines, rounds, local_epochs, path):
    """The SHA-256 of the model that federated averaging in one process leaves."""
    engine = InProcess({site: machines.data[site] for site in SITES}, machines.data["server"])
    schedule = Schedule(rounds, local_epochs)
    save_model(path, engine.train(settings_of(schedule.epochs), schedule).parameters)
    return sha256(path)


def workers(machines):
    """The processes of jobs, which the idle clients start and end, at the sites."""
    found = []
    for site in SITES:
        for pid in machines.network.pids(site):
            if psutil.pid_exists(pid) and any("worker_process" in word for word in psutil.Process(pid).cmdline()):
                found.append((site, pid))
    return found


def checkpoints(machines):
    """The checkpoints that the server keeps; a test before may have left one, of a run that failed."""
    return set((machines.kit("server") / "checkpoints").glob("*"))


@pytest.fixture(scope="module")
def machines(tmp_path_factory):
    folder = tmp_path_factory.mktemp("machines") / "ein Netz für alle"
    folders = make_sites(folder / "data")
    data = folders | {"server": folder / "data" / "shared"}
    with Network(["server", *SITES, "workflow", "stranger"]) as network:
        machines = Machines(network, folder, data)
        for name in data:
            machines.start(name)
        yield machines


@pytest.fixture(autouse=True)
def mended(machines):
    """A cable that a test cut, and failed before it mended it, does not fail the next."""
    yield
    for name in machines.data:
        machines.network.link(name, "up")


@MISSED
def test_each_machine_sees_its_own_data_alone(machines):
    read = "import sys, pathlib; print([int((pathlib.Path(p) / 'images.npy').exists()) for p in sys.argv[1:]])"
    for name in (*machines.data, "workflow"):
        argv = [sys.executable, "-c", read, *machines.data.values()]
        seen = machines.network.start(name, argv, machines.hidden(name), stdout=subprocess.PIPE, text=True)
        assert json.loads(seen.communicate()[0]) == [int(owner == name) for owner in machines.data]


@MISSED
def test_a_run_over_the_network_is_the_run_in_one_process_and_only_tls_crosses(machines, tmp_path):
    with Capture(machines.network, tmp_path / "frames") as capture:
        run = train(machines, tmp_path / "run", 2, 2)
        code, said = run.end()
    assert code == 0, said
    assert sha256(tmp_path / "run" / "model.safetensors") == expected(machines, 2, 2, tmp_path / "model")
    record = read_json(tmp_path / "run" / "record.json")
    assert record["sites"] == sorted(SITES)
    assert "round 1/2" in said
    assert "round 2/2" in said
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "metrics.csv",
        "model.safetensors",
        "record.json",
    ]
    streams, other = capture.streams()
    talked = {key: stream for key, stream in streams.items() if stream}
    server = (machines.network.address("server"), PORT)
    assert not other
    assert all(server in (key[:2], key[2:]) for key in talked)
    assert {key[0] for key in talked} == {machines.network.address(name) for name in ("server", *SITES, "workflow")}
    assert all(is_tls(stream) for stream in talked.values())
    carried = b"".join(talked.values())
    assert len(carried) > record["bytes_sent"]
    tensors = load_model(tmp_path / "run" / "model.safetensors").values()
    assert not any(np.ascontiguousarray(tensor).tobytes()[:64] in carried for tensor in tensors if tensor.nbytes >= 64)
    assert not workers(machines)


@MISSED
def test_plain_text_would_have_been_seen(machines, tmp_path):
    listen = f"import socket; s = socket.create_server(('', {PORT + 1})); s.accept()[0].recv(100)"
    call = f"import socket; socket.create_connection(('{HOST}', {PORT + 1})).sendall(b'a chest x-ray' * 3)"
    with Capture(machines.network, tmp_path / "frames") as capture:
        listener = machines.network.start("server", [sys.executable, "-c", listen], [])
        calls = iter(range(50))
        while next(calls) is not None:
            if machines.network.start("us", [sys.executable, "-c", call], [], stderr=subprocess.DEVNULL).wait() == 0:
                break
        listener.wait(20)
    plain = [stream for stream in capture.streams()[0].values() if stream and not is_tls(stream)]
    assert plain == [b"a chest x-ray" * 3]


@OTHER
@pytest.mark.skipif(not shutil.which("tc"), reason="no tc (iproute2)")
def test_a_slow_network_takes_its_time_and_leaves_the_same_bytes(machines, tmp_path):
    with machines.network.slow("asia", "2mbit"):
        code, said = train(machines, tmp_path / "run", 2, 2).end()
    assert code == 0, said
    assert sha256(tmp_path / "run" / "model.safetensors") == expected(machines, 2, 2, tmp_path / "model")
    rounds = read_table(tmp_path / "run" / "metrics.csv").query("series == 'global'")
    bits = 8 * (tmp_path / "run" / "model.safetensors").stat().st_size
    assert rounds["seconds"].min() > 2 * bits / 2e6  # there and back


@CUT
def test_a_cut_cable_and_a_killed_server_leave_the_same_bytes(machines, tmp_path):
    before = checkpoints(machines)
    run = train(machines, tmp_path / "run", 3, 150)
    run.wait_for("round 1/3")
    machines.network.link("asia", "down")
    up = time.monotonic() + CUT_S
    wanted = expected(machines, 3, 150, tmp_path / "model")
    time.sleep(max(0, up - time.monotonic()))
    assert "round 2/3" not in run.said()
    machines.network.link("asia", "up")
    run.wait_for("round 2/3")
    machines.kill("server")
    run.wait_for("the server does not answer")
    machines.start("server")
    code, said = run.end()
    assert code == 0, said
    assert "has restarted and lost job" in said
    assert sha256(tmp_path / "run" / "model.safetensors") == wanted
    assert read_json(tmp_path / "run" / "record.json")["checks"]["resumed_after_round"] == 2
    assert checkpoints(machines) == before
    assert not workers(machines)


@OTHER
def test_an_interrupted_or_killed_workflow_goes_on_where_it_was(machines, tmp_path):
    before = checkpoints(machines)
    first = train(machines, tmp_path / "run", 12, 30)
    first.wait_for("round 1/12")
    machines.network.kill(first.process)
    second = train(machines, tmp_path / "run", 12, 30)
    second.wait_for("taking up job")
    second.wait_for("round 2/12")
    second.process.send_signal(signal.SIGINT)
    code, said = second.end(60)
    assert code == 130
    assert "aborted job" in said
    wait_until(lambda: not workers(machines), 40, "jobs end at the sites")
    assert len(checkpoints(machines) - before) == 1
    code, said = train(machines, tmp_path / "run", 12, 30).end()
    assert code == 0, said
    assert read_json(tmp_path / "run" / "record.json")["checks"]["resumed_after_round"] >= 2
    assert checkpoints(machines) == before
    assert sha256(tmp_path / "run" / "model.safetensors") == expected(machines, 12, 30, tmp_path / "model")


@MISSED
def test_a_site_that_misses_a_round_is_named_or_dropped_and_comes_back(machines, tmp_path):
    late = {"--round-timeout-s": str(LATE_S)}
    run = train(machines, tmp_path / "run", 6, 10, late)
    run.wait_for("round 1/6")
    machines.network.link("asia", "down")
    code, said = run.end()
    assert code == 1
    assert f"no result from asia: no answer in {LATE_S} s" in said.splitlines()[-1]
    assert not (tmp_path / "run" / "model.safetensors").exists()
    machines.network.link("asia", "up")
    run = train(machines, tmp_path / "dropped", 5, 10, late | {"--absent": "drop", "--min-sites": "2"})
    run.wait_for("round 1/5")
    machines.network.link("asia", "down")
    run.wait_for(f"without asia: no answer in {LATE_S} s")
    machines.network.link("asia", "up")
    code, said = run.end()
    assert code == 0, said
    absent = read_json(tmp_path / "dropped" / "record.json")["checks"]["absent"]
    assert absent
    assert set(absent) < {"2", "3", "4", "5"}
    settings, data = settings_of(50), {name: load_site(folder) for name, folder in machines.data.items()}
    server = ServerRounds(settings, 10, data["server"].part("validation"))
    parts = {site: SiteRounds(settings, 10, data[site].part("train"), data[site].part("validation")) for site in SITES}
    for number in range(5):
        there = [site for site in SITES if site not in absent.get(str(number + 1), {})]
        server.aggregate(number, {site: parts[site].train(server.parameters, number) for site in there})
    save_model(tmp_path / "model", server.parameters)
    assert sha256(tmp_path / "dropped" / "model.safetensors") == sha256(tmp_path / "model")
    table = read_table(tmp_path / "dropped" / "metrics.csv")
    assert (table["series"] == "asia").sum() == 10 * (5 - len(absent))


@OTHER
def test_a_site_is_registered_trains_alone_and_refuses_when_its_data_are_others(machines, tmp_path):
    registry = tmp_path / "registry.csv"
    code, said = Run(machines, "register_sites", registry, {"--image-size": "16", "--output": registry}).end()
    assert code == 0, said
    table = read_table(registry)
    assert dict(zip(table["site"], table["train_images"], strict=True)) == dict.fromkeys(SITES, 24) | {"shared": 0}
    settings, output = settings_of(3), tmp_path / "alone"
    alone = {"--registry": registry, "--output": output} | in_words(settings)
    code, said = Run(machines, "train_alone_remote", output, alone, sites=["us"]).end()
    assert code == 0, said
    train_alone(Pooled("us", [machines.data["us"]]), settings, tmp_path / "here")
    assert sha256(output / "us" / "model.safetensors") == sha256(tmp_path / "here" / "model.safetensors")
    drop = ["seconds"]
    one, other = (read_table(path / "metrics.csv").drop(columns=drop) for path in (output / "us", tmp_path / "here"))
    assert one.equals(other)
    table.loc[table["site"] == "us", "sha256_table"] = "0" * 64
    write_table(registry, table)
    refused = tmp_path / "refused"
    code, said = Run(machines, "train_alone_remote", refused, alone | {"--output": refused}, sites=["us"]).end()
    assert code == 1
    assert "us: " in said.splitlines()[-1]
    assert "changed since it was registered" in said.splitlines()[-1]
    assert str(machines.data["us"]) not in said


@MISSED
def test_a_kit_of_another_authority_is_refused_and_a_missing_site_is_named(machines, tmp_path):
    kit = make_kits(tmp_path / "other", ["stranger"]) / "stranger"
    (kit / "transfer").mkdir(exist_ok=True)
    machines.start("stranger", kit)
    run = train(machines, tmp_path / "run", 1, 1, {"--start-timeout-s": "8"}, sites=["us", "stranger"])
    code, said = run.end()
    assert code == 1
    assert "not registered in 8 s: stranger" in said.splitlines()[-1]
    wait_until(lambda: "CERTIFICATE_VERIFY_FAILED" in (kit / "out.txt").read_text(), 40, "refused")
    assert "New client us" in machines.log("server")
    assert "New client stranger" not in machines.log("server")
