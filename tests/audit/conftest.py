"""A network as the demo's, in small: its images can be read off its update, as off the demo's."""

import pytest
import torch
from helpers.data import make_settings
from torch import nn

from fedxray.audit import findings, inversion


class Wide(nn.Module):
    """Features, and a wide dense layer on them."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
        self.classifier = nn.Sequential(nn.Linear(8 * 16 * 16, 64), nn.ReLU(), nn.Linear(64, 1))

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))[:, 0]


@pytest.fixture
def wide(monkeypatch):
    """The settings of the small network, whose initial model is the same each time."""

    def build_wide(settings):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            return Wide()

    for module in (findings, inversion):
        monkeypatch.setattr(module, "build", build_wide)
    return inversion.attacked("wide", 32, 1, make_settings())
