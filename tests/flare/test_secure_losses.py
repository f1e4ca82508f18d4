"""Secure aggregation by a real federation that loses a site for a round: the sum of the others, and then all again."""

import os

import numpy as np
import pytest
from helpers.data import make_settings, make_sites
from helpers.federation import make_method, plain_loop, rounds_of, same

from fedxray.experiment.experiment import POOLED
from fedxray.federation.policy import Policy
from fedxray.flare.kits import provision, render_project
from fedxray.flare.one_host import OneHost

pytestmark = pytest.mark.slow
SETTINGS, SCHEDULE = make_settings(image_size=16, epochs=3), rounds_of(3)
METHOD = make_method(name="scaffold", moments="kept", secure_aggregation=True)
IMAGES = {"us": 24, "europe": 40, "asia": 10, "africa": 18}
LATE_S, ASLEEP_S = 12, 17  # what a step may take here, on busy cores; and how long one site is away in the second round

# In each process of the federation: one site has trained and masked, and its answer comes too late.
SLEEPER = f"""
import time
from fedxray.flare import site

masked = site.SiteTrainer._masked

def late(self, update, number, sent):
    answer = masked(self, update, number, sent)
    if number == 1 and update.images == {IMAGES["asia"]}:
        time.sleep({ASLEEP_S})
    return answer

site.SiteTrainer._masked = late
"""


def test_a_site_that_misses_a_round_is_not_in_its_sum_and_comes_back(tmp_path, monkeypatch):
    folders = {
        site: make_sites(tmp_path / site, images=images, seed=seed)["us"]
        for seed, (site, images) in enumerate(IMAGES.items())
    }
    shared, kits, code, scratch = (tmp_path / name for name in ("us/shared", "kits", "code", "scratch"))
    for place in (kits, code, scratch):
        place.mkdir(mode=0o700)
    render_project("config/project.yml", list(folders), kits / "project.yml")
    provision(kits / "project.yml", kits)
    (code / "sitecustomize.py").write_text(SLEEPER)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(code), os.getcwd()]))
    policy = Policy(round_timeout_s=LATE_S, absent="drop", min_sites=3)
    engine = OneHost(kits=kits, folders=folders, shared=shared, start_timeout_s=60, policy=policy)
    trained = engine.train(SETTINGS, METHOD, SCHEDULE, scratch)
    assert trained.checks["absent"] == {2: {"asia": f"no answer in {LATE_S} s"}}
    assert trained.checks["answers_masked"]
    assert set(trained.partners) == set(IMAGES)
    assert [record["images"] for record in trained.rounds] == [{POOLED: 92}, {POOLED: 82}, {POOLED: 92}]
    plain = make_method(name="scaffold", moments="kept")
    model, _ = plain_loop(folders, shared, SETTINGS, plain, SCHEDULE, lambda *of: of == (1, "asia"))
    assert same(trained.parameters, model)
    assert np.isfinite([record["train_loss"] for record in trained.rounds]).all()
