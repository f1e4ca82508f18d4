"""Secure aggregation by a real federation: what its server gets, and that the model is the one without masks."""

import json
import os
import runpy
import threading
import time
from argparse import Namespace
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from helpers.data import make_settings
from helpers.federation import FEDERATIONS, make_method, models_of, rounds_of, same, unequal_sites

from fedxray.core.errors import UserError
from fedxray.core.files import read_json, read_table, sha256, write_json, write_table
from fedxray.data.site import load_site
from fedxray.experiment.experiment import Experiment
from fedxray.experiment.folder import Folder
from fedxray.experiment.privacy import Privacy
from fedxray.federation import rounds
from fedxray.federation.fixed import decode
from fedxray.federation.inprocess import InProcess
from fedxray.federation.policy import Policy, sampled
from fedxray.flare.budget import Budget
from fedxray.flare.kits import provision, render_project
from fedxray.flare.one_host import OneHost
from fedxray.runs import confirm, train_run
from fedxray.training.mechanism import mechanism_at

pytestmark = pytest.mark.slow
SETTINGS = make_settings(image_size=16)
BY_SGD = replace(SETTINGS, optimizer="sgd", lr=2.0, weight_decay=0.0)
PRECISIONS = {"scaffold": "float16"}
SECURE = [
    (replace(method, secure_aggregation=True, precision=PRECISIONS.get(method.name, "float32")), schedule)
    for method, schedule in FEDERATIONS
    if method.mean == "weighted"
]

# In each process of the federation: all that the server's controller gets as an answer goes to a folder.
RECORDER = """
import json, os, pathlib, time
import numpy as np
from fedxray.flare import server

asked = server.SiteController.ask
folder = pathlib.Path(os.environ["RECORDED"])

def ask(self, name, task):
    answers, absent = asked(self, name, task)
    for site, answer in answers.items():
        stem = f"{name}-{getattr(task, 'current_round', None)}-{site}"
        np.savez(folder / f"{stem}.npz", **(answer.params or {}))
        rest = {key: value for key, value in vars(answer).items() if key != "params"}
        (folder / f"{stem}.json").write_text(json.dumps(rest, default=str))
    if name == "train" and (folder / "hold").exists():  # until somebody has looked into this process
        (folder / "pid").write_text(str(os.getpid()))
        while (folder / "hold").exists():
            time.sleep(0.05)
    return answers, absent

server.SiteController.ask = ask
hear = server.FederationController._hear

def heard(self, scalars, topic, request, fl_ctx):
    (folder / f"live-{fl_ctx.get_peer_context().get_identity_name()}").write_text(str(request["row"]))
    return hear(self, scalars, topic, request, fl_ctx)

server.FederationController._hear = heard
"""


@pytest.fixture(scope="module")
def sites(tmp_path_factory):
    """(folders, shared): hospitals that differ in size."""
    return unequal_sites(tmp_path_factory.mktemp("sites"))


@pytest.fixture(scope="module")
def kits(sites, tmp_path_factory):
    folder = tmp_path_factory.mktemp("kits")
    render_project("config/project.yml", list(sites[0]), folder / "project.yml")
    provision(folder / "project.yml", folder)
    return folder


def engine_of(kits, sites, **more):
    folders, shared = sites
    policy = Policy(round_timeout_s=600, absent="fail", min_sites=0)
    return OneHost(kits=kits, folders=folders, shared=shared, start_timeout_s=60, policy=policy, **more)


@pytest.fixture(scope="module")
def federation(sites, kits, tmp_path_factory):
    """(an engine whose processes are up already, its scratch folder, where what its server gets is recorded)."""
    folder, engine = tmp_path_factory.mktemp("federation"), engine_of(kits, sites)
    scratch, recorded, code = (folder / name for name in ("scratch", "recorded", "code"))
    for place in (scratch, recorded, code):
        place.mkdir(mode=0o700)
    (code / "sitecustomize.py").write_text(RECORDER)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(code), os.getcwd()]))
        patch.setenv("RECORDED", str(recorded))
        with engine.open(scratch, SETTINGS.threads) as session:

            class Up(OneHost):
                @contextmanager
                def open(self, scratch, threads):
                    yield session

            yield Up(**vars(engine)), scratch, recorded


@pytest.mark.parametrize(("method", "schedule"), SECURE, ids=lambda one: getattr(one, "slug", ""))
def test_the_model_is_the_one_without_masks_and_in_process_to_the_bit(federation, sites, method, schedule):
    engine, scratch, _ = federation
    trained = engine.train(SETTINGS, method, schedule, scratch)
    plain = InProcess(*sites).train(SETTINGS, replace(method, secure_aggregation=False), schedule)
    secure = InProcess(*sites).train(SETTINGS, method, schedule)
    for other in (plain, secure):
        assert [same(*models) for models in zip(models_of(trained), models_of(other), strict=True)] == [True, True]
    timeless = [[record | {"seconds": 0} for record in run.rounds] for run in (trained, secure)]
    assert timeless[0] == timeless[1]
    kits = read_json(engine.kits / "kits.json")
    assert trained.partners == {site: kits[site]["certificate_sha256"] for site in engine.sites}
    assert all(trained.checks.values())


