"""Which hospital does not fit the others: by tables in which one does not, and in which all do."""

import numpy as np
import pandas as pd
import pytest

from fedxray.analysis.suspects import LIMITS, suspects
from fedxray.core.files import write_table
from fedxray.experiment.folder import RunFolder

SITES = ("asia", "europe", "us")


def curves(**changed):
    """Two epochs of each site's validation loss 0.3 and training loss 0.2, but for what is {site: (both)}."""
    rows = [(epoch, "global", 0.1, 0.1) for epoch in (1, 2)]
    rows += [(epoch, site, *changed.get(site, (0.3, 0.2))) for site in SITES for epoch in (1, 2)]
    return pd.DataFrame(rows, columns=["epoch", "series", "validation_loss", "train_loss"])


def distances(**changed):
    return [{"round": number, "distance": dict.fromkeys(SITES, 2.0) | changed} for number in (1, 2)]


def test_hospitals_that_nobody_sees_are_not_listed():
    of_all = curves()
    assert suspects([{"round": 1, "distance": {}}], of_all[of_all["series"] == "global"]).empty


def test_hospitals_that_fit_are_not_suspected():
    table = suspects(distances(), curves()).set_index("site")
    assert list(table.index) == sorted(SITES)
    assert set(table["suspect"]) == {"no"}
    assert (table[["distance", "validation_loss", "train_loss"]] == 1).all(axis=None)
    assert table.at["us", "sentence"] == "us fits the others."


@pytest.mark.parametrize(("column", "losses"), [("validation_loss", (0.7, 0.2)), ("train_loss", (0.3, 0.5))])
def test_one_whose_loss_is_far_from_the_others_is(column, losses):
    table = suspects(distances(), curves(europe=losses)).set_index("site")
    assert dict(table["suspect"]) == {"asia": "no", "europe": "yes", "us": "no"}
    assert table.at["europe", column] == pytest.approx(
        losses[column == "train_loss"] / (0.3, 0.2)[column == "train_loss"]
    )
    assert "europe does not fit the others" in table.at["europe", "sentence"]


def test_training_losses_that_no_round_has_are_none_and_stop_nobody(tmp_path):
    run = RunFolder(tmp_path)
    write_table(run.curves, curves(us=(0.7, 0.2)).assign(train_loss=np.nan))
    table = suspects(distances(), run.read_curves())
    assert list(table["suspect"]) == ["no", "no", "yes"]
    assert table["train_loss"].isna().all()


def test_a_hospital_that_was_absent_is_compared_over_the_epochs_that_it_has():
    falling = curves()
    falling.loc[falling["epoch"] == 2, ["validation_loss", "train_loss"]] = 0.02
    table = suspects(distances(), falling[(falling["series"] != "us") | (falling["epoch"] == 1)]).set_index("site")
    assert set(table["suspect"]) == {"no"}
    assert table.at["us", "validation_loss"] == 1
    assert np.isnan(table.at["us", "train_loss"])


def test_a_loss_at_the_limit_is_not_above_it():
    twice = curves(asia=(0.3 * LIMITS["validation_loss"], 0.2 * LIMITS["train_loss"]))
    assert set(suspects(distances(), twice)["suspect"]) == {"no"}


def test_the_distance_alone_accuses_nobody():
    table = suspects(distances(us=40.0), curves()).set_index("site")
    assert table.at["us", "distance"] == 20
    assert table.at["us", "suspect"] == "no"


def test_of_two_hospitals_nobody_can_tell():
    two = curves(us=(3.0, 3.0))
    table = suspects([{"round": 1, "distance": {"asia": 1.0, "us": 1.0}}], two[two["series"] != "europe"])
    assert set(table["suspect"]) == {""}
    assert "nobody can tell which is odd" in table["sentence"].iloc[0]


def test_rounds_and_epochs_that_a_site_missed_do_not_count():
    missed = [
        {"round": 1, "distance": {"asia": 4.0, "europe": 2.0, "us": 2.0}},
        {"round": 2, "distance": {"asia": 4.0, "us": 2.0}},
    ]
    table = suspects(missed, curves(asia=(np.nan, 0.2))).set_index("site")
    assert table.at["asia", "distance"] == 2
    assert np.isnan(table.at["asia", "validation_loss"])
    assert table.at["asia", "suspect"] == "no"


def test_of_hospitals_without_a_loss_nobody_can_tell():
    of_all = curves()
    none = of_all[of_all["series"] == "global"].astype({"train_loss": object})
    table = suspects(distances(us=40.0), none)
    assert set(table["suspect"]) == {""}
    assert list(table["sentence"]) == [f"The server sees no loss of {site}: no verdict on it." for site in SITES]
