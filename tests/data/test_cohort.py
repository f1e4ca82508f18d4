import functools
import hashlib
import hmac
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pytest
import yaml
from helpers.data import catalogued
from sklearn.metrics import mutual_info_score

from fedxray.core.errors import UserError
from fedxray.core.files import read_json, read_table, write_table
from fedxray.data.catalogue import COLUMNS, join
from fedxray.data.cohort import PARTITIONS, allocate, check_split, draw_cohort, heterogeneity, settle
from fedxray.data.names import HASHED

SITES = ["us", "europe", "asia"]
DIGESTS = ["35f883c67d0b212e", "62d6369693ca851f", "c2053acae6b5cfd2", "7d33640b39832872"]


def catalogue(patients=300, seed=0):
    rng, rows = np.random.default_rng(seed), []
    for patient in range(patients):
        aetiology = ("none", "virus", "bacteria")[patient % 3]
        for number in range(rng.choice([1, 2, 5, 20], p=[0.6, 0.25, 0.1, 0.05])):
            official = "test" if patient % 7 == 0 else "train"
            name = f"{patient}-{number}"
            rows.append((name, int(aetiology != "none"), aetiology, f"p{patient}", official, SITES[patient % 3 - 1]))
    columns = ["image", "label", "aetiology", "patient", "official_split", "acquisition"]
    return pd.DataFrame(rows, columns=columns).assign(patient_from="column patient")


@functools.cache
def catalogue_of(path):
    with TemporaryDirectory() as folder:
        return join({"": catalogued(path, "kermany", 2, Path(folder) / "salt")[0]})


@pytest.fixture
def real(real_zip):
    return catalogue_of(real_zip)


def shares(table, split="train", column="aetiology"):
    """What each site (row) has of each aetiology's images (column) in one split."""
    counts = table[table["split"] == split].groupby(["site", column]).size().unstack(fill_value=0).reindex(SITES)
    return (counts / counts.sum()).fillna(0.0)


SPLIT = yaml.safe_load((Path(__file__).parents[2] / "config" / "config.yaml").read_text())["split"]


def draw(images, sites, seed=1, test="redraw", **changes):
    """`draw_cohort` by the split of config.yaml, with these changes."""
    return draw_cohort(images, sites, **(SPLIT | {"seed": seed, "test": test} | changes))


def test_no_patient_in_two_splits_or_sites_and_shares_as_wanted():
    table = draw(catalogue(), SITES, seed=1)
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
    one, same, other = (draw(catalogue(), SITES, seed=seed) for seed in (1, 1, 2))
    assert one.equals(same)
    assert not one.equals(other)


def test_allocate_gives_each_bin_its_share():
    sizes = np.array([30] * 6 + [1] * 120)
    bins = allocate(sizes, np.array([0.5, 0.3, 0.2]), np.random.default_rng(0))
    assert np.allclose(np.bincount(bins, sizes) / sizes.sum(), [0.5, 0.3, 0.2], atol=0.02)


def test_allocate_with_fit_is_the_same_for_equal_shares_and_floods_no_small_bin():
    rng = np.random.default_rng(0)
    for seed in range(200):
        sizes, bins = rng.choice([1, 2, 5, 30], rng.integers(0, 40)), rng.integers(1, 8)
        one, other = (allocate(sizes, np.ones(bins), np.random.default_rng(seed), fit) for fit in (False, True))
        assert (one == other).all()
    sizes = np.array([30] * 6 + [1] * 120)
    for small, images in ((0.0, 0), (0.001, 0), (0.01, 3)):
        bins = allocate(sizes, np.array([1 - small, small]), np.random.default_rng(0), fit=True)
        assert np.bincount(bins, sizes, minlength=2)[1] == images


def test_the_official_test_set_is_kept():
    images = catalogue()
    table = draw(images, SITES, seed=1, test="official")
    assert set(table["image"][table["split"] == "test"]) == set(images["image"][images["official_split"] == "test"])
    with pytest.raises(UserError, match="official"):
        draw(images.assign(official_split="train"), SITES, seed=1, test="official")


def test_undersampling_balances_every_sites_train_set():
    table = draw(catalogue(), SITES, seed=1, balance="undersample")
    train = table[table["split"] == "train"].groupby(["site", "label"]).size().unstack()
    assert (train[0] == train[1]).all()


