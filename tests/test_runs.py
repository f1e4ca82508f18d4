"""Runs of every mode, trained by an engine and written to their folder."""

import contextlib
import runpy
from argparse import ArgumentParser
from dataclasses import asdict, replace

import pytest
from helpers.data import make_settings
from helpers.federation import make_method, rounds_of, same
from helpers.remote import NONE
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata

from fedxray.core.errors import UserError
from fedxray.core.files import sha256
from fedxray.core.parameters import save_model
from fedxray.experiment import privacy
from fedxray.experiment import settings as settings_options
from fedxray.experiment.folder import RunFolder
from fedxray.experiment.method import PLAIN
from fedxray.federation import policy
from fedxray.federation.engine import Model, Own, Trained
from fedxray.federation.inprocess import InProcess
from fedxray.federation.policy import Schedule, alone
from fedxray.federation.pooled import Pooled
from fedxray.runs import confirm, train_alone, train_run

FILES = ["metrics.csv", "model.safetensors", "record.json"]


@pytest.fixture
def engine(site_folders):
    shared = site_folders["us"].parent / "shared"
    return InProcess(site_folders, shared)


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_federated_run_has_the_curves_of_all_and_says_what_it_sent(engine, tmp_path):
    settings, method, schedule = make_settings(image_size=16, lr=0.01), make_method(), Schedule(4, 0.5, 0, 0)
    train_run(engine, "federated", settings, method, schedule, tmp_path / "run")
    run = RunFolder(tmp_path / "run")
    assert names_in(run.path) == FILES
    record, curves = run.read_record(), run.read_curves()
    expected = {"mode": "federated", "engine": "inprocess", "site": "pooled", "lr": 0.01, "epochs": 2}
    expected |= {"method": asdict(method), "schedule": asdict(schedule), "seed": 1, "train_images": 72}
    expected |= {"sites": ["asia", "europe", "us"], "parameters": 76_977, "bytes_sent": 4 * 2 * 3 * 76_977 * 4}
    expected |= {"device": "cpu", "checks": {}}
    assert expected.items() <= record.items()
    assert [line["round"] for line in record["rounds_at_sites"]] == [1, 2, 3, 4]
    assert set(record["rounds_at_sites"][0]["distance"]) == set(engine.sites)
    assert run.settings() == settings
    assert list(curves[curves["series"] == "global"]["epoch"]) == [1, 2]
    assert list(curves["series"].unique()) == ["global", "asia", "europe", "us"]


def test_a_personal_run_has_a_run_for_each_site_and_none_of_before(engine, tmp_path):
    (tmp_path / "personal" / "us").mkdir(parents=True)
    (tmp_path / "personal" / "us" / "old").write_text("of a run before")
    settings, method, schedule = (
        make_settings(image_size=16),
        make_method(name="fedbn", finetune=1),
        rounds_of(1, 1.0, 1),
    )
    train_run(engine, "federated", settings, method, schedule, tmp_path)
    whole, trained = RunFolder(tmp_path).read_record(), engine.train(settings, method, schedule)
    for site, own in trained.personal.items():
        run = RunFolder(tmp_path).personal(site)
        assert names_in(run.path) == FILES
        assert same(run.parameters(), own.parameters)
        record, curves = run.read_record(), run.read_curves()
        assert {"mode": "personal", "site": site, "checks": {}, "rounds_at_sites": []}.items() <= record.items()
        for name in ("bytes_sent", "seconds", "sites", "train_images", "method", "schedule"):
            assert record[name] == whole[name]
        assert list(curves["epoch"]) == [1, 2]
        assert set(curves["series"]) == {"global"}
        assert Model.of(run) == Model(run.model, settings, site, "")


