"""A gate whose hospitals are elsewhere: what leaves them, what is made of it here, and how an older one is told."""

import json
import shutil
import subprocess
import sys
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from helpers.data import make_settings
from helpers.promotion import SITES, experiment_to_judge, judge, record
from nvflare.apis.dxo import DXO, DataKind, from_shareable
from nvflare.app_common.decomposers import numpy_decomposers
from nvflare.fuel.utils import fobs

from fedxray.analysis.gate import Scored, measure
from fedxray.core.errors import UserError
from fedxray.core.files import read_json, write_json
from fedxray.core.parameters import save_model
from fedxray.experiment.folder import Folder
from fedxray.federation.engine import Model
from fedxray.federation.policy import Policy
from fedxray.flare.engine import FlareEngine
from fedxray.flare.job import Gate, Participants, write_evaluation
from fedxray.flare.own import OwnFile
from fedxray.flare.remote import Remote
from fedxray.flare.server import ChosenModels
from fedxray.flare.site import SiteEvaluator
from fedxray.flare.tasks import VALIDATE
from fedxray.operators.versions import promote


class Elsewhere:
    """Server and sites of a federation in this process. What NVFlare would carry goes through its own bytes."""

    def __init__(self, folder, root):
        self.folder, self.root, self.answers = folder, root, {}

    def evaluated(self, job, participants, threads, scratch, sites):
        """In place of the run of a job: its configuration makes the components, as NVFlare makes them."""
        numpy_decomposers.register()
        about, _ = read_json(job / "server/config/config_fed_server.json")["components"]
        (executor,) = read_json(job / "site/config/config_fed_client.json")["executors"]
        sent = fobs.dumps(ChosenModels(**about["args"]).locate_model("0", self.context("shared", job / "server")))
        for site in sites["the gate"]:
            task = fobs.loads(sent).to_shareable()
            answer = SiteEvaluator(**executor["executor"]["args"]).execute(
                VALIDATE, task, self.context(site, job), None
            )
            self.answers[site] = json.loads(json.dumps(from_shareable(fobs.loads(fobs.dumps(answer))).data))
        return {"the gate": self.answers}, {}

    def context(self, name, app):
        kit = self.root / f"kit of {name}"
        OwnFile(kit).write(data=self.folder.sites / name)
        workspace = SimpleNamespace(
            get_root_dir=lambda: str(kit), get_app_dir=lambda job: str(app), get_run_dir=lambda job: str(kit)
        )
        return SimpleNamespace(
            get_engine=lambda: SimpleNamespace(get_workspace=lambda: workspace),
            get_identity_name=lambda: name,
            get_job_id=lambda: "job",
        )

    def judge(self, **options):
        """Run judge_remote.py."""
        waits = dict.fromkeys(["start_timeout_s", "patience_s", "round_timeout_s", "poll_s"], 5)
        about = {"admin_kit": self.root, "sites": list(SITES), "registry": self.folder.registry}
        judge(self.folder, "judge_remote", **about, **waits, absent="fail", min_sites=0, **options)


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """An experiment that is to be judged, with so many images of a second wave, whose hospitals are elsewhere."""

    def made(second=0):
        there = Elsewhere(experiment_to_judge(tmp_path, second), tmp_path)
        monkeypatch.setattr(FlareEngine, "_evaluated", lambda engine, *of: there.evaluated(*of))
        return there

    return made


@pytest.mark.parametrize("second", [0, 12])
def test_a_gate_elsewhere_is_the_one_here_to_the_last_byte(elsewhere, second):
    there = elsewhere(second)
    judge(there.folder)
    here = there.folder.gate.read_bytes()
    assert here.count(b', wave 2"') == (2 if second else 0)
    there.folder.gate.unlink()
    there.judge()
    assert there.folder.gate.read_bytes() == here
    assert not (there.folder.root / "workspace").exists()


def test_numbers_of_all_test_patients_leave_a_hospital_and_nothing_of_any_one_of_them(elsewhere):
    there = elsewhere(12)
    there.judge()
    spread = {"metric": "", "each": [0.0], "within": 0.0, "patients": 0, "same": False}
    expected = {"difference": spread, "calibration": spread, "waves": {"1": spread, "2": spread}}
    for answer in there.answers.values():
        assert shape_of(answer) == shape_of({"gate": expected})


def shape_of(value):
    """The keys of nested sections, and the lengths of lists."""
    if isinstance(value, dict):
        return {key: shape_of(item) for key, item in value.items()}
    return len(value) if isinstance(value, list) else type(value)


def test_of_a_wave_of_few_patients_no_difference_leaves_a_hospital_nor_that_of_the_others(elsewhere):
    there = elsewhere(9)
    judge(there.folder)
    here = pd.read_csv(there.folder.gate)
    there.judge()
    table = pd.read_csv(there.folder.gate)
    of_waves = table["what"].str.contains("wave")
    assert table[~of_waves].equals(here[~of_waves])
    assert of_waves.sum() == 4
    assert table.loc[of_waves, ["value", "low", "high"]].isna().all(axis=None)
    assert here.loc[of_waves, "value"].notna().all()
    said = "Of them 9 are of wave 2; what the AUROC is there stays at the hospital, because a wave has fewer than 10."
    assert (table["sentence"][table["what"].str.endswith("wave 2")] == said).all()
    for answer in there.answers.values():
        assert [wave["each"] for wave in answer["gate"]["waves"].values()] == [[], []]