def test_acquisition_is_the_natural_split():
    images = catalogue()
    table = draw(images, SITES, seed=1, partition="acquisition")
    used = table["site"] != "shared"
    assert (images["acquisition"][used] == table["site"][used]).all()
    assert set(table["site"]) == {"shared", *SITES}
    assert table.equals(draw(images, SITES[::-1], seed=1, partition="acquisition"))  # by name, and not by order


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["US", "europe", "asia"],
            r"the images name US, asia, europe, and `sites` us, europe, asia; .*\{US: us\}; drop",
        ),
        (
            ["us", "europe", "Boston"],
            r"name Boston, europe, us, .* such as \{Boston: asia\}; drop leaves a hospital out",
        ),
        (["us", "europe", ""], r"name \(none\), europe, us, .*\{NAME: asia\}"),
        (["us", "europe", "us"], r"the images name europe, us, and .*; names must be the same: change `sites`, or say"),
    ],
)
def test_hospitals_are_matched_by_their_exact_names(words, said):
    names = dict(zip(SITES, words, strict=True))
    with pytest.raises(UserError, match=said):
        draw(catalogue().replace({"acquisition": names}), SITES, partition="acquisition")


def test_a_hospital_is_never_another_by_the_order_of_names():
    """Sorted, these names come in another order than the hospitals: no image may go to the wrong one."""
    images = catalogue()
    swapped = images.assign(acquisition=images["acquisition"].map({"us": "asia", "asia": "us", "europe": "europe"}))
    table = draw(swapped, SITES, partition="acquisition")
    placed = table["site"] != "shared"
    assert (table["site"][placed] == swapped["acquisition"][placed]).all()


def torn(column, values):
    """A catalogue in which the patient p0 of 3 images, and p1 of 2, have two values of the column."""
    images = catalogue()
    images = images[~images["patient"].isin(["p0", "p1"])]
    of_two = [(f"x{n}", 0, "none", patient, "train", "us") for n, patient in enumerate(["p0", "p0", "p0", "p1", "p1"])]
    rows = pd.DataFrame(of_two, columns=list(images)[:6]).assign(patient_from="column patient", **{column: values})
    return pd.concat([rows, images], ignore_index=True)


def test_a_patient_at_two_hospitals_stops_or_is_settled_by_choice():
    images = torn("acquisition", ["asia", "us", "asia", "asia", "europe"])
    with pytest.raises(UserError, match=r"2 patients are at two hospitals, .* such as p0: asia \(x0\) and us \(x1\); "):
        draw(images, SITES, partition="acquisition")
    settled = settle(images, "acquisition", SITES, "merge")
    assert list(settled["acquisition"][:5]) == ["us", "us", "us", "europe", "europe"]  # the first of `sites`
    assert settled.drop(columns="acquisition").equals(images.drop(columns="acquisition"))
    assert list(settle(images, "acquisition", SITES[::-1], "merge")["acquisition"][:5]) == ["asia"] * 5
    settled = settle(images, "acquisition", SITES, "first")
    assert list(settled["image"][:3]) == ["x1", "x4", images["image"][5]]
    assert len(settled) == len(images) - 3
    for conflicts in ("merge", "first"):
        table = draw(images, SITES, partition="acquisition", conflicts=conflicts)
        assert list(table["image"]) == list(images["image"])
        used = table[table["split"] != "unused"]
        assert (used.groupby("patient")[["split", "site"]].nunique() == 1).all().all()
        assert set(table["image"]) - set(used["image"]) == ({"x0", "x2", "x3"} if conflicts == "first" else set())
        assert set(used["site"][used["patient"] == "p0"]) <= {"us", "shared"}
        assert set(used["site"][used["patient"] == "p1"]) <= {"europe", "shared"}


def test_a_patient_in_two_official_splits_stops_or_is_settled_by_choice():
    images = torn("official_split", ["train", "test", "val", "train", "val"])
    with pytest.raises(UserError, match=r"1 patients are at two official splits.* p0: none \(x0\) and test \(x1\)"):
        draw(images, SITES, test="official")
    table = draw(images, SITES, test="official", conflicts="merge")
    assert list(table["split"][:3]) == ["test"] * 3  # train and val are no conflict: both are drawn again
    assert "test" not in set(table["split"][3:5])
    table = draw(images, SITES, test="official", conflicts="first")
    assert list(table["split"][:3]) == ["unused", "test", "unused"]
    used = table[table["split"] != "unused"]
    assert (used.groupby("patient")[["split", "site"]].nunique() == 1).all().all()
    assert draw(images, SITES).equals(draw(images, SITES, conflicts="merge"))  # redrawn, and so no conflict


