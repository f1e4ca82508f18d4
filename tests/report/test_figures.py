import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from fedxray.report.figures import save
from fedxray.report.figures.mistakes import confident_mistakes, grad_cam
from fedxray.report.figures.sweep import communication, swept_axes


class Corner(nn.Module):
    """Says pneumonia for what is bright: its one convolution passes the image on."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 1, bias=False)
        nn.init.ones_(self.conv.weight)

    def forward(self, x):
        return torch.relu(self.conv(x)).mean(dim=(2, 3))[:, 0]


def test_grad_cam_shows_what_speaks_for_pneumonia():
    image = np.zeros((16, 16), np.uint8)
    image[2:6, 9:13] = 200
    found = grad_cam(Corner(), image)
    assert found.shape == image.shape
    assert found.max() == 1
    assert found[3:5, 10:12].min() > 0.9
    assert found[8:, :6].max() < 0.1


def test_the_most_confident_mistakes_come_first_and_none_is_of_validation():
    rows = [
        ("validation", 1, 0.01),
        ("us", 1, 0.4),
        ("us", 1, 0.1),
        ("asia", 0, 0.97),
        ("asia", 0, 0.2),
        ("us", 1, 0.9),
    ]
    table = pd.DataFrame(rows, columns=["set", "label", "probability"])
    assert list(confident_mistakes(table, 0.5).index) == [3, 2, 1]
    assert list(confident_mistakes(table, 0.5, count=1).index) == [3]


def points(**columns):
    base = {"cohort": "", "mode": "federated", "site": "pooled", "lr": 0.1, "epochs": 4, "rounds": 4, "local_epochs": 1}
    return pd.DataFrame(base | columns)


@pytest.mark.parametrize(
    ("columns", "axes"),
    [
        ({"lr": [0.1, 0.2, 0.1, 0.2], "epochs": [4, 4, 8, 8], "rounds": [4, 4, 8, 8]}, ("lr", "epochs")),
        ({"epochs": 20, "rounds": [1, 2, 20], "local_epochs": [20, 10, 1]}, ("rounds", "local_epochs")),
        ({"lr": [0.1, 0.2], "batch_size": [8, 16]}, ("lr", "batch_size")),
    ],
)
def test_the_map_is_over_what_is_swept(columns, axes):
    assert swept_axes(points(**columns)) == axes


def test_a_figure_is_the_same_bytes_each_time_and_carries_its_note(tmp_path):
    curves = pd.DataFrame({"cohort": "", "name": "a", "chosen": True, "round": [1, 2], "bytes": [1e6, 2e6]})
    curves["validation_auroc"] = [0.5, 0.6]
    for folder in ("one", "two"):
        save(communication(curves), tmp_path / folder, "x", "Synthetic phantom data")
    for kind in ("svg", "png"):
        assert (tmp_path / "one" / f"x.{kind}").read_bytes() == (tmp_path / "two" / f"x.{kind}").read_bytes()
