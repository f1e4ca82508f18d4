"""Private steps: gradients of single images, sampling of patients, noise, and what is refused."""

import math

import numpy as np
import pytest
import torch
from helpers.data import make_settings
from torch import nn
from torch.nn import functional
from torchvision.ops import StochasticDepth

from fedxray.core.errors import UserError
from fedxray.data.site import load_site
from fedxray.training.mechanism import Mechanism
from fedxray.training.models import build, get_parameters
from fedxray.training.private import Draws, PrivateTrainer, check_private, clipped_sum, separate
from fedxray.training.rows import Segment
from fedxray.training.trainer import standardise


def mechanism(**changed):
    numbers = {"place": "sites", "sigma": 1.0, "rate": 0.5, "steps": 20, "clip": 0.1, "epsilon": 1.0, "delta": 1e-5}
    numbers |= {"patients": 40, "images": 40, "sites": 1, "colluders": 0, "unit": "patient", "secret": False}
    return Mechanism(**numbers | changed)


def trainer(site_folders, patients=None, **changed):
    settings = make_settings(image_size=16, optimizer="sgd", lr=2.0, weight_decay=0.0)
    site = load_site(site_folders["us"])
    part = site.part("train")
    patients = np.arange(len(part[1])) if patients is None else patients
    return PrivateTrainer(settings, part, site.part("validation"), patients, mechanism(**changed), "us")


@pytest.mark.parametrize("name", ["compact", "resnet18"])
def test_the_sum_is_that_of_a_loop_over_single_images(name):
    settings = make_settings(image_size=32, model=name)
    model, generator = build(settings), torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (70, 32, 32), generator=generator, dtype=torch.uint8)
    images, labels = (images, torch.arange(70) % 2.0) if name == "compact" else (images[:3], torch.arange(3) % 2.0)
    expected, clipped = {name: torch.zeros_like(value) for name, value in model.named_parameters()}, 0
    for image, label in zip(standardise(images), labels, strict=True):
        model.zero_grad()
        functional.binary_cross_entropy_with_logits(model(image[None]), label[None]).backward()
        norm = math.sqrt(sum(float(value.grad.double().square().sum()) for value in model.parameters()))
        clipped += norm > 1.0
        for parameter_name, value in model.named_parameters():
            expected[parameter_name] += value.grad * min(1, 1.0 / norm)
    assert clipped
    sums = clipped_sum(model, images, labels, 1.0)
    largest = max(float(value.abs().max()) for value in expected.values())
    for parameter_name, value in expected.items():
        assert torch.allclose(sums[parameter_name], value, atol=1e-5 * largest), parameter_name