def test_any_torn_catalogue_is_settled():
    rng = np.random.default_rng(0)
    for seed in range(20):
        images = catalogue(120, seed)
        images["acquisition"] = rng.choice(SITES, len(images))
        first = images.groupby("patient")["acquisition"].agg(lambda values: min(values, key=SITES.index))
        merged, of_first = (settle(images, "acquisition", SITES, conflicts) for conflicts in ("merge", "first"))
        assert len(merged) == len(images)
        assert (merged["acquisition"] == merged["patient"].map(first)).all()
        assert of_first.equals(images[images["acquisition"] == images["patient"].map(first)])


def test_hashed_patients_are_drawn_alike_whatever_the_secret():
    def hashed(secret):
        images = catalogue()
        keys = images["patient"].map(lambda patient: hmac.new(secret, patient.encode(), "sha256").hexdigest()[:16])
        return images.assign(patient=keys, patient_from=HASHED)

    one, other = hashed(b"1"), hashed(b"2")
    assert not set(one["patient"]) & set(other["patient"])
    for options in ({}, {"partition": "acquisition"}, {"partition": "dirichlet", "alpha": 1}, {"test": "official"}):
        first, second = (draw(images, SITES, **options).drop(columns="patient") for images in (one, other))
        assert first.equals(second)
    by_name = [images.assign(patient_from="column patient") for images in (one, other)]
    assert not draw(by_name[0], SITES)["split"].equals(draw(by_name[1], SITES)["split"])


def test_dirichlet_draws_one_share_a_label_for_train_and_test():
    images, seen = catalogue(3000), []
    for seed in range(5):
        table = draw(images, SITES, seed, partition="dirichlet", alpha=1)
        train, test = shares(table), shares(table, "test")
        assert np.allclose(train, test, atol=0.02)
        assert np.allclose(train["virus"], train["bacteria"], atol=0.02)
        assert not np.allclose(train["virus"], train["none"], atol=0.02)
        seen.append(train["none"].to_numpy())
    assert np.ptp(seen, axis=0).min() > 0.1  # other seeds, other shares
    table = draw(images, SITES, seed=1, partition="dirichlet", alpha=1e6)
    assert np.allclose(shares(table), 1 / 3, atol=0.01)


def test_dirichlet_shares_have_the_variance_of_alpha():
    images, alpha = catalogue(300), 2.0
    drawn = [shares(draw(images, SITES, s, partition="dirichlet", alpha=alpha), column="label") for s in range(100)]
    variance = np.stack(drawn).var(axis=0).mean()
    assert variance == pytest.approx((1 / 3) * (2 / 3) / (3 * alpha + 1), rel=0.2)


def test_quantity_is_a_power_law_of_the_rank_with_the_same_labels():
    for power, wanted in ((1, [6 / 11, 3 / 11, 2 / 11]), (2, [36 / 49, 9 / 49, 4 / 49]), (0, [1 / 3] * 3)):
        table = draw(catalogue(3000), SITES, seed=1, partition="quantity", power=power)
        for split in ("train", "test"):
            assert np.allclose(shares(table, split), np.array(wanted)[:, None], atol=0.02)
        assert heterogeneity(table, SITES)["label_divergence"] < 1e-3


@pytest.mark.parametrize("viral_share", [0.1, 0.5, 0.8, 1.0])
def test_aetiology_gives_the_last_site_the_viral_cases(viral_share):
    table = draw(catalogue(3000), SITES, seed=1, partition="aetiology", viral_share=viral_share)
    for split in ("train", "test"):
        share = shares(table, split)
        assert np.allclose(share["virus"], [(1 - viral_share) / 2] * 2 + [viral_share], atol=0.03)
        assert np.allclose(share["none"], 1 / 3, atol=0.02)
    pneumonia = shares(table, column="label")[1]  # as many viral as bacterial: equal numbers up to a share of 2/3
    assert np.allclose(
        pneumonia, [(1 - max(viral_share / 2, 1 / 3)) / 2] * 2 + [max(viral_share / 2, 1 / 3)], atol=0.02
    )


