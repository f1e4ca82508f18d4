import numpy as np
import pytest
from conftest import make_sites

from fedxray.data.site import load_site, pool
from fedxray.errors import UserError


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
