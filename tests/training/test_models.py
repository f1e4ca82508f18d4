"""Layers of the models."""

import torch
from torch import nn

from fedxray.training.models import GroupNorm


def test_a_norm_gives_the_dtype_that_it_takes_under_autocast_and_else_the_bits_of_pytorchs():
    ours, theirs = GroupNorm(8, 16), nn.GroupNorm(8, 16)
    with torch.no_grad():
        ours.weight.normal_(1, 0.3), ours.bias.normal_(0, 0.3)
        theirs.load_state_dict(ours.state_dict())
        images = torch.randn(4, 16, 9, 9)
        assert torch.equal(ours(images), theirs(images))
        with torch.autocast("cpu", torch.bfloat16):
            half = ours(images.bfloat16())
        assert half.dtype == torch.bfloat16
        assert torch.allclose(half.float(), theirs(images.bfloat16().float()), atol=0.03)


def test_gradients_of_a_norm_under_autocast_are_in_float32():
    layer = GroupNorm(2, 4)
    with torch.autocast("cpu", torch.bfloat16):
        layer(torch.randn(3, 4, 5, 5, dtype=torch.bfloat16)).float().square().sum().backward()
    assert layer.weight.grad.dtype == layer.bias.grad.dtype == torch.float32
    assert layer.weight.grad.abs().max() > 0
