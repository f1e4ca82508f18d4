import hashlib
import math

import numpy as np
import pandas as pd
import pytest
from helpers.data import make_sites

from fedxray import __version__
from fedxray.core.errors import UserError
from fedxray.core.files import read_json, write_array, write_json, write_table
from fedxray.data.site import load_site, make_site, origin, pool, train_images, wave_count, waves_of
from fedxray.data.trouble import Trouble

COLUMNS = ["image", "label", "aetiology", "patient", "split", "site", "hospital"]


def test_a_site_holds_its_own_images_and_the_shared_validation_set_alone(site_folders):
    site = load_site(site_folders["us"])
    names = set(site.table["image"].str.rsplit("-", n=1).str[0])
    assert names == {"us-train", "us-test", "shared-validation"}
    images, labels = site.part("train")
    assert images.shape == (24, 16, 16)
    assert labels.dtype == np.float32
    assert set(load_site(site_folders["us"].parent / "shared").table["split"]) == {"validation"}


def test_pool_is_the_sites_one_after_the_other(site_folders):
    sites = [load_site(path) for path in site_folders.values()]
    images, labels = pool(sites, "train")
    assert len(images) == len(labels) == 72
    assert np.array_equal(images[24:48], sites[1].part("train")[0])


def test_the_images_of_several_sources_follow_one_another(tmp_path):
    """Image i has the grey i, and lies in the file of its source."""
    rows = [(f"x{n}", n % 2, "none", f"p{n}", ("train", "test", "unused")[n % 3], "us", "us") for n in range(10)]
    rows[4] = ("x4", 0, "none", "p4", "validation", "shared", "asia")
    rows[8] = ("x8", 0, "none", "p8", "train", "asia", "asia")
    write_table(tmp_path / "split.csv", pd.DataFrame(rows, columns=COLUMNS))
    images = np.arange(10, dtype=np.uint8)[:, None, None] * np.ones((1, 4, 4), np.uint8)
    files = [tmp_path / f"{n}.npy" for n in range(4)]
    for file, part in zip(files, np.split(images, [3, 3, 7]), strict=True):  # the second source has no image
        write_array(file, part)
    for site, expected in (("us", [0, 1, 3, 4, 6, 7, 9]), ("asia", [4, 8]), ("shared", [4])):
        make_site(tmp_path / "split.csv", files, site, tmp_path / site)
        found = load_site(tmp_path / site)
        assert [int(image[0, 0]) for image in found.images] == expected
        assert list(found.table["image"]) == [f"x{n}" for n in expected]
    with pytest.raises(UserError, match=r"^split: names 10 images or more, but the pixels have 7; make both again$"):
        make_site(tmp_path / "split.csv", files[:3], "us", tmp_path / "cut")


def with_hospitals(folder, hospitals):
    """The site us, whose validation set has images of the grey 10 i, label i % 2 and the given hospitals."""
    rows = [(f"v{n}", n % 2, "none", f"p{n}", "validation", "shared", name) for n, name in enumerate(hospitals)]
    rows += [("t0", 0, "none", "t0", "train", "us", "us"), ("e0", 1, "none", "e0", "test", "us", "us")]
    write_table(folder / "split.csv", pd.DataFrame(rows, columns=COLUMNS))
    greys = 10 * np.arange(len(rows), dtype=np.uint8)
    write_array(folder / "pixels.npy", greys[:, None, None] * np.ones((1, 4, 4), np.uint8))
    make_site(folder / "split.csv", [folder / "pixels.npy"], "us", folder / "us")
    return load_site(folder / "us")


def test_a_site_knows_its_own_of_the_validation_set(tmp_path):
    site = with_hospitals(tmp_path, ["asia", "us", "us", "us", "asia"])
    assert list(site.table["own"]) == [False, True, True, True, False, True, True]
    images, labels = site.own_validation()
    assert images.dtype == np.uint8
    assert list(images[:, 0, 0]) == [10, 20, 30]
    assert (list(labels), labels.dtype) == ([1, 0, 1], np.float32)
    assert len(site.part("validation")[1]) == 5
    card = card_of(tmp_path / "us")
    assert card["splits"]["validation"]["own"] == {"images": 3, "patients": 3}
    assert "own" not in card["splits"]["train"]


