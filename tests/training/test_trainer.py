import shutil

import numpy as np
import pytest
import torch
from helpers.data import make_settings

from fedxray.core.errors import UserError
from fedxray.core.parameters import load_model, save_model
from fedxray.data.site import load_site
from fedxray.training import trainer as training
from fedxray.training.models import build, build_model, get_parameters, set_parameters
from fedxray.training.rows import Segment
from fedxray.training.trainer import Trainer, augment, predict

SIZES = {16: 8, 64: 32, 126: 63, 128: 32, 224: 56, 256: 32}  # pixels of a side: those that the blocks see


def trained(site_folders, **changes):
    settings, site = make_settings(**{"image_size": 16, "epochs": 2} | changes), load_site(site_folders["us"])
    model = build(settings)
    trainer = Trainer(settings, site.part("train"), site.part("validation"))
    batches = trainer.batches
    segments = [Segment(epoch * batches, (epoch + 1) * batches, epoch + 1) for epoch in range(settings.epochs)]
    return model, trainer.fit(model, segments, settings.epochs * batches).rows, settings, site


def test_a_seed_gives_the_same_bits_and_another_seed_others(site_folders):
    one, same, other = (get_parameters(trained(site_folders, seed=seed)[0]) for seed in (1, 1, 2))
    assert all(np.array_equal(one[name], same[name]) for name in one)
    assert not np.array_equal(one["head.weight"], other["head.weight"])


@pytest.mark.parametrize(
    "change", [{"optimizer": "sgd", "lr": 0.05}, {"class_weights": True}, {"schedule": "constant"}]
)
def test_it_learns(site_folders, change):
    model, rows, settings, site = trained(site_folders, epochs=30, **change)
    assert rows[-1]["validation_auroc"] > 0.9
    assert [row["epoch"] for row in rows] == list(range(1, 31))
    images, labels = site.part("validation")
    probabilities = predict(model, images, settings.compute)
    assert rows[-1]["validation_accuracy"] == np.mean((probabilities >= 0.5) == labels)


def test_a_training_that_diverges_ends_in_one_line_and_not_in_a_model_that_seems_bad(site_folders):
    with pytest.raises(UserError, match=r"no number .*: training has diverged; take a smaller training\.lr"):
        trained(site_folders, optimizer="sgd", momentum=0.99, lr=10.0, epochs=30)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler")
def test_a_compiled_network_trains_the_same_and_one_without_a_compiler_is_refused(site_folders, monkeypatch):
    _, rows, _, _ = trained(site_folders)
    _, compiled, _, _ = trained(site_folders, compile=True)
    assert [row["train_loss"] for row in compiled] == pytest.approx([row["train_loss"] for row in rows], abs=1e-5)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match=r"training\.compile: no C compiler"):
        trained(site_folders, compile=True)


def test_images_for_which_a_gpu_has_no_room_stay_where_they_are(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (4 * 299, 1000))
    assert training._resident(np.zeros((3, 10, 10), np.uint8), torch.device("cuda")).device.type == "cpu"


def test_the_global_random_state_is_left_alone(site_folders):
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    trained(site_folders)
    assert torch.equal(before, torch.random.get_rng_state())


def test_the_first_batch_is_what_the_network_sees_first(site_folders):
    site, seen = load_site(site_folders["us"]), []
    trainer = Trainer(make_settings(shift=0.1, rotate=5.0), site.part("train"), site.part("validation"))
    model = build(trainer.settings)
    model.register_forward_pre_hook(lambda _, images: seen.append(images[0].clone()))
    trainer.fit(model, [Segment(0, 2, None)], 2)
    assert torch.equal(trainer.first_batch(), seen[0])
    assert not torch.equal(seen[0], seen[1])


def test_augmentation_moves_images_and_none_leaves_them():
    images = torch.rand(4, 1, 16, 16)
    still = make_settings(image_size=16, shift=0, rotate=0, scale=0, contrast=0)
    assert torch.equal(augment(images, still), images)
    moved = augment(images, make_settings(image_size=16))
    assert moved.shape == images.shape
    assert not torch.allclose(moved, images)
    many, only_flip = images.repeat(8, 1, 1, 1), {"shift": 0, "rotate": 0, "scale": 0, "contrast": 0, "flip": True}
    pairs = list(zip(augment(many, make_settings(image_size=16, **only_flip)), many, strict=True))
    same = [torch.allclose(new, old, atol=1e-4) for new, old in pairs]
    turned = [torch.allclose(new, old.flip(-1), atol=1e-4) for new, old in pairs]
    assert any(same)
    assert any(turned)
    assert all(a or b for a, b in zip(same, turned, strict=True))


@pytest.mark.parametrize(
    ("name", "size"), [("compact", 64), ("resnet18", 64), ("densenet121", 64), ("mobilenet_v2", 64)]
)
def test_models_take_one_channel_and_hold_no_batch_norm(name, size):
    model = build_model(name, size, 1)
    assert model(torch.rand(2, 1, size, size)).shape == (2,)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in model.modules())


def test_the_demos_network_and_the_default_have_their_sizes():
    assert sum(p.numel() for p in build_model("demo", 224, 1).parameters()) == 25_783_554
    assert sum(p.numel() for p in build_model("compact", 64, 1).parameters()) == 76_977
    seen = {size: build_model("compact", size, 1).stem(torch.zeros(1, 1, size, size)).shape[-1] for size in SIZES}
    assert seen == SIZES
    with pytest.raises(UserError, match="image_size"):
        build_model("demo", 64, 1)
    with pytest.raises(UserError, match=r"model\.name"):
        build_model("resnet9000", 64, 1)


def test_a_model_survives_its_file(tmp_path):
    model, other = build_model("compact", 64, 1), build_model("compact", 64, 2)
    save_model(tmp_path / "m.safetensors", get_parameters(model))
    set_parameters(other, load_model(tmp_path / "m.safetensors"))
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))