def test_a_model_that_stays_at_its_site_is_found_there_by_its_job(tmp_path):
    rows = [{"epoch": 1, "train_loss": 0.5, "seconds": 1.0}]
    rows[0] |= {"validation_loss": 0.5, "validation_accuracy": 0.5, "validation_auroc": 0.5}
    validation = {name: rows[0][name] for name in rows[0] if name.startswith("validation")}
    record = {"round": 1, "epoch": 1, "train_loss": 0.5, "validation": validation, "seconds": 1.0, "bytes": 8}
    record |= {"distances": {"us": 0.0}, "images": {"us": 9}, "sites": {"us": rows}, "absent": {}}
    settings, own = make_settings(), Own(None, rows, "a" * 64)

    class Elsewhere:
        name, sites, noise = "nvflare", ["us"], None

        def train(self, settings, method, schedule, scratch):
            return Trained({}, [record], "cpu", {}, None, {"us": own})

    train_run(Elsewhere(), "federated", settings, make_method(name="ditto"), rounds_of(1), tmp_path)
    run = RunFolder(tmp_path).personal("us")
    assert names_in(run.path) == ["metrics.csv", "record.json"]
    assert Model.of(run) == Model(run.model, settings, "us", "a" * 64)
    assert Model.of(RunFolder(tmp_path)) == Model(tmp_path / "model.safetensors", settings)


def test_a_model_that_was_trained_alone_and_stays_at_its_site_has_a_curve_and_no_file_here(site_folders, tmp_path):
    pooled, schedule = Pooled("us", [site_folders["us"]], own=True), alone(2, "passes", {}, 16)
    settings = make_settings(image_size=16)

    class Elsewhere:
        name, sites, noise = "nvflare", ["us"], None

        def train(self, *of):
            here = pooled.train(*of)
            size = sum(array.size for array in here.parameters.values())
            own = Own(None, here.rounds[0]["sites"]["us"], "a" * 64)
            return replace(here, parameters={}, personal={"us": own}, size=size)

    runs = {"there": RunFolder(tmp_path / "there"), "here": RunFolder(tmp_path / "here")}
    train_alone(pooled, settings, schedule, runs["there"].path)  # a model from before, which left the site
    for name, engine in (("here", pooled), ("there", Elsewhere())):
        train_alone(engine, settings, schedule, runs[name].path)
    assert names_in(runs["there"].path) == ["metrics.csv", "record.json"]
    records = [run.read_record() for run in runs.values()]
    differing = {name for name in records[0] if records[0][name] != records[1][name]}
    assert {"engine", "checks"} <= differing <= {"engine", "checks", "seconds", "energy_j"}
    curves = [run.read_curves().drop(columns="seconds") for run in runs.values()]
    assert curves[0].equals(curves[1])
    assert Model.of(runs["there"]) == Model(runs["there"].model, settings, "us", "a" * 64)


def test_a_central_run_has_one_curve_and_sends_nothing(site_folders, tmp_path):
    settings, schedule = make_settings(image_size=16), alone(2, "passes", {}, 16)
    train_run(
        Pooled("pooled", list(site_folders.values())),
        "central",
        settings,
        PLAIN,
        schedule,
        tmp_path / "run",
        list(site_folders),
        tmp_path / "live",
    )
    record, curves = RunFolder(tmp_path / "run").read_record(), RunFolder(tmp_path / "run").read_curves()
    shown = EventAccumulator(str(tmp_path / "live")).Reload()
    assert [point.value for point in shown.Scalars("validation/auroc")] == pytest.approx(
        list(curves["validation_auroc"])
    )
    assert set(shown.summary_metadata) >= {metadata.SESSION_START_INFO_TAG, metadata.SESSION_END_INFO_TAG}
    expected = {"mode": "central", "site": "pooled", "sites": list(site_folders), "train_images": 72, "epochs": 2}
    assert (expected | {"method": None, "bytes_sent": 0, "rounds_at_sites": []}).items() <= record.items()
    assert list(curves["series"]) == ["global", "global"]
    assert list(curves["epoch"]) == [1, 2]