def test_undersampling_balances_skewed_sites_too():
    table = draw(catalogue(3000), SITES, seed=1, balance="undersample", partition="dirichlet", alpha=1)
    assert heterogeneity(table, SITES)["label_divergence"] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    "options",
    [
        {"partition": "iid"},
        {"partition": "dirichlet", "alpha": 1},
        {"partition": "quantity", "power": 1},
        {"partition": "aetiology", "viral_share": 0.8},
    ],
)
def test_each_hospitals_part_of_the_validation_set_is_drawn_as_its_training_set(options):
    table = draw(catalogue(6000), SITES, seed=1, **options)
    assert (table.groupby("patient")["hospital"].nunique() == 1).all()
    own = table.assign(site=table["hospital"])
    assert set(own["site"][own["split"] == "validation"]) == set(SITES)
    assert np.allclose(shares(own, "validation"), shares(table), atol=0.02)
    placed = table["split"] != "validation"
    assert (table["hospital"] == table["site"])[placed].all()
    assert set(table["site"][~placed]) == {"shared"}


def test_the_validation_set_of_a_natural_split_is_of_the_patients_own_hospitals():
    images = catalogue()
    table = draw(images, SITES, partition="acquisition", balance="undersample")
    assert (table["hospital"] == images["acquisition"]).all()
    assert {"validation", "unused"} <= set(table["split"])


def test_an_unused_image_of_a_validation_patient_is_at_the_patients_hospital():
    images = torn("acquisition", ["asia", "us", "asia", "asia", "europe"])
    tables = [draw(images, SITES, seed, partition="acquisition", conflicts="first") for seed in range(40)]
    found = [table for table in tables if table["split"][1] == "validation"]
    assert found  # p0 is drawn for validation, of its images the one at us
    for table in found:
        assert list(table["hospital"][:3]) == ["us"] * 3
        assert list(table["split"][:3]) == ["unused", "validation", "unused"]


def test_the_hospitals_of_the_validation_set_move_no_other_draw():
    """The bytes of the other columns, as they were before there was a column `hospital`."""
    digests = []
    for partition, options in (("iid", {}), ("dirichlet", {"alpha": 1}), ("quantity", {}), ("aetiology", {})):
        table = draw(catalogue(), SITES, 3, partition=partition, balance="undersample", **options)
        text = table.drop(columns="hospital").to_csv(index=False)
        digests.append(hashlib.sha256(text.encode()).hexdigest()[:16])
    assert digests == DIGESTS


def test_any_partition_puts_every_image_in_one_place():
    rng, official = np.random.default_rng(0), ["redraw", "official"]
    for seed in range(120):
        images, sites = catalogue(int(rng.integers(60, 200)), seed), [f"site-{n}" for n in range(rng.integers(1, 7))]
        partition = PARTITIONS[seed % len(PARTITIONS)]
        if partition == "acquisition":
            images["acquisition"] = images["patient"].map(lambda p, sites=sites: sites[int(p[1:]) % len(sites)])
        options = {"alpha": 10 ** rng.uniform(0, 4), "power": rng.uniform(0, 9), "viral_share": rng.uniform(1e-3, 1)}
        table = draw(images, sites, seed, str(rng.choice(official)), partition=partition, **options)
        assert table[["image", "patient"]].equals(images[["image", "patient"]])
        assert (table.groupby("patient")[["split", "site", "hospital"]].nunique() == 1).all().all()
        assert set(table["hospital"]) <= set(sites)
        assert set(table["split"]) == {"train", "validation", "test"}
        assert set(table["site"]) <= {"shared", *sites}
        assert ((table["site"] == "shared") == (table["split"] == "validation")).all()


def test_partitions_of_the_real_images(real):
    measured, cases = {}, {"iid": {}, "quantity": {}, "aetiology": {}, "dirichlet": {"alpha": 1}}
    for partition, options in cases.items():
        for test in ("redraw", "official"):
            table = draw(real, SITES, 1, test, partition=partition, **options)
            check_split(table, SITES)
            measured[partition, test] = heterogeneity(table, SITES)
    for test in ("redraw", "official"):
        assert measured["iid", test]["label_divergence"] < 1e-5
        assert measured["quantity", test]["label_divergence"] < 1e-5
        assert measured["quantity", test]["size_ratio"] == pytest.approx(3, rel=0.01)
        assert measured["aetiology", test]["size_ratio"] == pytest.approx(1, abs=0.02)
        assert measured["aetiology", test]["aetiology_divergence"] > 0.2
        assert measured["dirichlet", test]["label_divergence"] > 0.05


