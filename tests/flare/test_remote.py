"""A federation of machines: a network namespace for the server, each site and the workflow, with its own files."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from golden.fingerprints import compare, table_sha256
from helpers.data import points_of
from helpers.network import HOST, PORT, Capture, is_tls, make_kits, wait_until
from helpers.promotion import export
from helpers.remote import NONE, SITES, Run, expected, in_words, registry, settings_of, train, workers

from fedxray.analysis.choice import with_thresholds
from fedxray.analysis.gate import Rules, Scored, judge, measure, read_gate
from fedxray.core.files import read_json, read_table, sha256, write_table
from fedxray.core.parameters import load_model, save_model
from fedxray.data.site import load_site
from fedxray.experiment.folder import Folder
from fedxray.federation.inprocess import InProcess
from fedxray.federation.policy import alone as alone_for
from fedxray.federation.pooled import Pooled
from fedxray.flare.budget import Budget, Limits
from fedxray.runs import confirm, train_alone
from fedxray.training.mechanism import mechanism_at
from fedxray.training.models import build, get_parameters, restore
from fedxray.training.trainer import predict

pytestmark = pytest.mark.slow


def test_each_machine_sees_its_own_data_alone(machines):
    read = "import sys, pathlib; print([int((pathlib.Path(p) / 'images.npy').exists()) for p in sys.argv[1:]])"
    for name in (*machines.data, "workflow"):
        argv = [sys.executable, "-c", read, *machines.data.values()]
        seen = machines.network.start(name, argv, machines.hidden(name), stdout=subprocess.PIPE, text=True)
        assert json.loads(seen.communicate()[0]) == [int(owner == name) for owner in machines.data]


@pytest.fixture(scope="module")
def trained(network, tmp_path_factory):
    """(folder of a run over the network, what its script said, what crossed the switch)."""
    folder = tmp_path_factory.mktemp("trained")
    with Capture(network.network, folder / "frames") as capture:
        code, said = train(network, folder / "run", 2, 2).end()
    assert code == 0, said
    return folder / "run", said, capture


def test_a_run_over_the_network_is_the_run_in_one_process_and_only_tls_crosses(machines, trained, tmp_path):
    folder, said, capture = trained
    assert sha256(folder / "model.safetensors") == expected(machines, 2, 2, tmp_path / "model")
    record = read_json(folder / "record.json")
    assert record["sites"] == sorted(SITES)
    assert "round 1/2" in said
    assert "round 2/2" in said
    assert sorted(path.name for path in folder.iterdir()) == [
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
    tensors = load_model(folder / "model.safetensors").values()
    assert not any(np.ascontiguousarray(tensor).tobytes()[:64] in carried for tensor in tensors if tensor.nbytes >= 64)
    assert not workers(machines)


def test_a_run_over_the_network_has_the_results_of_before(trained):
    folder, _, _ = trained
    model, curves = sha256(folder / "model.safetensors"), table_sha256(folder / "metrics.csv")
    compare("remote", {"federated": model, "federated curves": curves})


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


@pytest.mark.skipif(not shutil.which("tc"), reason="no tc (iproute2)")
def test_a_slow_network_takes_its_time_and_leaves_the_same_bytes(machines, tmp_path):
    with machines.network.slow("asia", "2mbit"):
        code, said = train(machines, tmp_path / "run", 2, 2).end()
    assert code == 0, said
    assert sha256(tmp_path / "run" / "model.safetensors") == expected(machines, 2, 2, tmp_path / "model")
    rounds = read_table(tmp_path / "run" / "metrics.csv").query("series == 'global'")
    bits = 8 * (tmp_path / "run" / "model.safetensors").stat().st_size
    assert rounds["seconds"].min() > 2 * bits / 2e6  # there and back


def test_a_site_is_registered_trains_alone_and_refuses_when_its_data_are_others(machines, tmp_path):
    registry = tmp_path / "registry.csv"
    code, said = Run(
        machines, "register_sites", registry, {"--image-size": "16", "--fit": "stretch", "--output": registry}
    ).end()
    assert code == 0, said
    table = read_table(registry)
    assert dict(zip(table["site"], table["train_images"], strict=True)) == dict.fromkeys(SITES, 24) | {"shared": 0}
    settings, output = settings_of(3), tmp_path / "alone"
    alone = {"--registry": registry, "--output": output, "--budget": "passes"} | in_words(settings) | in_words(NONE)
    code, said = Run(machines, "train_alone_remote", output, alone, sites=["us"]).end()
    assert code == 0, said
    pooled = Pooled("us", [machines.data["us"]], own=True)
    train_alone(pooled, settings, alone_for(3, "passes", {}, settings.batch_size), tmp_path / "here")
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
    assert "changed since the registry was made" in said.splitlines()[-1]
    assert str(machines.data["us"]) not in said


def test_private_runs_of_a_federation_and_alone_are_those_in_one_process(machines, tmp_path):
    privacy, data = replace(NONE, dp="sites"), {site: machines.data[site] for site in SITES}
    noise = mechanism_at(privacy, data.values())
    settings, output = replace(settings_of(4), optimizer="sgd", lr=2.0, weight_decay=0.0), tmp_path / "run"
    code, said = train(machines, output, 2, 2, in_words(settings) | {"--steps": "3"}, privacy=privacy).end()
    assert code == 0, said
    assert confirm(InProcess(data, machines.data["server"], noise), output, tmp_path / "again")
    assert read_json(output / "record.json")["privacy"] == noise.about
    alone = {"--registry": registry(machines), "--output": tmp_path / "alone", "--budget": "passes"}
    alone |= in_words(settings) | in_words(privacy)
    code, said = Run(machines, "train_alone_remote", tmp_path / "alone", alone, sites=["us"]).end()
    assert code == 0, said
    noise = mechanism_at(privacy, [data["us"]])
    schedule = alone_for(4, "passes", {}, settings.batch_size, noise)
    train_alone(Pooled("us", [data["us"]], own=True, noise=noise), settings, schedule, tmp_path / "here")
    models = [tmp_path / place / "model.safetensors" for place in ("alone/us", "here")]
    assert sha256(models[0]) == sha256(models[1])


def test_hospitals_measure_what_a_gate_needs_and_its_table_is_the_one_made_here(machines, trained, tmp_path):
    folder, settings, sites = Folder(tmp_path / "next"), settings_of(4), ("us", "asia")
    shutil.copytree(trained[0], folder.run("0").path)
    points = points_of(("federated", "pooled", 0.1, 1, 0.9)).assign(chosen=True)
    write_table(folder.chosen, with_thresholds(points, {"0": 0.5}))
    folder.registry.parent.mkdir()
    shutil.copyfile(registry(machines), folder.registry)
    save_model(tmp_path / "random", get_parameters(build(settings)))
    for path, model in ((folder.model, folder.run("0").model), (tmp_path / "before", tmp_path / "random")):
        export(model, path, settings, "0")
    rules = Rules(sha256(tmp_path / "random"), sites, 0.02, 0.2, 0.0, 100, 0.95, 1)
    rules.write(folder.gate_rules, read_before=False)
    options = {"--registry": folder.registry, "--rules": folder.gate_rules, "--predecessor": tmp_path / "before"}
    options |= {"--results": folder.root, "--output": folder.gate}
    code, said = Run(machines, "judge_remote", tmp_path / "judged", options, sites=sites).end()
    assert code == 0, said
    networks = [restore(settings, load_model(path)) for path in (folder.run("0").model, tmp_path / "random")]
    measured = {}
    for site in sites:
        data = load_site(machines.data[site])
        scores = [predict(network, data.part("test")[0], settings.compute) for network in networks]
        measured[site] = measure(site, Scored.of_site(data, *scores), rules.seed, rules.replicates)
    expected = judge(measured, rules, {}, read_gate(folder.gate, rules)["sentence"].iloc[-1])
    write_table(tmp_path / "expected.csv", expected)
    assert read_table(folder.gate)[list(expected)].equals(read_table(tmp_path / "expected.csv"))


def test_a_site_answers_no_job_that_its_operator_does_not_allow(machines, tmp_path):
    budget = Budget(machines.kit("asia"))
    before = budget.spent
    assert all(row.dp == "none" or not row.secret for row in before)
    try:
        budget.limits = Limits(8.0, 1e-5)
        code, said = train(machines, tmp_path / "run", 1, 1).end()
    finally:
        budget.path.unlink()
    assert code == 1
    assert "asia: privacy: this site's operator allows epsilon 8 at delta 1e-05, and nothing" in said.splitlines()[-1]
    assert budget.spent == before


def test_a_kit_of_another_authority_is_refused_and_a_missing_site_is_named(machines, tmp_path):
    kit = make_kits(tmp_path / "other", ["stranger"]) / "stranger"
    (kit / "transfer").mkdir(exist_ok=True)
    machines.start("stranger", kit)
    run = train(machines, tmp_path / "run", 1, 1, {"--start-timeout-s": "8"}, sites=["us", "stranger"])
    code, said = run.end()
    assert code == 1
    assert "not registered in 8 s: stranger" in said.splitlines()[-1]
    out = kit / "out.txt"
    wait_until(lambda: out.exists() and "CERTIFICATE_VERIFY_FAILED" in out.read_text(), 40, "refused")
    assert "New client us" in machines.log("server")
    assert "New client stranger" not in machines.log("server")
