import numpy as np
import pytest
from helpers.data import make_sites

from fedxray import __version__
from fedxray.core.errors import UserError
from fedxray.core.files import read_json
from fedxray.data.site import load_site, make_site, pool


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
    assert (card["schema"], card["site"], card["images"], card["patients"]) == (1, "us", 72, 72)
    assert card["splits"]["train"]["prevalence"] == 0.5
    for text in (before, (folders["us"] / "card.json").read_text()):
        assert not any(word in text for word in (str(tmp_path), "us-train", "p-us"))
    moved = make_sites(tmp_path / "elsewhere")["us"]
    assert (moved / "card.json").read_text() == before
