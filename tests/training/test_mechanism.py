"""The noise of a run: what it spends, how hospitals share it, and whose patients it counts."""

import math
from dataclasses import replace

import pytest
from helpers.federation import unequal_sites

from fedxray.core.errors import UserError
from fedxray.core.files import read_json
from fedxray.data.registry import write_registry
from fedxray.experiment.privacy import Privacy
from fedxray.training.accountant import epsilon
from fedxray.training.mechanism import mechanism_at, mechanism_of, mechanism_registered

PRIVACY = Privacy("sites", 3.0, 1e-5, 0.1, 2.0, 8, 20, 0, "seeded")


def test_a_mechanism_spends_what_was_asked_for_and_shares_the_noise_of_a_sum():
    made = mechanism_of(PRIVACY, 100, 300, 4, "patient")
    assert made.rate == 0.08
    assert 2.99 < made.epsilon == epsilon(made.sigma, 0.08, 20, 1e-5) <= 3.0
    assert made.deviation == pytest.approx(0.1 * made.sigma)
    of_sum = mechanism_of(Privacy(**vars(PRIVACY) | {"dp": "sum", "colluders": 1}), 100, 300, 4, "patient")
    assert of_sum.sigma == made.sigma
    # Without the noise of one of four, that of the other three is what was asked for.
    assert math.sqrt(3) * of_sum.deviation == pytest.approx(0.1 * made.sigma)
    assert of_sum.about["simulation"]
    assert mechanism_of(Privacy(**vars(PRIVACY) | {"dp": "none"}), 100, 300, 4, "patient") is None


@pytest.mark.parametrize(
    ("changed", "message"),
    [({"delta": 0.01}, r"privacy\.delta: 0\.01 is not below 1/100"), ({"patients_per_step": 101}, "there are 100")],
)
def test_what_the_patients_do_not_allow_is_refused(changed, message):
    with pytest.raises(UserError, match=message):
        mechanism_of(Privacy(**vars(PRIVACY) | changed), 100, 300, 3, "patient")


def test_the_registry_counts_the_patients_that_the_sites_have(tmp_path):
    folders, shared = unequal_sites(tmp_path)
    cards = {site: read_json(folder / "card.json") for site, folder in (*folders.items(), ("shared", shared))}
    write_registry(tmp_path / "registry.csv", cards | {"stranger": cards["us"]}, 16, "stretch")
    made = mechanism_registered(PRIVACY, tmp_path / "registry.csv", list(folders))
    assert made == mechanism_at(PRIVACY, folders.values())
    assert (made.patients, made.images, made.sites, made.unit) == (74, 74, 3, "patient")
    few = mechanism_registered(PRIVACY, tmp_path / "registry.csv", ["asia"])
    assert (few.patients, few.sites, few.rate) == (10, 1, 0.8)
    cards["asia"]["provenance"]["patients_known"] = False
    write_registry(tmp_path / "other.csv", cards, 16, "stretch")
    assert mechanism_registered(PRIVACY, tmp_path / "other.csv", ["us"]).unit == "patient"
    assert mechanism_registered(PRIVACY, tmp_path / "other.csv", ["us", "asia"]).unit == "image"
    assert mechanism_registered(replace(PRIVACY, dp="none"), tmp_path / "other.csv", ["us"]) is None