def test_a_gradient_that_is_not_finite_counts_as_none():
    """A model that overflows for some images alone, as a server may make one."""
    model = build(make_settings(image_size=16))
    images = torch.randint(0, 256, (8, 16, 16), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    labels = torch.arange(8) % 2.0
    with torch.no_grad():
        model.blocks[2].norm2.weight *= 4.47e36
    single = [clipped_sum(model, images[n : n + 1], labels[n : n + 1], 1.0) for n in range(8)]
    zero = [all(not value.any() for value in one.values()) for one in single]
    assert any(zero)
    sums = clipped_sum(model, images, labels, 1.0)
    assert all(torch.isfinite(value).all() for value in sums.values())
    norm = torch.stack([value.square().sum() for value in sums.values()]).sum().sqrt()
    assert norm <= (8 - sum(zero)) * 1.001
    with torch.no_grad():
        model.blocks[2].norm2.weight.fill_(math.nan)
    assert not any(value.any() for value in clipped_sum(model, images, labels, 1.0).values())


class Deep(nn.Module):
    """A network that drops its one block at random, as those of EfficientNet, ConvNeXt and Swin drop theirs."""

    def __init__(self):
        super().__init__()
        self.block, self.drop = nn.Linear(64, 1), nn.Sequential(StochasticDepth(0.25, "row"))

    def forward(self, x):
        return self.drop(self.block(x.flatten(1)))[:, 0]


def test_stochastic_depth_is_drawn_for_each_image():
    model, plain = Deep(), Deep()
    plain.load_state_dict(model.state_dict())
    separate(model)
    separate(model)  # what was changed stays
    images, labels = torch.arange(64, dtype=torch.uint8).reshape(1, 8, 8).repeat(200, 1, 1), torch.ones(200)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        sums = [clipped_sum(model, images[:count], labels[:count], 1e-3) for count in [200] + [1] * 30]
    first, *found = [abs(float(one["block.bias"])) for one in sums]
    assert first / max(found) == pytest.approx(150, abs=25)  # 4 deviations
    assert {round(value / max(found), 4) for value in found} == {0.0, 1.0}
    model.eval()
    assert torch.equal(model(standardise(images[:2])), plain.eval()(standardise(images[:2])))


def test_a_patient_is_drawn_once_at_the_rate_and_each_of_the_images_alike(site_folders):
    counts = [1, 7, 3]
    part = np.repeat(np.arange(3), counts)
    images = len(load_site(site_folders["us"]).part("train")[1])
    patients = np.concatenate([part, np.arange(3, 3 + images - len(part))])[::-1]
    made, seen, drawn = trainer(site_folders, patients, rate=0.3), np.zeros(images), 0
    for step in range(2000):
        sample = made.sample(Draws.of(1, step))
        assert len(set(patients[sample])) == len(sample)
        seen[sample] += 1
        drawn += len(sample)
    assert drawn / 2000 == pytest.approx(0.3 * len(set(patients)), rel=0.02)
    for patient, count in enumerate(counts):
        assert seen[patients == patient] == pytest.approx(2000 * 0.3 / count, rel=0.35)


def test_noise_is_normal_and_of_the_deviation_that_was_asked_for(site_folders):
    made = trainer(site_folders, rate=1e-9, sigma=1.5, clip=0.2)  # nobody is drawn
    sums = made.noisy_sum(build(made.settings), 0)
    noise = torch.cat([value.flatten() for value in sums.values()]).double().numpy() / 0.3
    n = len(noise)
    assert n == 76_977
    assert abs(noise.mean()) < 5 / math.sqrt(n)
    assert noise.std() == pytest.approx(1, abs=5 / math.sqrt(2 * n))
    for bound in (0.5, 1.0, 2.0, 3.0):
        share = math.erfc(bound / math.sqrt(2))
        assert np.mean(np.abs(noise) > bound) == pytest.approx(share, abs=5 * math.sqrt(share / n))
    assert abs(np.corrcoef(noise[:-1], noise[1:])[0, 1]) < 5 / math.sqrt(n)


def test_steps_sites_and_seeds_have_their_own_noise_and_secret_noise_does_not_repeat(site_folders):
    made = trainer(site_folders)
    model = build(made.settings)

    def head(of, step):
        return of.noisy_sum(model, step)["head.weight"]

    assert torch.equal(head(made, 0), head(made, 0))
    assert not torch.equal(head(made, 0), head(made, 1))
    other = trainer(site_folders)
    other.site = "asia"
    assert not torch.equal(head(made, 0), head(other, 0))
    hidden = trainer(site_folders, secret=True)
    assert not torch.equal(head(hidden, 0), head(hidden, 0))


def test_without_noise_it_is_sgd_on_clipped_gradients_and_it_learns(site_folders):
    made = trainer(site_folders, sigma=0.0, rate=1.0)
    model, plain = build(made.settings), build(made.settings)
    made.fit(model, [Segment(0, 3, 1)], 3)
    optimizer = torch.optim.SGD(plain.parameters(), lr=2.0, momentum=made.settings.momentum)
    for step in range(3):
        optimizer.param_groups[0]["lr"] = 2.0 * 0.5 * (1 + math.cos(math.pi * step / 3))
        sums = clipped_sum(plain, made.images, made.labels, 0.1)
        for name, parameter in plain.named_parameters():
            parameter.grad = sums[name] / len(made.labels)
        optimizer.step()
    for name, value in get_parameters(plain).items():
        assert get_parameters(model)[name] == pytest.approx(value, abs=1e-5)
    rows = made.fit(build(made.settings), [Segment(0, 60, 1)], 60).rows
    assert rows[0]["validation_auroc"] > 0.9
    assert math.isnan(rows[0]["train_loss"])


def test_a_model_that_mixes_patients_is_refused():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4))
    with pytest.raises(UserError, match=r"privacy\.dp: the model's layer 1 is a BatchNorm"):
        check_private(model)
