"""Every algorithm and mean by a real federation: in one that is up, one job after another."""

from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.data import make_settings
from helpers.federation import FEDERATIONS, make_method, models_of, rounds_of, same, unequal_sites

from fedxray.core.errors import UserError
from fedxray.core.files import sha256
from fedxray.core.parameters import save_model
from fedxray.data.site import load_site
from fedxray.federation.engine import Model
from fedxray.federation.inprocess import InProcess
from fedxray.federation.policy import Policy
from fedxray.flare.engine import FlareEngine
from fedxray.flare.job import key_of
from fedxray.flare.kits import provision, render_project
from fedxray.flare.one_host import OneHost
from fedxray.training import metrics
from fedxray.training.models import build, get_parameters, restore
from fedxray.training.trainer import predict

pytestmark = pytest.mark.slow
SETTINGS = make_settings(image_size=16)


@pytest.fixture(scope="module")
def sites(tmp_path_factory):
    """(folders, shared): hospitals that differ in size."""
    return unequal_sites(tmp_path_factory.mktemp("sites"))


@pytest.fixture(scope="module")
def federation(sites, tmp_path_factory):
    """(an engine whose processes are up already, its scratch folder)."""
    (folders, shared), folder = sites, tmp_path_factory.mktemp("federation")
    render_project("config/project.yml", list(folders), folder / "project.yml")
    provision(folder / "project.yml", folder)
    policy, scratch = Policy(round_timeout_s=600, absent="fail", min_sites=0), folder / "scratch"
    engine = OneHost(kits=folder, folders=folders, shared=shared, start_timeout_s=60, policy=policy)
    scratch.mkdir(mode=0o700)
    with engine.open(scratch, SETTINGS.threads) as session:

        class Up(OneHost):
            @contextmanager
            def open(self, scratch, threads):
                yield session

        yield Up(**vars(engine)), scratch


def timeless(trained):
    """The records of the rounds and of the sites' own models, as text (which has NaN), without seconds."""

    def rows_of(sites):
        return {site: [row | {"seconds": 0} for row in rows] for site, rows in sorted(sites.items())}

    records = [record | {"seconds": 0, "sites": rows_of(record["sites"])} for record in trained.rounds]
    return str([records, rows_of({site: own.rows for site, own in trained.personal.items()})])


*OTHERS, (DITTO, OF_DITTO) = FEDERATIONS[1:]
STOPPED = replace(DITTO, finetune_stop="validation", precision="float16"), OF_DITTO


@pytest.mark.parametrize(("method", "schedule"), [*OTHERS, STOPPED], ids=lambda one: getattr(one, "slug", ""))
def test_it_is_the_federation_in_one_process_to_the_bit(federation, sites, method, schedule):
    engine, scratch = federation
    trained = engine.train(SETTINGS, method, schedule, scratch)
    expected = InProcess(*sites).train(SETTINGS, method, schedule)
    assert [same(*models) for models in zip(models_of(trained), models_of(expected), strict=True)] == [True, True]
    assert timeless(trained) == timeless(expected)
    assert all(trained.checks.values())
    key, names = key_of(engine.participants, SETTINGS, method, schedule), ["states", "personal"]
    kept = [name for name in names if (scratch / "europe" / name / key).exists()]
    stateful = method.moments == "kept" or method.name in ("scaffold", "fedbn", "ditto")
    assert kept == ["states"] * stateful + ["personal"] * method.is_personal
    for path in (path for name in kept for path in (scratch / "europe" / name).rglob("*")):
        assert path.stat().st_mode & 0o77 == 0


def test_with_a_start_and_frozen_parameters_it_is_the_federation_in_one_process_to_the_bit(federation, sites, tmp_path):
    (engine, scratch), (method, schedule) = federation, FEDERATIONS[0]
    given = get_parameters(build(make_settings(seed=9)))
    save_model(tmp_path / "start", given)
    settings = replace(SETTINGS, initial=sha256(tmp_path / "start"), freeze="stem.*")
    trained = replace(engine, initial=tmp_path / "start").train(settings, method, schedule, scratch)
    expected = InProcess(*sites, initial=tmp_path / "start").train(settings, method, schedule)
    assert same(trained.parameters, expected.parameters)
    assert timeless(trained) == timeless(expected)
    assert trained.parameters["stem.0.weight"].tobytes() == given["stem.0.weight"].tobytes()
    assert not same(expected.parameters, InProcess(*sites).train(SETTINGS, method, schedule).parameters)


def test_the_sites_evaluate_and_agree_to_the_last_digit_and_a_model_of_their_own_stays_with_them(
    federation, sites, tmp_path
):
    (engine, scratch), (folders, _), method = federation, sites, make_method(name="ditto", finetune=1)
    schedule = rounds_of(1, 1.0, 1)
    stays = FlareEngine.train(engine, SETTINGS, method, schedule, scratch).personal
    assert [(own.parameters, len(own.rows)) for own in stays.values()] == [(None, 2)] * 3
    own = InProcess(*sites).train(SETTINGS, method, schedule).personal["asia"].parameters
    here, models = {}, {"asia's": Model(Path("nowhere"), SETTINGS, "asia", stays["asia"].job)}
    for seed in (1, 2):
        settings = make_settings(image_size=16, seed=seed)
        save_model(tmp_path / f"{seed}", get_parameters(build(settings)))
        here[f"seed={seed}"] = models[f"seed={seed}"] = Model(tmp_path / f"{seed}", settings)
    save_model(tmp_path / "own", own)
    here |= {"asia's": Model(tmp_path / "own", SETTINGS, "asia"), "sent": Model(tmp_path / "own", SETTINGS, "asia")}
    found = engine.evaluate(models | {"sent": here["sent"]}, scratch)
    expected = InProcess(*sites).evaluate(here)
    assert set(found.metrics["asia's"]) == {"asia"}
    expected.metrics["asia's"] = {"asia": expected.metrics["asia's"]["asia"]}
    assert found == expected
    network, (images, labels) = restore(SETTINGS, own), load_site(folders["asia"]).part("test")
    at = found.thresholds["asia's"]
    values = metrics.evaluate(labels.astype(float), predict(network, images, SETTINGS.compute), at)
    assert found.metrics["asia's"]["asia"] == values | {"threshold": at}
    for path in scratch.glob("*/personal/*"):
        assert path.parents[1].name in folders
    with pytest.raises(UserError, match=r"no metrics of x from europe: .*missing, this site's own model"):
        engine.evaluate({"x": Model(Path("nowhere"), SETTINGS, "europe", "0" * 64)}, tmp_path)
