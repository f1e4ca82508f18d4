"""The model that runs begin with: torchvision's weights against its own networks, what is refused, what is frozen."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from helpers.data import make_settings
from safetensors.torch import save_file

from fedxray.core.errors import UserError
from fedxray.core.files import sha256
from fedxray.core.parameters import load_model, save_model
from fedxray.data.site import load_site
from fedxray.training.models import begin, build, build_model, frozen_of, get_parameters, head_of, set_parameters
from fedxray.training.private import clipped_sum
from fedxray.training.rows import Segment
from fedxray.training.start import make_start
from fedxray.training.trainer import Trainer, predict

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of torchvision's documentation
FORMS = {"resnet18": {}, "densenet121": {}, "googlenet": {"transform_input": True, "init_weights": False}}


def pretrained(name, folder, suffix=".pth", **extra):
    """(torchvision's own network of random weights and statistics, the file of its weights)."""
    torch.manual_seed(3)
    network = torchvision.models.get_model(name, weights=None, **extra)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, std=0.1)
    network(torch.randn(8, 3, 64, 64))  # its statistics are those of these images
    path = folder / f"{name}{suffix}"
    if suffix == ".pth":
        torch.save(network.state_dict(), path)
    else:
        save_file({key: value.contiguous() for key, value in network.state_dict().items()}, path)
    return network.eval(), path


@pytest.mark.parametrize("norms", ["frozen", "batch"])
@pytest.mark.parametrize(("name", "extra"), FORMS.items(), ids=FORMS)
def test_torchvisions_weights_see_a_grey_image_as_its_own_network_sees_three_equal_colours(
    tmp_path, name, extra, norms
):
    network, path = pretrained(name, tmp_path, **extra)
    made = make_start(f"torchvision:{path}", name, 64, norms, "imagenet")
    model = build_model(name, 64, 1, norms, "imagenet")
    head, own = sorted(head_of(model)), list(network.state_dict())[-2:]
    assert all(not made[part].any() for part in head)
    images = np.random.default_rng(0).integers(0, 256, (5, 64, 64)).astype(np.uint8)
    colours = torch.from_numpy(images / 255).float()[:, None].repeat(1, 3, 1, 1)
    seen = torchvision.transforms.Normalize(MEAN, DEVIATION)(colours)
    with torch.no_grad():
        logits = network(seen)[:, 0]
    scale = 1 / logits.abs().max()  # so that no probability is nearly 0 or 1
    for part, key in zip(head, sorted(own), strict=True):
        made[part] = (scale * network.state_dict()[key][:1]).numpy()
    set_parameters(model, made)
    expected = torch.sigmoid((scale * logits).double()).numpy()
    assert expected.std() > 1e-3
    assert predict(model, images, make_settings().compute) == pytest.approx(expected, abs=1e-5)


def test_weights_by_name_are_those_of_the_file_that_torch_keeps_of_a_download(tmp_path, monkeypatch):
    name = "ResNet18_Weights.IMAGENET1K_V1"
    kept = tmp_path / "hub" / "checkpoints" / Path(torchvision.models.get_weight(name).url).name
    kept.parent.mkdir(parents=True)
    torch.manual_seed(1)
    torch.save(torchvision.models.resnet18().state_dict(), kept)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    by_name, by_file = (
        make_start(f"torchvision:{given}", "resnet18", 32, "batch", "imagenet") for given in (name, kept)
    )
    assert list(by_name) == list(by_file)
    assert all(np.array_equal(by_name[key], by_file[key]) for key in by_name)


def test_of_converted_norms_all_but_the_statistics_is_kept_and_a_file_may_be_safetensors(tmp_path):
    network, path = pretrained("resnet18", tmp_path, ".safetensors")
    made = make_start(f"torchvision:{path}", "resnet18", 32, "group", "imagenet")
    for key, value in network.state_dict().items():
        if not key.startswith(("conv1.", "fc.")) and key.rpartition(".")[2] in ("weight", "bias"):
            assert np.array_equal(made.pop(f"network.{key}"), value.numpy())
    assert sorted(made) == ["network.conv1.weight", "network.fc.bias", "network.fc.weight"]
    assert made["network.conv1.weight"].shape == (64, 2, 7, 7)


REFUSED = {
    "another model": ("resnet34", "layer1.2.conv1.weight is not in it"),
    "no weights": ("broken", "no weights of torchvision's"),
    "code": ("pickle", "no weights of torchvision's"),
}