def answers_of(sites, method, schedule):
    """{site: the parameters that it answers in the first round, in clear}."""
    server = rounds.ServerRounds(SETTINGS, method, schedule, load_site(sites[1]).part("validation"))
    sent = server.send()
    data = {site: load_site(folder) for site, folder in sites[0].items()}
    halves = {site: rounds.SiteRounds(SETTINGS, method, schedule, part) for site, part in data.items()}
    return {site: half.train(sent, 0) for site, half in halves.items()}


def test_what_the_server_gets_holds_no_sites_update_nor_what_was_measured_of_it(federation, sites):
    (engine, scratch, recorded), schedule = federation, rounds_of(2, 1.0)
    truth, correlations = answers_of(sites, make_method(), schedule), {}
    for secure in (False, True):
        for path in recorded.iterdir():
            path.unlink()
        engine.train(SETTINGS, make_method(secure_aggregation=secure), schedule, scratch)
        names = {path.name for path in recorded.iterdir()}
        got = {site: np.load(recorded / f"train-0-{site}.npz") for site in sites[0]}
        about = {site: json.loads((recorded / f"train-0-{site}.json").read_text()) for site in sites[0]}
        for few in (*combinations(sites[0], 1), *combinations(sites[0], 2)):
            there = [sum(got[site][name] for site in few) for name in truth["us"].parameters]
            if secure:
                there = [decode("w", words, 1, np.dtype(float)) for words in there]
            weights = {site: truth[site].images if secure else 1 for site in few}
            wanted = [
                sum(truth[site].parameters[name].astype(float) * weights[site] for site in few)
                for name in truth["us"].parameters
            ]
            vectors = [np.concatenate([array.ravel() for array in arrays]) for arrays in (there, wanted)]
            correlations[secure, few] = np.corrcoef(*vectors)[0, 1]
        numbers = [(f"{truth[site].train_loss!r}", site) for site in truth]
        assert all((number in str(about[site])) == (not secure) for number, site in numbers)
        assert {f"live-{site}" in names for site in truth} == {not secure}
        if secure:
            assert not any({"rows", "train_loss"} & set(about[site]["meta"]) for site in truth)
            assert all("rows" not in str(value) and "PRIVATE" not in str(value) for value in about.values())
    assert all(value > 0.999999 for (secure, _), value in correlations.items() if not secure)
    # Of 77,000 values the correlation with masks that are drawn anew has a deviation of 0.0036.
    assert all(abs(value) < 0.02 for (secure, _), value in correlations.items() if secure), correlations


def memory_of(pid):
    """All that a process has in its memory and may write to, region by region."""
    with open(f"/proc/{pid}/mem", "rb") as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            bounds, rights, *_ = line.split()
            first, last = (int(bound, 16) for bound in bounds.split("-"))
            if rights.startswith("rw") and not line.endswith(("[vvar]", "[vsyscall]")):
                with suppress(OSError):  # it is gone, or cannot be read
                    memory.seek(first)
                    yield memory.read(last - first)


