import numpy as np
import pandas as pd
import torch
from torch import nn

from fedxray.analysis.explanations import confident_mistakes, grad_cam


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