def test_a_run_that_failed_is_seen_and_one_that_is_repeated_is_seen_once(site_folders, tmp_path):
    class Broken(Pooled):
        def train(self, *of):
            raise UserError("the disk is full")

    settings, schedule = make_settings(image_size=16), alone(1, "passes", {}, 16)
    for kind in (Broken, Pooled):
        with contextlib.suppress(UserError):
            train_alone(kind("us", [site_folders["us"]]), settings, schedule, tmp_path / "run", tmp_path / "live")
        shown = EventAccumulator(str(tmp_path / "live")).Reload()
        assert (metadata.SESSION_END_INFO_TAG in shown.summary_metadata) == (kind is Pooled)
        assert metadata.SESSION_START_INFO_TAG in shown.summary_metadata
        assert len(list((tmp_path / "live").iterdir())) == 1


def test_a_hospital_alone_is_its_own_model(site_folders, tmp_path):
    engine, settings = Pooled("asia", [site_folders["asia"]], own=True), make_settings(image_size=16)
    train_alone(engine, settings, alone(2, "passes", {}, 16), tmp_path)
    record = RunFolder(tmp_path).read_record()
    expected = {"mode": "alone", "site": "asia", "sites": ["asia"], "train_images": 24, "bytes_sent": 0}
    assert expected.items() <= record.items()
    assert Model.of(RunFolder(tmp_path)) == Model(tmp_path / "model.safetensors", settings, "asia")


@pytest.mark.parametrize("whose", ["all", "asia"])
def test_a_run_is_confirmed_by_the_same_bytes_only(engine, tmp_path, whose):
    settings, method = make_settings(image_size=16), make_method(finetune=1)
    train_run(engine, "federated", settings, method, rounds_of(1, 1.0, 1), tmp_path / "run")
    run = RunFolder(tmp_path / "run")
    assert confirm(engine, run.path, tmp_path / "scratch") == sha256(run.model)
    assert not (tmp_path / "scratch").exists()
    changed = run if whose == "all" else run.personal(whose)
    parameters = changed.parameters()
    parameters["head.bias"] = parameters["head.bias"] + 1e-7
    save_model(changed.model, parameters)
    with pytest.raises(UserError, match="differs from the federation's model") as error:
        confirm(engine, run.path, tmp_path / "scratch")
    assert str(error.value).startswith(str(changed.model))


def test_a_run_that_fails_leaves_no_model_and_no_keys(tmp_path):
    class Broken:
        name, sites, noise = "nvflare", ["us"], None

        def train(self, settings, method, schedule, scratch):
            (scratch / "client.key").write_text("secret")
            assert scratch.stat().st_mode & 0o777 == 0o700
            raise UserError("us: its data are gone")

    with pytest.raises(UserError, match="its data are gone"):
        train_run(Broken(), "federated", make_settings(), make_method(), rounds_of(1), tmp_path / "run")
    assert not list((tmp_path / "run").rglob("*.*"))


def test_hospitals_alone_go_on_each_from_its_own_model(site_folders, tmp_path):
    """The script, with the folder of the runs before as what it begins with."""
    main, parser = runpy.run_path("scripts/train_alone.py")["main"], ArgumentParser()
    for add in (settings_options.add_options, privacy.add_options, policy.add_budget):
        add(parser)
    settings = make_settings(image_size=16)

    def trained(name, *words):
        parsed = parser.parse_args([*settings.options(), *NONE.options(), "--budget", "passes", *words])
        parsed.sites = [folder / "card.json" for folder in site_folders.values()]
        parsed.output, parsed.live = tmp_path / name, tmp_path / "live" / name
        main(parsed)
        return {site: RunFolder(tmp_path / name / site) for site in site_folders}

    first, second = trained("first"), trained("second", "--initial", str(tmp_path / "first"))
    for site, folder in site_folders.items():
        begun = replace(settings, initial=sha256(first[site].model))
        assert second[site].settings() == begun
        expected = Pooled(site, [folder], own=True, initial=first[site].model)
        expected = expected.train(begun, PLAIN, alone(1, "passes", {}, 16)).parameters
        assert same(second[site].parameters(), expected)
        assert "initial" not in first[site].read_record()["settings"]
