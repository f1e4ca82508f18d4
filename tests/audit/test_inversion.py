from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.data import make_settings
from torch import nn

from fedxray.audit import inversion
from fedxray.audit.findings import EXAMPLE
from fedxray.audit.inversion import (
    adamw_step,
    attacked,
    features_of,
    first_dense,
    masked,
    matches,
    noisy,
    picture,
    ratios,
    searched,
    sgd_step,
)
from fedxray.audit.power import phantoms
from fedxray.core.seeds import stream
from fedxray.training.models import build, get_parameters
from fedxray.training.trainer import standardise

SIZE = 32


def batch(count):
    rng = stream(count, "images")
    return rng.integers(0, 255, (count, SIZE, SIZE)).astype(np.uint8), np.arange(count, dtype=np.float32) % 2


def truth(settings, images):
    model = inversion.build(settings)
    dense = first_dense(model)
    with torch.no_grad():
        return dense, features_of(model, dense, standardise(torch.from_numpy(images))).numpy()


def read_off(settings, images, change):
    dense, features = truth(settings, images)
    return matches(ratios(change, dense), features)[0]


def test_one_sgd_step_gives_the_features_of_its_image_away_exactly(wide):
    images, labels = batch(1)
    dense, features = truth(wide, images)
    read = ratios(sgd_step(wide, images, labels), dense)
    assert read.shape[0] > 10  # neurons that the image activates
    off = np.abs(read - features).max(axis=1) / features.max()
    assert off.min() < 1e-6
    assert np.median(off) < 1e-4  # float32 weights have less of a small gradient


def test_the_step_is_the_gradient_of_the_loss_by_pytorch(wide):
    images, labels = batch(3)
    model = inversion.build(wide)
    loss = nn.functional.binary_cross_entropy_with_logits(
        model(standardise(torch.from_numpy(images))), torch.from_numpy(labels)
    )
    loss.backward()
    change = sgd_step(wide, images, labels)
    for name, parameter in model.named_parameters():
        assert change[name] == pytest.approx(-0.1 * parameter.grad.numpy(), abs=1e-7)


def test_a_mask_hides_the_features_and_comes_off_with_the_partners_answers(wide):
    images, labels = batch(4)
    change = sgd_step(wide, images, labels)
    assert read_off(wide, images, change).max() > 0.99
    before = get_parameters(inversion.build(wide))
    seen = masked(before, change, 4, 1)
    assert read_off(wide, images, seen).max() < 0.15  # of 64 rows and 2,048 features, by chance
    name = "classifier.0.weight"
    assert abs(np.corrcoef(seen[name].ravel(), change[name].ravel())[0, 1]) < 0.01
    other = masked(before, change, 4, 2)
    assert abs(np.corrcoef(seen[name].ravel(), other[name].ravel())[0, 1]) < 0.01  # another seed, other masks


def test_what_is_masked_is_what_the_product_sends(wide, monkeypatch):
    images, labels = batch(4)
    before, change = get_parameters(inversion.build(wide)), sgd_step(wide, images, labels)
    monkeypatch.setattr(inversion.Party, "mask", lambda self, words, number, sent: None)
    for name, value in masked(before, change, 4, 1).items():
        assert value == pytest.approx(change[name], abs=1e-7)  # weights are float32


def test_without_noise_a_clipped_sum_is_that_of_clipped_gradients_of_single_images(wide):
    images, labels = batch(2)
    clip, model = 0.05, inversion.build(wide)
    expected = {name: np.zeros(value.shape) for name, value in model.named_parameters()}
    for image, label in zip(images, labels, strict=True):
        change = sgd_step(wide, image[None], np.array([label]))
        gradient = {name: -value / 0.1 for name, value in change.items()}
        norm = np.sqrt(sum(np.square(value).sum() for value in gradient.values()))
        assert norm > clip
        for name, value in gradient.items():
            expected[name] += value * clip / norm
    found = noisy(wide, images, labels, replace(EXAMPLE, clip=clip, sigma=0.0))
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-6)
    change = noisy(wide, images, labels, replace(EXAMPLE, clip=clip, sigma=2.0))
    added = np.concatenate([(change[name] - found[name]).ravel() for name in found])
    assert added.std() == pytest.approx(2.0 * clip, rel=0.01)
    assert read_off(wide, images, change).max() < 0.2


def test_a_step_of_adamw_hides_the_features_in_part(wide):
    images, labels = batch(1)
    found = read_off(wide, images, adamw_step(wide, images, labels))
    assert 0.2 < found[0] < 0.95


def test_a_match_is_the_best_pearson_correlation():
    rng = stream(5, "rows")
    rows, features = rng.normal(size=(6, 50)), rng.normal(size=(2, 50))
    rows[4] = 3 * features[1] + 7
    correlation, best = matches(rows, features)
    every = np.corrcoef(np.vstack([features, rows]))[:2, 2:]
    assert correlation == pytest.approx(every.max(axis=1), abs=1e-6)
    assert correlation[1] == pytest.approx(1, abs=1e-6)
    assert best[1] == 4


def test_the_picture_is_found_from_its_features_alone(wide):
    ramp = np.linspace(0, 200, SIZE)
    image = (ramp[None] * np.sin(ramp / 30)[:, None] ** 2).astype(np.uint8)
    _, features = truth(wide, image[None])
    model = inversion.build(wide)
    found = picture(model, features[0], SIZE, 200, 1)
    assert np.corrcoef(found.ravel(), image.ravel())[0, 1] > 0.9
    noise = stream(6, "features").normal(size=features[0].shape)
    assert abs(np.corrcoef(picture(model, noise, SIZE, 200, 1).ravel(), image.ravel())[0, 1]) < 0.3


def test_a_search_by_the_gradient_finds_the_image_of_a_wide_network_from_another_one(wide):
    images, labels = phantoms(4, SIZE, 1)[0][2:], np.ones(1, np.float32)
    change = sgd_step(wide, images[:1], labels)
    true, start = standardise(torch.from_numpy(images)).split(1)
    before, after = (
        np.corrcoef(searched(wide, change, labels, start, steps).ravel(), true.numpy().ravel())[0, 1]
        for steps in (0, 150)
    )
    assert before < 0.8
    assert after > 0.9


def test_the_compact_network_gives_no_more_than_its_channels_means():
    settings = attacked("compact", SIZE, 1, make_settings())
    images, labels = batch(1)
    model = build(settings)
    dense = first_dense(model)
    with torch.no_grad():
        means = features_of(model, dense, standardise(torch.from_numpy(images))).numpy()
    read = ratios(sgd_step(settings, images, labels), dense)
    assert read.shape == (1, 64)  # of 1,024 pixels
    assert np.abs(read - means).max() < 1e-3 * means.max()


def test_a_network_without_a_dense_layer_is_refused():
    with pytest.raises(ValueError, match="no dense layer"):
        first_dense(nn.Conv2d(1, 1, 1))
