"""Central training and training alone, against the trainer."""

import pytest
from helpers.data import make_settings
from helpers.federation import same
from helpers.log import heard

from fedxray.data.site import load_site, pool
from fedxray.experiment.method import PLAIN
from fedxray.federation.policy import alone
from fedxray.federation.pooled import Pooled
from fedxray.training.models import build, get_parameters
from fedxray.training.rows import Segment
from fedxray.training.trainer import Trainer


@pytest.mark.parametrize("own", [False, True])
def test_it_is_the_trainer_bit_for_bit(site_folders, own):
    settings, folders = make_settings(image_size=16, epochs=3), list(site_folders.values())
    sites = [load_site(folder) for folder in folders]
    model, segments = build(settings), [Segment(5 * epoch, 5 * epoch + 5, epoch + 1) for epoch in range(3)]
    validation = sites[0].own_validation() if own else sites[0].part("validation")
    fitted = Trainer(settings, pool(sites, "train"), validation).fit(model, segments, 15)  # 72 images are 5 batches
    with heard() as lines:
        trained = Pooled("pooled", folders, own).train(settings, PLAIN, alone(3, "passes", {}, settings.batch_size))
    assert same(trained.parameters, get_parameters(model))
    ((record,),) = [trained.rounds]
    without = [{key: value for key, value in row.items() if key != "seconds"} for row in fitted.rows]
    assert [{key: row[key] for key in row if key != "seconds"} for row in record["sites"]["pooled"]] == without
    assert record["images"] == {"pooled": sum(len(site.part("train")[1]) for site in sites)}
    assert (record["bytes"], record["epoch"]) == (0, 3)
    assert [line.split("  ")[0] for line in lines] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]


def test_with_equal_steps_it_takes_those_of_central_training(site_folders):
    images, settings = {site: 24 for site in site_folders}, make_settings(image_size=16)
    schedule = alone(2, "steps", images, settings.batch_size)
    trained = Pooled("us", [site_folders["us"]]).train(settings, PLAIN, schedule)
    model = build(settings)
    site = load_site(site_folders["us"])
    Trainer(settings, site.part("train"), site.part("validation")).fit(model, [Segment(0, 10, None)], 10)
    assert same(trained.parameters, get_parameters(model))
    assert [row["epoch"] for row in trained.rounds[0]["sites"]["us"]] == [1, 2, 3, 4, 5, 6]