def test_heterogeneity_is_mutual_information_in_bits():
    def measure(partition, alpha=1.0, seed=1):
        table = draw(images, SITES, seed, partition=partition, alpha=alpha)
        train = table[table["split"] == "train"]
        sites = [site for site in SITES if site in set(train["site"])]  # alpha 0.1 may leave one without an image
        result = heterogeneity(table, sites)
        for column in ("label", "aetiology"):
            bits = mutual_info_score(train["site"], train[column]) / np.log(2)
            assert result[f"{column}_divergence"] == pytest.approx(bits, abs=1e-12)
        sizes = train["site"].value_counts()
        assert result["size_ratio"] == sizes.max() / sizes.min()
        for site in sites:
            labels = train["label"][train["site"] == site]
            assert result["sites"][site] == {"images": len(labels), "prevalence": pytest.approx(labels.mean())}
        return result["label_divergence"]

    images = catalogue(3000)
    assert measure("iid") == pytest.approx(0, abs=1e-4)
    assert measure("aetiology") == pytest.approx(0, abs=0.02)
    skewed, mild = (np.mean([measure("dirichlet", alpha, seed) for seed in range(10)]) for alpha in (0.1, 10))
    assert skewed > 5 * mild > 0
    apart = pd.DataFrame({"split": "train", "site": ["us", "europe"] * 4, "label": [0, 1] * 4, "aetiology": "none"})
    assert heterogeneity(apart, ["us", "europe"])["label_divergence"] == 1  # bit: the site tells the label
    assert heterogeneity(apart, ["us", "europe"])["aetiology_divergence"] == 0


def test_what_draw_cohort_refuses():
    images, bad = catalogue(), float("nan")
    wrong = {
        "alpha": ("dirichlet", [0, -1, bad]),
        "power": ("quantity", [-1, bad]),
        "viral_share": ("aetiology", [0, 2]),
    }
    for name, (partition, values) in wrong.items():
        for value in values:
            with pytest.raises(UserError, match=rf"split\.{name}: {value}"):
                draw(images, SITES, seed=1, partition=partition, **{name: value})
    with pytest.raises(UserError, match="no image is known to be viral"):
        draw(images.replace({"aetiology": {"virus": "unknown"}}), SITES, seed=1, partition="aetiology")
    many = [f"site-{n}" for n in range(60)]
    images["acquisition"] = [many[int(patient[1:]) % 60] for patient in images["patient"]]
    for partition in PARTITIONS:
        with pytest.raises(UserError, match=r"60 sites need 121 patients with NORMAL images .* there are 100"):
            draw(images, many, seed=1, partition=partition)
    with pytest.raises(UserError, match=r"split\.alpha: 0\.001 is too small for 3 sites"):
        draw(images, SITES, seed=1, partition="dirichlet", alpha=1e-3)


def test_dirichlet_gives_every_site_a_part_of_each_label_however_skewed():
    for seed in range(10):
        table = draw(catalogue(3000), SITES, seed, partition="dirichlet", alpha=0.1)
        assert shares(table, column="label").to_numpy().min() > 0.9 * 0.1 / 3


def test_what_check_split_refuses():
    table = draw(catalogue(), SITES, seed=1)
    wrong, patient = table.copy(), table["patient"].value_counts().index[0]
    first = wrong.index[wrong["patient"] == patient][0]
    wrong.loc[first, "split"] = "test" if wrong.loc[first, "split"] == "train" else "train"
    with pytest.raises(UserError, match=rf"patient {patient} is in 2 splits"):
        check_split(wrong, SITES)
    missing = (table["site"] == "asia") & (table["split"] == "test") & (table["label"] == 0)
    with pytest.raises(UserError, match="site asia has no NORMAL image in test"):
        check_split(table[~missing], SITES)
    with pytest.raises(UserError, match="nothing to train on"):
        draw(catalogue(), SITES, seed=1, test_fraction=0.7, validation_fraction=0.3)
    train = table.index[(table["site"] == "asia") & (table["split"] == "train") & (table["label"] == 1)]
    with pytest.raises(UserError, match=r"asia has 1 PNEUMONIA image in train and needs 2: .*smaller split.test_frac"):
        check_split(table.drop(train[1:]), SITES)