@pytest.mark.parametrize("hospitals", [["asia", "us", "asia", "us"], ["asia"] * 4, [""] * 4])
def test_a_site_whose_own_lacks_a_class_validates_on_the_whole_set(tmp_path, hospitals):
    site = with_hospitals(tmp_path, hospitals)
    for own, whole in zip(site.own_validation(), site.part("validation"), strict=True):
        assert np.array_equal(own, whole)
    assert len(site.own_validation()[1]) == 4


def test_data_of_another_version_are_to_be_made_again(tmp_path):
    folder = make_sites(tmp_path)["us"]
    write_json(folder / "card.json", card_of(folder) | {"schema": 1})
    with pytest.raises(UserError, match=r"card.json: schema 1, this library has 2; make the site's data again"):
        load_site(folder)


def test_trouble_is_in_the_card_of_what_it_changed_and_nowhere_else(tmp_path):
    make_sites(tmp_path)
    files = ("images.npy", "images.csv", "card.json")
    names = ("us", "europe", "asia", "shared")
    for kind, changed in (("labels", {"asia"}), ("noise", {"asia"}), ("inverted", {*names})):
        trouble = Trouble(kind, "asia", 0.5 if kind == "labels" else math.nan, 1)
        for name in names:
            folder = tmp_path / kind / name
            make_site(tmp_path / "split.csv", [tmp_path / "pixels.npy"], name, folder, trouble=trouble)
            same = all((folder / file).read_bytes() == (tmp_path / name / file).read_bytes() for file in files)
            assert same == (name not in changed)
            said = card_of(folder)["provenance"].get("trouble")
            assert said == (trouble.about if name in changed else None)
    site, clean = load_site(tmp_path / "labels" / "asia"), load_site(tmp_path / "asia")
    assert (site.part("train")[1] != clean.part("train")[1]).sum() == 12
    for split in ("validation", "test"):
        assert np.array_equal(site.part(split)[1], clean.part(split)[1])


def test_every_site_has_the_same_validation_set_whatever_the_trouble(tmp_path):
    make_sites(tmp_path)
    parts = []
    for name in ("us", "asia", "shared"):
        make_site(
            tmp_path / "split.csv",
            [tmp_path / "pixels.npy"],
            name,
            tmp_path / "made" / name,
            trouble=Trouble("inverted", "asia", math.nan, 1),
        )
        parts.append(load_site(tmp_path / "made" / name).part("validation")[0])
    assert np.array_equal(parts[0], parts[1])
    assert np.array_equal(parts[0], parts[2])
    clean = load_site(tmp_path / "asia").own_validation()[0]
    assert np.array_equal(load_site(tmp_path / "made" / "asia").own_validation()[0], 255 - clean)


def test_what_a_card_says_of_its_sources():
    one = {"sha256": "a" * 64, "synthetic": False, "patients_known": True}
    other = {"sha256": "b" * 64, "synthetic": True, "patients_known": False}
    assert origin([one], "pad") == {"source_sha256": "a" * 64, "synthetic": False, "patients_known": True, "fit": "pad"}
    both = origin([one, other], "stretch")
    digest = hashlib.sha256(f"{'a' * 64} {'b' * 64}".encode()).hexdigest()
    assert both == {"source_sha256": digest, "synthetic": True, "patients_known": False, "fit": "stretch"}


def test_patients_and_names_of_a_site_are_text(tmp_path):
    rows = [("7", 0, "none", "007", "train", "us", "us"), ("8", 1, "virus", "7", "test", "us", "us")]
    write_table(tmp_path / "split.csv", pd.DataFrame(rows, columns=COLUMNS))
    write_array(tmp_path / "pixels.npy", np.zeros((2, 4, 4), np.uint8))
    make_site(tmp_path / "split.csv", [tmp_path / "pixels.npy"], "us", tmp_path / "us")
    table = load_site(tmp_path / "us").table
    assert (list(table["patient"]), list(table["image"])) == (["007", "7"], ["7", "8"])
    assert card_of(tmp_path / "us")["patients"] == 2


def test_changed_data_are_refused(tmp_path):
    folder = make_sites(tmp_path)["us"]
    images = np.load(folder / "images.npy")
    images[0, 0, 0] ^= 1
    np.save(folder / "images.npy", images)
    with pytest.raises(UserError, match="changed since its data card"):
        load_site(folder)
    (folder / "images.npy").unlink()
    with pytest.raises(UserError, match="missing"):
        load_site(folder)


