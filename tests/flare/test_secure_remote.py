"""Secure aggregation by the whole workflow of a remote federation, and all that crosses the wires while it runs.

Between machines there is TLS alone. On the server NVFlare's processes talk in clear with one another, so there one can
see what the server really gets: the shared model, and no hospital's own.
"""

import subprocess
from contextlib import ExitStack

import numpy as np
import pytest
import yaml
from helpers.federation import make_method
from helpers.network import PORT, Capture, is_tls
from helpers.remote import SITES
from helpers.workflow import ENVIRONMENT, REPOSITORY

from fedxray.core.files import read_table, sha256
from fedxray.core.parameters import load_model, save_model
from fedxray.data.site import load_site
from fedxray.experiment.folder import Folder
from fedxray.experiment.method import PLAIN, Method
from fedxray.federation.inprocess import InProcess
from fedxray.federation.policy import Schedule
from fedxray.federation.pooled import Pooled
from fedxray.federation.rounds import ServerRounds, SiteRounds, sealed
from fedxray.flare.kept import Kept

pytestmark = pytest.mark.slow
CONFIG = {
    "experiment": "elsewhere",
    "sites": SITES,
    "image_size": 16,
    "training": {"epochs": 2, "batch_size": 16},
    "privacy": {"secure_aggregation": True},
}
WIRES = {"switch": None, "server": "server"}  # {what is captured: the machine, if it is one}


@pytest.fixture(scope="module")
def workflow(network, tmp_path_factory):
    """(the results' folder, {wire: what crossed it}) of the workflow, run on the machine that has no data."""
    folder = tmp_path_factory.mktemp("workflow")
    config = CONFIG | {"federation": {"where": "remote", "admin_kit": str(network.kit("workflow")), "round": 1.0}}
    (folder / "mine.yaml").write_text(yaml.safe_dump(config))
    words = ["--snakefile", REPOSITORY / "Snakefile", "--directory", folder, "--configfile", folder / "mine.yaml"]
    with ExitStack() as stack:
        wires = {
            wire: stack.enter_context(Capture(network.network, folder / f"{wire}.frames", machine))
            for wire, machine in WIRES.items()
        }
        argv = ["-m", "snakemake", "--cores", "2", *words]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        run = network.run(argv, cwd=REPOSITORY, env=ENVIRONMENT, text=True, **pipes)
        said, _ = run.communicate(timeout=600)
    assert run.returncode == 0, said
    return Folder(folder / "results" / "elsewhere"), {wire: capture.streams() for wire, capture in wires.items()}


def run_of(results, mode, last="*"):
    """The folder of the one run of a mode whose name is `last`, which of hospitals alone is the hospital's."""
    (record,) = (results.runs / mode).glob(f"*/{last}/record.json")
    return results.run(record.parent.relative_to(results.runs).as_posix())


def test_the_model_is_the_one_without_masks_to_the_bit(workflow, network, tmp_path):
    results, _ = workflow
    run = run_of(results, "federated")
    record, (folders, shared) = run.read_record(), (dict(network.data), network.data["server"])
    assert record["secure_aggregation"] is True
    assert set(record["partners"]) == set(SITES)
    assert record["method"]["secure_aggregation"] is True
    engine = InProcess({site: folders[site] for site in SITES}, shared)
    method = Method(**record["method"] | {"secure_aggregation": False})
    save_model(tmp_path / "model", engine.train(run.settings(), method, Schedule(**record["schedule"])).parameters)
    assert sha256(run.model) == sha256(tmp_path / "model")
    assert set(run.read_curves()["series"]) == {"global"}


def test_models_of_hospitals_alone_stay_there_and_are_judged_there(workflow, network):
    results, _ = workflow
    at_sites = read_table(results.at_sites)
    assert not list((results.runs / "alone").rglob("*.safetensors"))
    for site in SITES:
        run = run_of(results, "alone", site)
        record, curves = run.read_record(), run.read_curves()
        own, settings = Kept(network.kit(site), record["checks"]["job"]).read()
        assert settings == run.settings()
        expected = Pooled(site, [network.data[site]], own=True).train(settings, PLAIN, Schedule(**record["schedule"]))
        assert all(np.array_equal(own[name], array) for name, array in expected.parameters.items())
        assert list(curves["validation_auroc"]) == [
            row["validation_auroc"] for row in expected.rounds[0]["sites"][site]
        ]
        assert record["parameters"] == sum(array.size for array in own.values())
        assert list(at_sites[at_sites["path"].str.endswith(f"/{site}")]["test_set"]) == [site]
    assert set(at_sites[at_sites["mode"] == "federated"]["test_set"]) == set(SITES)
    assert {path.name for path in results.figures.glob("*.svg")} >= {"learning_curves.svg", "cross_site.svg"}
    page = results.page("index").read_text()
    assert all(digest in page for digest in run_of(results, "federated").read_record()["partners"].values())


def needles(arrays):
    """Bytes by which one finds large arrays in what crossed a wire: of each a piece, of words one of their first."""
    large = [np.ascontiguousarray(array).reshape(-1) for array in arrays.values() if array.size > 1000]
    pieces = [array[array.size // 4 :][:16].tobytes() for array in large]
    assert pieces
    assert min(len(set(piece)) for piece in pieces) > 16
    return pieces


def test_no_hospitals_model_crosses_a_wire_and_between_machines_there_is_tls_alone(workflow, network):
    results, wires = workflow
    run, own = run_of(results, "federated"), {}
    settings, schedule = run.settings(), Schedule(**run.read_record()["schedule"])
    method = make_method(secure_aggregation=True)
    sent = ServerRounds(settings, method, schedule, load_site(network.data["server"]).part("validation")).send()
    for site in SITES:
        update = SiteRounds(settings, method, schedule, load_site(network.data[site])).train(sent, 0)
        own[site] = needles(update.parameters) + needles(sealed(update, len(SITES)))
        job = run_of(results, "alone", site).read_record()["checks"]["job"]
        own[site] += needles(Kept(network.kit(site), job).read()[0])
    streams, other = wires["switch"]
    talked = {key: stream for key, stream in streams.items() if stream}
    assert not other
    assert all((network.network.address("server"), PORT) in (key[:2], key[2:]) for key in talked)
    assert all(is_tls(stream) for stream in talked.values())
    carried = {wire: b"".join(wires[wire][0].values()) for wire in WIRES}
    shared = needles(load_model(run.model))
    assert all(piece in carried["server"] for piece in shared)  # so one would see what is not masked
    for wire, site in ((wire, site) for wire in WIRES for site in SITES):
        assert not any(piece in carried[wire] for piece in own[site]), (wire, site)
    assert not any(piece in carried["switch"] for piece in shared)
    kept = b"".join(path.read_bytes() for path in network.kit("server").rglob("*") if path.is_file())
    assert not any(piece in kept for pieces in own.values() for piece in pieces)
