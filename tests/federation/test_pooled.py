"""Central training and training alone, against the trainer and against a federation of one site."""

import numpy as np
import pytest
from helpers.data import make_settings
from helpers.log import heard

from fedxray.data.site import load_site, pool
from fedxray.federation.inprocess import InProcess
from fedxray.federation.policy import Schedule
from fedxray.federation.pooled import Pooled
from fedxray.training.models import build, get_parameters
from fedxray.training.trainer import Trainer


def same(one, other):
    return all(np.array_equal(one[name], other[name]) for name in other)


def test_it_is_the_trainer_bit_for_bit(site_folders):
    settings, folders = make_settings(image_size=16, epochs=3), list(site_folders.values())
    sites = [load_site(folder) for folder in folders]
    model = build(settings)
    rows = Trainer(settings, pool(sites, "train"), sites[0].part("validation")).fit(model, 0, 3)
    with heard() as lines:
        trained = Pooled("pooled", folders).train(settings, Schedule(1, 3))
    assert same(trained.parameters, get_parameters(model))
    ((record,),) = [trained.rounds]
    without = [{key: value for key, value in row.items() if key != "seconds"} for row in rows]
    assert [{key: row[key] for key in row if key != "seconds"} for row in record["sites"]["pooled"]] == without
    assert record["images"] == {"pooled": sum(len(site.part("train")[1]) for site in sites)}
    assert [line.split("  ")[0] for line in lines] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]


def test_a_federation_of_one_site_is_the_same(site_folders):
    settings, folder = make_settings(image_size=16, epochs=4), site_folders["asia"]
    alone = Pooled("asia", [folder]).train(settings, Schedule(1, 4))
    federation = InProcess({"asia": folder}, folder)
    assert same(federation.train(settings, Schedule(1, 4)).parameters, alone.parameters)
    assert not same(federation.train(settings, Schedule(2, 2)).parameters, alone.parameters)  # new optimizers


def test_there_is_nothing_to_average(site_folders):
    with pytest.raises(ValueError, match="2 rounds"):
        Pooled("us", [site_folders["us"]]).train(make_settings(image_size=16, epochs=2), Schedule(2, 1))