def test_the_scripts_draw_and_check(tmp_path):
    scripts, split = Path(__file__).parents[2] / "scripts", tmp_path / "split.csv"
    images = catalogue().assign(sha256_pixels=lambda rows: rows["image"])
    write_table(tmp_path / "catalogue.csv", images.reindex(columns=COLUMNS, fill_value=""))
    script = ["draw_cohort.py", "--catalogue", tmp_path / "catalogue.csv", "--sites", *SITES, "--seed", 1]
    script += ["--test", "redraw", "--test-fraction", 0.2, "--validation-fraction", 0.1, "--balance", "none"]
    script += ["--partition", "quantity", "--power", 2, "--alpha", 1, "--viral-share", 0.5, "--output", split]
    script += ["--settings", tmp_path / "split.json"]
    counts, unlike = tmp_path / "counts.csv", tmp_path / "heterogeneity.json"
    check = ["check_split.py", "--split", split, "--sites", *SITES, "--output", counts, "--heterogeneity", unlike]
    for name, *options in (script, check):
        subprocess.run([sys.executable, scripts / name, *map(str, options)], check=True)
    table = draw(catalogue(), SITES, seed=1, partition="quantity", power=2)
    assert read_table(split).equals(table)
    settings = SPLIT | {"partition": "quantity", "power": 2.0, "alpha": 1.0, "viral_share": 0.5}
    assert read_json(tmp_path / "split.json") == settings
    assert read_table(counts).equals(check_split(table, SITES))
    assert read_json(unlike) == heterogeneity(table, SITES)


def test_images_of_no_hospital_ask_for_the_column_that_names_it():
    with pytest.raises(
        UserError, match=r"no image says its hospital; name the column .* dataset\.columns: \{site: NAME\}"
    ):
        draw(catalogue().assign(acquisition=""), SITES, partition="acquisition")


def with_second(seed=3, patients=90):
    """(`catalogue()` with a wave 2 after it, the part of wave 1): of wave 2 each tenth patient was in wave 1."""
    first = catalogue().assign(wave=1)
    rows, rng = [], np.random.default_rng(seed)
    for patient in range(1000, 1000 + patients):
        key = f"p{patient - 1000}" if patient % 10 == 0 else f"p{patient}"
        aetiology = ("none", "virus", "bacteria")[patient % 3]
        official = "test" if patient % 7 == 0 else "train"
        for number in range(rng.integers(1, 4)):
            name = f"{patient}-{number}"
            rows.append((name, int(aetiology != "none"), aetiology, key, official, SITES[patient % 3 - 1]))
    second = pd.DataFrame(rows, columns=list(first)[:6]).assign(patient_from="column patient", wave=2)
    second.loc[second["patient"].isin(first["patient"]), "acquisition"] = second["patient"].map(
        first.drop_duplicates("patient").set_index("patient")["acquisition"]
    )
    whole = pd.concat([first, second], ignore_index=True).sort_values("image", ignore_index=True)
    whole = whole.assign(sha256_pixels=whole["image"])
    return join({"": whole}), catalogue().sort_values("image", ignore_index=True)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"test": "official"},
        {"balance": "undersample"},
        {"partition": "dirichlet"},
        {"partition": "quantity"},
        {"partition": "aetiology"},
        {"partition": "acquisition", "balance": "undersample"},
    ],
)
def test_a_second_wave_changes_nothing_in_the_first_and_no_patient_moves(changes):
    whole, first = with_second()
    table, before = draw(whole, SITES, **changes), draw(first, SITES, **changes)
    same = table[table["wave"] == 1].drop(columns="wave")
    assert same.to_csv(index=False) == before.to_csv(index=False)
    assert list(table["image"]) == list(whole["image"])
    assert (table.groupby("patient")["site"].nunique() == 1).all()
    used = table[table["split"] != "unused"]
    assert (used.groupby("patient")["split"].nunique() == 1).all()
    new = table[(table["wave"] == 2) & ~table["patient"].isin(first["patient"])]
    assert new["patient"].nunique() == 81
    shares = new[new["split"] != "unused"].drop_duplicates("patient")["split"].value_counts(normalize=True)
    if not changes:
        assert shares["test"] == pytest.approx(0.2, abs=0.05)
        assert shares["validation"] == pytest.approx(0.1, abs=0.05)
        assert set(new["site"]) == {"shared", *SITES}
        check_split(table, SITES)