@pytest.mark.parametrize(("name", "said"), REFUSED.values(), ids=REFUSED)
def test_weights_that_do_not_fit_are_one_line(tmp_path, name, said):
    _, path = pretrained("resnet18", tmp_path)
    if name == "broken":
        path.write_bytes(b"no weights")
    if name == "pickle":
        torch.save({"conv1.weight": subprocess.run}, path)
    with pytest.raises(UserError, match=r"^model\.initial: .*") as error:
        make_start(f"torchvision:{path}", "resnet34" if name == "resnet34" else "resnet18", 32, "group", "imagenet")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_runs_model_is_the_start_and_one_of_other_shapes_is_refused(tmp_path):
    (tmp_path / "model").mkdir()
    given = get_parameters(build(make_settings(seed=7)))
    save_model(tmp_path / "model" / "model.safetensors", given)
    for initial in (tmp_path / "model", tmp_path / "model" / "model.safetensors"):
        made = make_start(str(initial), "compact", 64, "group", "image")
        assert all(np.array_equal(made[name], given[name]) for name in given)
    words = ["--initial", tmp_path / "model", "--model", "compact", "--image-size", "64", "--norms", "group"]
    words += ["--standardise", "image", "--output", tmp_path / "start.safetensors"]
    subprocess.run([sys.executable, "scripts/prepare_start.py", *map(str, words)], check=True)
    settings = make_settings(seed=1, initial=sha256(tmp_path / "start.safetensors"))
    begun = get_parameters(begin(settings, tmp_path / "start.safetensors"))
    assert all(np.array_equal(begun[name], given[name]) for name in given)
    with pytest.raises(UserError, match=r"not the file that the run began with"):
        begin(replace(settings, initial="0" * 64), tmp_path / "start.safetensors")
    with pytest.raises(UserError, match=r"does not fit resnet18: network\.conv1\.weight is not in it"):
        make_start(str(tmp_path / "model"), "resnet18", 64, "group", "image")
    save_model(tmp_path / "model" / "model.safetensors", given | {"head.weight": np.zeros((2, 64), np.float32)})
    with pytest.raises(UserError, match=r"head\.weight has the shape \(2, 64\), not \(1, 64\)"):
        make_start(str(tmp_path / "model"), "compact", 64, "group", "image")
    save_model(tmp_path / "model" / "model.safetensors", given | {"more": np.zeros(2, np.float32)})
    with pytest.raises(UserError, match="more is no parameter of compact"):
        make_start(str(tmp_path / "model"), "compact", 64, "group", "image")


def stepped(site_folders, **changed):
    """(before, after) of one step of training."""
    site = load_site(site_folders["us"])
    settings = make_settings(image_size=16, **changed)
    model = build(settings)
    before = get_parameters(model)
    trainer = Trainer(settings, site.part("train"), site.part("validation"))
    moments = trainer.fit(model, [Segment(0, 1, None)], 2).moments()
    return before, get_parameters(model), moments


def test_the_body_takes_a_part_of_the_heads_rate(site_folders):
    plain = {"optimizer": "sgd", "momentum": 0.0, "weight_decay": 0.0, "lr": 0.1}
    before, whole, _ = stepped(site_folders, **plain)
    _, part, _ = stepped(site_folders, **plain, body_lr=0.25)
    for name in before:
        factor = 1 if name.startswith("head.") else 0.25
        assert part[name] - before[name] == pytest.approx(factor * (whole[name] - before[name]), abs=1e-7), name
    assert not np.array_equal(part["stem.0.weight"], before["stem.0.weight"])


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_frozen_parameters_stay_to_the_bit_and_have_no_moments(site_folders, optimizer):
    before, after, moments = stepped(site_folders, optimizer=optimizer, freeze="stem.*+blocks.?.conv1.*")
    still = {name for name in before if name.startswith("stem.") or ".conv1." in name}
    assert {name for name in before if np.array_equal(before[name], after[name])} == still
    assert not any(name in key for key in moments for name in still)
    assert frozen_of(build(make_settings(freeze="stem.*+blocks.?.conv1.*"))) == still


def test_a_pattern_that_fits_nothing_and_one_that_fits_all_are_refused():
    with pytest.raises(UserError, match=r"training\.freeze: compact has no parameter body\.\*; .* stem\.0\.weight to"):
        build(make_settings(freeze="body.*"))
    with pytest.raises(UserError, match=r"training\.freeze: \* leaves nothing to train"):
        build(make_settings(freeze="*"))


def test_of_private_gradients_frozen_parameters_are_left_out():
    images, labels = torch.randint(0, 256, (6, 16, 16), dtype=torch.uint8), torch.arange(6) % 2.0
    whole = clipped_sum(build(make_settings(image_size=16)), images, labels, 1e9)
    part = clipped_sum(build(make_settings(image_size=16, freeze="stem.*+blocks.*")), images, labels, 1e9)
    assert set(part) == {"head.weight", "head.bias"}
    for name, value in part.items():
        assert torch.allclose(value, whole[name], rtol=1e-5)
    clipped = clipped_sum(build(make_settings(image_size=16, freeze="stem.*+blocks.*")), images[:1], labels[:1], 1e-3)
    assert float(torch.cat([value.flatten() for value in clipped.values()]).norm()) == pytest.approx(1e-3, rel=1e-4)


def test_frozen_norms_keep_their_statistics_and_need_no_gradient():
    model = build_model("resnet18", 32, 1, "frozen", "imagenet")
    norms = {name for name in get_parameters(model) if name.rpartition(".")[2] == "running_var"}
    assert len(norms) == 20
    assert frozen_of(model) >= norms
    before = get_parameters(model)
    model.train()(torch.randn(4, 1, 32, 32)).sum().backward()
    assert all(np.array_equal(before[name], value) for name, value in get_parameters(model).items())
    assert not frozen_of(build_model("resnet18", 32, 1, "batch", "image"))


def test_a_last_batch_of_one_image_has_no_deviation(site_folders):
    site = load_site(site_folders["us"])
    settings = make_settings(image_size=16, model="resnet18", norms="batch", batch_size=23)
    with pytest.raises(UserError, match=r"training\.batch_size: 23 leaves one of 24 images for the last batch"):
        Trainer(settings, site.part("train"), site.part("validation"))


def test_a_file_that_is_read_back_is_the_same(tmp_path):
    model = build_model("resnet18", 32, 1, "batch", "imagenet")
    save_model(tmp_path / "m.safetensors", get_parameters(model))
    other = build_model("resnet18", 32, 2, "batch", "imagenet")
    set_parameters(other, load_model(tmp_path / "m.safetensors"))
    images = torch.randn(3, 1, 32, 32)
    assert torch.equal(model.eval()(images), other.eval()(images))
