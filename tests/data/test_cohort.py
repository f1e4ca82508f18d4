import numpy as np
import pandas as pd
import pytest

from fedxray.data.cohort import allocate, check_split, draw_cohort
from fedxray.errors import UserError

SITES = ["us", "europe", "asia"]


def catalogue(patients=300, seed=0):
    rng, rows = np.random.default_rng(seed), []
    for patient in range(patients):
        aetiology = ("none", "virus", "bacteria")[patient % 3]
        for number in range(rng.choice([1, 2, 5, 20], p=[0.6, 0.25, 0.1, 0.05])):
            official = "test" if patient % 7 == 0 else "train"
            name = f"{patient}-{number}"
            rows.append(
                (name, int(aetiology != "none"), aetiology, f"p{patient}", official, f"device-{'abc'[patient % 3 - 1]}")
            )
    columns = ["image", "label", "aetiology", "patient", "official_split", "acquisition"]
    return pd.DataFrame(rows, columns=columns)


def test_no_patient_in_two_splits_or_sites_and_shares_as_wanted():
    table = draw_cohort(catalogue(), SITES, seed=1)
    assert (table.groupby("patient")[["split", "site"]].nunique() == 1).all().all()
    shares = table["split"].value_counts(normalize=True)
    assert shares["test"] == pytest.approx(0.2, abs=0.02)
    assert shares["validation"] == pytest.approx(0.1, abs=0.02)
    counts = table[table["split"] == "train"].groupby(["site", "aetiology"]).size().unstack()
    assert ((counts.max() - counts.min()) / counts.mean() < 0.12).all()
    sizes = table.groupby("patient").size()
    large = table[table["patient"].map(sizes) == 20]
    assert {"train", "test"} <= set(large["split"])  # large patients are not all in one split
    check_split(table, SITES)


def test_the_seed_decides():
    one, same, other = (draw_cohort(catalogue(), SITES, seed=seed) for seed in (1, 1, 2))
    assert one.equals(same)
    assert not one.equals(other)


def test_allocate_gives_each_bin_its_share():
    sizes = np.array([30] * 6 + [1] * 120)
    bins = allocate(sizes, np.array([0.5, 0.3, 0.2]), np.random.default_rng(0))
    assert np.allclose(np.bincount(bins, sizes) / sizes.sum(), [0.5, 0.3, 0.2], atol=0.02)


def test_the_official_test_set_is_kept():
    images = catalogue()
    table = draw_cohort(images, SITES, seed=1, test="official")
    assert set(table["image"][table["split"] == "test"]) == set(images["image"][images["official_split"] == "test"])
    with pytest.raises(UserError, match="official"):
        draw_cohort(images.assign(official_split="train"), SITES, seed=1, test="official")


def test_undersampling_balances_every_sites_train_set():
    table = draw_cohort(catalogue(), SITES, seed=1, balance="undersample")
    train = table[table["split"] == "train"].groupby(["site", "label"]).size().unstack()
    assert (train[0] == train[1]).all()


def test_acquisition_is_the_natural_split():
    images = catalogue()
    table = draw_cohort(images, SITES, seed=1, partition="acquisition")
    used = table["site"] != "shared"
    assert set(zip(images["acquisition"][used], table["site"][used], strict=True)) == {
        ("device-a", "us"),
        ("device-b", "europe"),
        ("device-c", "asia"),
    }
    with pytest.raises(UserError, match="name 3"):
        draw_cohort(images, ["us", "europe"], seed=1, partition="acquisition")


def test_what_check_split_refuses():
    table = draw_cohort(catalogue(), SITES, seed=1)
    wrong, patient = table.copy(), table["patient"].value_counts().index[0]
    first = wrong.index[wrong["patient"] == patient][0]
    wrong.loc[first, "split"] = "test" if wrong.loc[first, "split"] == "train" else "train"
    with pytest.raises(UserError, match=rf"patient {patient} is in 2 splits"):
        check_split(wrong, SITES)
    missing = (table["site"] == "asia") & (table["split"] == "test") & (table["label"] == 0)
    with pytest.raises(UserError, match="site asia has no NORMAL image in test"):
        check_split(table[~missing], SITES)
    with pytest.raises(UserError, match="nothing to train on"):
        draw_cohort(catalogue(), SITES, seed=1, test_fraction=0.7, validation_fraction=0.3)