def card_of(folder):
    return read_json(folder / "card.json")


def test_a_card_names_its_source_and_no_time_path_name_or_patient(tmp_path):
    folders = make_sites(tmp_path)
    before = (folders["us"] / "card.json").read_text()
    provenance = {"source_sha256": "ab" * 32, "split": {"seed": 3, "test_fraction": 0.2}}
    make_site(tmp_path / "split.csv", [tmp_path / "pixels.npy"], "us", folders["us"], provenance)
    card = card_of(folders["us"])
    assert card["provenance"] == provenance | {"fedxray": __version__}
    assert (card["schema"], card["site"], card["images"], card["patients"]) == (2, "us", 72, 72)
    assert card["splits"]["train"]["prevalence"] == 0.5
    for text in (before, (folders["us"] / "card.json").read_text()):
        assert not any(word in text for word in (str(tmp_path), "us-train", "p-us"))
    moved = make_sites(tmp_path / "elsewhere")["us"]
    assert (moved / "card.json").read_text() == before


def with_waves(folder):
    """The site us of two waves; patient p0 comes again. Image i has the grey i."""
    splits = ["train", "train", "validation", "test", "test", "train", "train", "train", "test"]
    waves, patients = [1, 1, 1, 1, 1, 2, 2, 2, 2], ["p0", "p1", "p2", "p3", "p4", "p0", "p0", "p5", "p6"]
    rows = [
        (f"x{n}", n % 2, "none", patients[n], split, "shared" if split == "validation" else "us", "us")
        for n, split in enumerate(splits)
    ]
    write_table(folder / "split.csv", pd.DataFrame(rows, columns=COLUMNS).assign(wave=waves))
    write_array(folder / "pixels.npy", np.arange(9, dtype=np.uint8)[:, None, None] * np.ones((1, 4, 4), np.uint8))
    make_site(folder / "split.csv", [folder / "pixels.npy"], "us", folder / "us")
    return folder / "us"


def test_the_images_of_all_waves_are_of_one_data_set_and_its_card_counts_each(tmp_path, site_folders):
    folder = with_waves(tmp_path)
    site = load_site(folder)
    assert list(site.part("train")[0][:, 0, 0]) == [0, 1, 5, 6, 7]
    assert list(waves_of(site.table)) == [1, 1, 1, 1, 1, 2, 2, 2, 2]
    assert wave_count(card_of(folder)) == 2
    assert train_images([folder]) == {"us": 5}
    assert card_of(folder)["waves"] == {
        "1": {
            "train": {"images": 2, "patients": 2, "again": 0},
            "validation": {"images": 1, "patients": 1, "again": 0},
            "test": {"images": 2, "patients": 2, "again": 0},
        },
        "2": {
            "train": {"images": 3, "patients": 2, "again": 1},
            "test": {"images": 1, "patients": 1, "again": 0},
        },
    }
    assert "waves" not in card_of(site_folders["us"])
    assert wave_count(card_of(site_folders["us"])) == 1
    assert set(waves_of(load_site(site_folders["us"]).table)) == {1}


def test_trouble_is_not_made_in_waves(tmp_path):
    with_waves(tmp_path)
    trouble = Trouble("inverted", "us", math.nan, 1)
    with pytest.raises(UserError, match=r"^trouble\.kind: trouble on purpose is not made in data of several waves"):
        make_site(tmp_path / "split.csv", [tmp_path / "pixels.npy"], "us", tmp_path / "two", {}, trouble)
    assert not (tmp_path / "two").exists()


def test_the_origin_of_each_wave():
    known = {"synthetic": False, "patients_known": True}
    one, two = {"sha256": "a", **known}, {"sha256": "c", "waves": {"1": {"sha256": "d"}, "2": {"sha256": "e"}}, **known}
    assert "waves" not in origin([one], "pad")
    assert origin([two], "pad")["waves"] == {"1": "d", "2": "e"}
    both = origin([one, two], "pad")
    assert both["source_sha256"] == hashlib.sha256(b"a c").hexdigest()
    assert both["waves"] == {"1": hashlib.sha256(b"a d").hexdigest(), "2": "e"}
