"""Steps that hospitals take together: without noise they are central training's, and with it the sum has enough."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from helpers.data import make_settings
from helpers.federation import make_method, same, unequal_sites

from fedxray.data.site import load_site, train_images, train_patients
from fedxray.experiment.method import PLAIN
from fedxray.experiment.privacy import Privacy
from fedxray.federation.inprocess import InProcess
from fedxray.federation.policy import sampled
from fedxray.federation.pooled import Pooled
from fedxray.federation.rounds import ServerRounds, SiteRounds
from fedxray.training.mechanism import mechanism_at

SETTINGS = make_settings(image_size=16, optimizer="sgd", lr=2.0, weight_decay=0.0)
PRIVACY = Privacy("sum", 3.0, 1e-5, 0.1, 2.0, 20, 6, 1, "seeded")


@pytest.fixture(scope="module")
def sites(tmp_path_factory):
    return unequal_sites(tmp_path_factory.mktemp("sites"))


def everyone(sites, place, **changed):
    """A mechanism without noise that draws every patient, each of whom has one image."""
    noise = mechanism_at(PRIVACY, sites[0].values())
    assert noise.patients == train_patients(sites[0].values())[0]
    assert noise.images == sum(train_images(sites[0].values()).values())
    return replace(noise, place=place, sigma=0.0, rate=1.0, **changed)


def test_without_noise_the_steps_are_those_of_central_training(sites, monkeypatch):
    for_each_image = lambda data, split: np.array(  # noqa: E731
        [f"{data.name}-{number}" for number in range(len(data.part(split)[1]))]
    )
    monkeypatch.setattr("fedxray.data.site.SiteData.patients", for_each_image)
    images = sum(train_images(sites[0].values()).values())
    schedule = sampled(4, 1.0, 1)
    together = InProcess(*sites, everyone(sites, "sum", patients=images)).train(SETTINGS, make_method(), schedule)
    pooled = Pooled("pooled", list(sites[0].values()), noise=everyone(sites, "sites", patients=images))
    central = pooled.train(SETTINGS, PLAIN, schedule)
    for name, value in central.parameters.items():
        assert together.parameters[name] == pytest.approx(value, abs=2e-5)
    assert len(together.rounds) == 4
    assert [row["train_loss"] for row in together.rounds] == [None] * 4


def test_the_noise_of_the_sum_is_that_of_its_sites_and_enough_without_a_colluder(sites):
    noise = replace(mechanism_at(PRIVACY, sites[0].values()), rate=1e-12)  # nobody is drawn
    assert (noise.sites, noise.colluders) == (3, 1)
    data = {site: load_site(folder) for site, folder in sites[0].items()}
    schedule, method = sampled(6, 0.1, 1), make_method()
    parts = {site: SiteRounds(SETTINGS, method, schedule, of_site, noise=noise) for site, of_site in data.items()}
    server = ServerRounds(SETTINGS, method, schedule, data["us"].part("validation"), noise)
    updates = {site: part.train(server.send(), 0) for site, part in parts.items()}

    def total(names):
        """The sum of these sites' noise, as the weighted mean has it, in units of what was asked for."""
        sums = [
            np.concatenate([array.ravel() for array in updates[site].parameters.values()]) * updates[site].images
            for site in names
        ]
        return sum(sums) * noise.rate * noise.patients / noise.images / (noise.sigma * noise.clip)

    assert total(["us", "asia"]).std() == pytest.approx(1, rel=0.02)
    assert total(["us", "europe", "asia"]).std() == pytest.approx(math.sqrt(3 / 2), rel=0.02)
    assert abs(np.corrcoef(total(["us"]), total(["asia"]))[0, 1]) < 0.02


@pytest.mark.parametrize("place", ["sum", "sites"])
def test_a_private_federation_repeats_and_goes_on_from_a_servers_state(sites, place):
    noise = mechanism_at(replace(PRIVACY, dp=place), sites[0].values())
    schedule = sampled(6, noise.rate, 1 if place == "sum" else 3)
    trained = InProcess(*sites, noise).train(SETTINGS, make_method(), schedule)
    assert same(trained.parameters, InProcess(*sites, noise).train(SETTINGS, make_method(), schedule).parameters)
    assert trained.privacy["dp"] == place
    assert trained.privacy["simulation"]
    assert trained.privacy["epsilon"] <= 3.0
    assert trained.rounds[-1]["validation"] is not None
    data = {site: load_site(folder) for site, folder in sites[0].items()}
    parameters, state, method = None, None, make_method()
    for number in range(schedule.rounds):  # a server and sites that are new in each round
        server = ServerRounds(SETTINGS, method, schedule, data["us"].part("validation"), noise)
        if parameters is not None:
            server.parameters, server.state = parameters, state
        sent = server.send()
        server.aggregate(
            number,
            {
                site: SiteRounds(SETTINGS, method, schedule, part, noise=noise).train(sent, number)
                for site, part in data.items()
            },
        )
        parameters, state = server.parameters, server.state
    assert same(parameters, trained.parameters)


def test_steps_are_shared_out_to_rounds_and_counted_in_passes():
    schedule = sampled(112, 256 / 2869, 1)
    assert (schedule.rounds, schedule.epochs) == (112, 10)
    assert [schedule.total(batches) for batches in (1, 50)] == [112, 112]
    schedule = sampled(100, 0.1, 7)
    steps = [segment for number in range(schedule.rounds) for segment in schedule.round_segments(number, 9)]
    assert (steps[0].first, steps[-1].last, schedule.rounds, schedule.epochs) == (0, 100, 14, 10)
    assert all(before.last == after.first for before, after in pairwise(steps))