def test_training_images_may_be_of_some_waves_alone_and_all_else_stays():
    whole, _ = with_second()
    table = draw(whole, SITES)
    for waves in ((1,), (2,), (1, 2)):
        part = draw(whole, SITES, train_waves=waves)
        left_out = (table["split"] == "train") & ~table["wave"].isin(waves)
        assert (part["split"][left_out] == "unused").all()
        assert part["split"][~left_out].equals(table["split"][~left_out])
        assert part.drop(columns="split").equals(table.drop(columns="split"))
        assert left_out.any() == (waves != (1, 2))
    with pytest.raises(UserError, match=r"update\.strategy: no image is of wave 3"):
        draw(whole, SITES, train_waves=(1, 3))


def test_each_wave_has_draws_of_its_own():
    """The same patients would be drawn alike in wave 1 and 2 if the streams were the same."""
    first = catalogue().assign(wave=1, sha256_pixels=lambda rows: rows["image"])
    second = first.assign(wave=2, image="x" + first["image"], patient="x" + first["patient"])
    second["sha256_pixels"] = second["image"]
    table = draw(join({"": pd.concat([first, second], ignore_index=True)}), SITES)
    assert list(table["split"][table["wave"] == 1]) != list(table["split"][table["wave"] == 2])
    assert "wave" not in draw(join({"": first}), SITES)


def test_an_image_of_an_earlier_wave_is_not_used_again_and_no_two_patients_become_one(caplog):
    whole, _ = with_second()
    old = whole[whole["wave"] == 1].reset_index()
    new = whole[(whole["wave"] == 2) & ~whole["patient"].isin(old["patient"]) & (whole["label"] == 1)]
    several = new.groupby("patient").filter(lambda rows: len(rows) > 1)["patient"].unique()
    one, other = (new.index[new["patient"] == patient] for patient in several[:2])
    none = old[old["label"] == 0].drop_duplicates("patient")
    ill = old[old["aetiology"] == whole["aetiology"][one[0]]].drop_duplicates("patient")
    whole.loc[one[0], "sha256_pixels"] = ill["sha256_pixels"].iloc[0]
    extra = whole.loc[[other[0]] * 2].assign(image=["y1", "y2"], label=0, aetiology="none")
    extra["sha256_pixels"] = list(none["sha256_pixels"].iloc[:2])
    whole = join({"": pd.concat([whole, extra], ignore_index=True)})
    with caplog.at_level("INFO"):
        table = draw(whole, SITES).set_index("image")
    assert table.at[whole["image"][one[0]], "split"] == "unused"
    assert set(table.loc[whole["image"][one], "patient"]) == {ill["patient"].iloc[0]}
    assert set(table.loc[[*whole["image"][other], "y1", "y2"], "split"]) == {"unused"}
    before = draw(with_second()[1], SITES).set_index("image")
    assert (table.loc[before.index, ["patient", "split", "site"]] == before[["patient", "split", "site"]]).all().all()
    assert "79 new patients, 10 patients who come again" in caplog.text
    assert "3 images left out because an earlier wave has them" in caplog.text
    assert f"{len(other)} images left out because they would make two earlier patients one" in caplog.text


def test_a_patient_who_comes_again_at_another_hospital():
    whole, _ = with_second()
    again = whole.index[(whole["wave"] == 2) & (whole["patient"] == "p0")]
    home = whole["acquisition"][whole["patient"] == "p0"].iloc[0]
    whole.loc[again, "acquisition"] = next(site for site in SITES if site != home)
    with pytest.raises(
        UserError, match=r"^split: 1 patients of earlier waves come again at another hospital, such as p0"
    ):
        draw(whole, SITES, partition="acquisition")
    merged = draw(whole, SITES, partition="acquisition", conflicts="merge").loc[again]
    assert set(merged["hospital"]) == {home}
    assert "unused" not in set(merged["split"])
    assert set(draw(whole, SITES, partition="acquisition", conflicts="first").loc[again, "split"]) == {"unused"}


def test_a_wave_without_a_new_image_or_a_gap():
    whole, _ = with_second()
    first = whole[whole["wave"] == 1]
    twice = pd.concat([first, first.assign(image="x" + first["image"], wave=2)], ignore_index=True)
    with pytest.raises(UserError, match=r"^wave 2: no image is new; each is in an earlier wave too"):
        draw(join({"": twice}), SITES)
    with pytest.raises(UserError, match=r"no image is of wave 2, of 3; number the waves from 1 without a gap$"):
        join({"": whole.assign(wave=whole["wave"].replace(2, 3))})