def test_a_hospital_that_knows_no_gate_is_named(elsewhere, monkeypatch):
    there = elsewhere()
    metrics = DXO(DataKind.METRICS, data={"auroc": 0.9, "threshold": 0.5}).to_shareable()
    monkeypatch.setattr(SiteEvaluator, "answer", lambda *of: metrics)  # as before there were gates
    with pytest.raises(UserError, match=r"^us: its fedxray is older than the one here, .*; send it the new archive"):
        there.judge()
    assert not there.folder.gate.exists()


def test_a_hospital_without_an_answer_is_named_and_the_server_forgets_the_job(tmp_path):
    """A job of the same content would else be taken up again, and have no answer for ever."""
    forgotten = []

    class Session:
        def wait_for(self, sites, needed, timeout_s):
            return sites

        def run(self, job, rounds, result):
            write_json(result / "cross_site_val" / "cross_val_results.json", {"us": {"SRV_0": {"gate": {}}}})
            write_json(result / "thresholds.json", {"0": 0.5})
            return "job", result

        def reason(self, folder, names):
            return f"{names[0]}: it refused"

        def forget(self, job):
            forgotten.append(job)

    class Engine(Remote):
        def open(self, scratch, threads):
            return nullcontext(Session())

    about = {"admin_kit": tmp_path, "sites": list(SITES), "checksums": {}, "patience_s": 5, "start_timeout_s": 5}
    save_model(tmp_path / "model", {"a": np.zeros(3, np.float32)})
    model = Model(tmp_path / "model", make_settings())
    with pytest.raises(UserError, match=r"^cross-site evaluation: no metrics of the gate from asia: it refused$"):
        Engine(**about, policy=Policy(5, "fail", 0)).compare(model, model, 1, 20, tmp_path / "scratch")
    assert forgotten == ["job"]


def test_a_gate_between_others_is_another_job(tmp_path):
    for name in ("one", "other"):
        save_model(tmp_path / name, {"a": np.full(3, len(name), np.float32)})
    one, other = (Model(tmp_path / name, make_settings()) for name in ("one", "other"))
    asked = [None, Gate(one, 1, 20), Gate(other, 1, 20), Gate(one, 2, 20), Gate(one, 1, 30)]
    asked.append(Gate(one._replace(settings=make_settings(norms="batch")), 1, 20))
    participants = Participants(list(SITES), {}, Policy(5, "fail", 0))
    jobs = [write_evaluation(tmp_path / str(at), participants, [one], gate) for at, gate in enumerate(asked)]
    assert len({read_json(job / "meta.json")["name"] for job in jobs}) == len(asked)


def test_a_model_that_was_judged_elsewhere_becomes_the_next_version(elsewhere, tmp_path):
    there = elsewhere()
    folder, first, models = there.folder, Folder(tmp_path / "first"), tmp_path / "models"
    for path in (folder.predictions, folder.gate_rules):  # these are not there
        path.unlink()
    shutil.copytree(tmp_path / "before", first.model)
    shutil.copytree(folder.sites, first.sites)
    assert promote(first.root, models, "A. Meyer") == "1"
    record(folder, predecessor=models / "1", margin=1.0)
    folder.at_sites.touch()
    there.judge(predecessor=models / "1")
    table = pd.read_csv(folder.gate)
    assert "was trained on the same data and splits at us, asia" in table["sentence"].iloc[-1]
    assert promote(folder.root, models, "B") == "2"
    lineage = read_json(models / "2" / "config.json")["lineage"]
    assert lineage["parent"] == "1"
    assert {site: lineage["data"][site] for site in SITES} == {
        site: read_json(folder.sites / site / "card.json")["sha256"] for site in SITES
    }
    assert (models / "2" / "gate.csv").read_bytes() == folder.gate.read_bytes()


def test_what_a_hospital_installs_suffices_to_measure():
    """requirements-site.txt has none of these; see tests/operators/test_drift.py."""
    missing = ["scipy", "matplotlib", "onnx", "jsonschema"]
    code = f"import json, sys; sys.modules.update(dict.fromkeys({missing})); import numpy as np\n"
    code += "import fedxray.flare.site\nfrom fedxray.analysis.gate import Scored, measure\n"
    code += "n = np.arange(40); part = n % 2.0, n.astype(str), n % 7 / 7, n % 5 / 5, n % 2 + 1\n"
    told = subprocess.run(
        [sys.executable, "-c", f"{code}print(json.dumps(measure('us', Scored(*part), 1, 30).sent))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    n = np.arange(40)
    part = Scored(n % 2.0, n.astype(str), n % 7 / 7, n % 5 / 5, n % 2 + 1)
    assert told == f"{json.dumps(measure('us', part, 1, 30).sent)}\n"