def holds(region, piece):
    """Whether a piece of an array, whose numbers lie at multiples of 4, is in a region; faster than `in`, for GB."""
    numbers = np.frombuffer(region, np.uint32, len(region) // 4)
    starts = 4 * np.flatnonzero(numbers == np.frombuffer(piece, np.uint32, 1))
    return any(region[start : start + len(piece)] == piece for start in starts)


@pytest.mark.skipif(os.geteuid() != 0, reason="reading another process's memory needs root")
@pytest.mark.parametrize("secure", [False, True])
def test_no_sites_update_is_in_the_memory_of_the_servers_process(federation, sites, secure):
    """It is looked at when all answers have come. Without masks the same look finds each update."""
    (engine, scratch, recorded), schedule, found = federation, rounds_of(1), Counter()
    pieces = {}
    for site, update in answers_of(sites, make_method(), schedule).items():
        largest = max(update.parameters, key=lambda name: update.parameters[name].size)
        arrays = update.parameters[largest].reshape(-1), rounds.sealed(update, len(sites[0]))[largest].reshape(-1)
        pieces[site] = [array[array.size // 4 :][:16].tobytes() for array in arrays]  # of words one of the first

    def look():
        while not (recorded / "pid").exists() or not (recorded / "pid").read_text():
            time.sleep(0.05)
        try:
            for region in memory_of(int((recorded / "pid").read_text())):
                found.update(site for site, wanted in pieces.items() for piece in wanted if holds(region, piece))
            found["looked"] += 1
        finally:
            (recorded / "hold").unlink()

    (recorded / "pid").unlink(missing_ok=True)
    (recorded / "hold").touch()
    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    engine.train(SETTINGS, make_method(secure_aggregation=secure), schedule, scratch)
    looking.join(60)
    assert found["looked"] == 1
    assert {site: found[site] > 0 for site in pieces} == dict.fromkeys(pieces, not secure), found


def test_a_private_federation_with_seeded_noise_is_the_one_in_process_to_the_bit(federation, sites, tmp_path):
    noise = mechanism_at(Privacy("sum", 3.0, 1e-5, 0.1, 2.0, 20, 6, 1, "seeded"), sites[0].values())
    method, schedule = make_method(secure_aggregation=True), sampled(6, noise.rate, 1)
    train_run(replace(federation[0], noise=noise), "federated", BY_SGD, method, schedule, tmp_path / "run")
    assert confirm(InProcess(*sites, noise), tmp_path / "run", tmp_path / "again")
    with pytest.raises(UserError, match="differs from the federation's model"):
        confirm(InProcess(*sites, replace(noise, clip=0.2)), tmp_path / "run", tmp_path / "again")
    record = read_json(tmp_path / "run" / "record.json")
    assert record["privacy"] == noise.about
    assert record["privacy"]["simulation"] is True
    assert all(record["checks"].values())
    assert record["secure_aggregation"] is True
    check_spent(federation, noise)


def check_spent(federation, noise):
    """Each site has entered the steps of the last job in its ledger."""
    engine, scratch, _ = federation
    for site in engine.sites:
        spent = Budget(scratch / site).spent[-1]
        assert (spent.dp, spent.sigma, spent.answered, spent.secret) == (noise.place, noise.sigma, 6, False)


def test_the_script_confirms_a_private_run_with_the_noise_that_it_was_trained_with(federation, sites, tmp_path):
    """The model of one process, as of a sweep, by what the experiment says of its noise."""
    config, results = yaml.safe_load(Path("config/config.yaml").read_text()), Folder(tmp_path / "results")
    config |= {"sites": list(sites[0]), "image_size": 16}
    config["privacy"] |= {"dp": "sites", "epsilon": 3.0, "clip": 0.1, "lr": 2.0, "patients_per_step": 20, "steps": 6}
    experiment = Experiment.from_config(config)
    (run,) = [run for run in experiment.jobs if run.model.mode == "federated"]
    noise = mechanism_at(run.privacy, sites[0].values())
    schedule, output = sampled(6, noise.rate, 3), results.run(run.path).path
    train_run(InProcess(*sites, noise), "federated", BY_SGD, run.method, schedule, output)
    point = {"cohort": "", "mode": "federated", "method": "", "path": run.path, "validation_auroc": 0.9, "chosen": True}
    write_table(results.points, pd.DataFrame([point]))
    script = runpy.run_path("scripts/confirm_federated.py", run_name="looked at")["main"]
    script.__globals__["one_host_of_cohort"] = lambda cohort, options: federation[0]
    paths = {"experiment": results.experiment, "points": results.points, "output": tmp_path / "confirmed.csv"}
    write_json(results.experiment, experiment.config)
    script(Namespace(results=results.root, **paths))
    (row,) = read_table(tmp_path / "confirmed.csv").to_dict("records")
    assert row == {"path": run.path, "sha256": sha256(results.run(run.path).model)}
    check_spent(federation, noise)


def test_the_record_says_who_the_partners_were(federation, kits, tmp_path):
    (engine, _, _), method, schedule = federation, make_method(secure_aggregation=True), rounds_of(1)
    train_run(engine, "federated", SETTINGS, method, schedule, tmp_path / "run")
    record = read_json(tmp_path / "run" / "record.json")
    assert record["secure_aggregation"] is True
    assert set(record["partners"]) == set(engine.sites)
    assert record["train_images"] == 74
    assert record["method"]["secure_aggregation"] is True
    assert record["checks"]["answers_masked"] is True
    train_run(InProcess(engine.folders, engine.shared), "federated", SETTINGS, method, schedule, tmp_path / "here")
    here = read_json(tmp_path / "here" / "record.json")
    assert (here["secure_aggregation"], here["partners"]) == (False, {})
    assert here["method"]["secure_aggregation"] is True


def test_a_site_refuses_a_partner_that_is_not_in_its_kit(kits, sites, tmp_path):
    engine = engine_of(kits, sites)
    path = kits / "kits" / "us" / "local" / "partners.json"
    before = read_json(path)
    try:
        write_json(path, {name: value for name, value in before.items() if name != "asia"})
        with pytest.raises(UserError, match=r"us: .*: asia is no partner that this site knows"):
            engine.train(SETTINGS, make_method(secure_aggregation=True), rounds_of(1), tmp_path)
    finally:
        write_json(path, before)
