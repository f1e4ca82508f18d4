"""The models: each maps grey images, float32 (n, 1, size, size), to one logit of pneumonia each, float32 (n,)."""

import math
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fedxray.core.errors import UserError
from fedxray.core.files import sha256
from fedxray.core.parameters import Parameters, load_model
from fedxray.core.seeds import seed_of
from fedxray.experiment.settings import Settings

COUNTED = ".num_batches_tracked"  # of BatchNorm; `load_state_dict` does without


class GroupNorm(nn.GroupNorm):
    """PyTorch's, which under autocast gives the dtype that it takes, in place of float32 (its sums stay float32).

    So a GPU moves half of the bytes here and in all that follows up to the next convolution.
    """

    def forward(self, input: Tensor) -> Tensor:
        device = input.device.type
        if not torch.is_autocast_enabled(device):
            return super().forward(input)
        with torch.autocast(device, enabled=False):
            weight, bias = self.weight.to(input.dtype), self.bias.to(input.dtype)
            return functional.group_norm(input, self.num_groups, weight, bias, self.eps)


class Block(nn.Module):
    """A basic residual block (He et al. 2016) with GroupNorm (Wu & He 2018): no running statistics to average."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = GroupNorm(8, outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = GroupNorm(8, outputs)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.norm1(self.conv1(x)))
        return functional.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class CompactResNet(nn.Module):
    """The default: three residual blocks, 76,977 parameters at 64 pixels, small enough for two cores.

    Its stem halves the image once, and once more for each doubling of 64 pixels, so that the blocks see 32 to 63
    pixels of a side: at 128 it has 79,313 parameters, and a step takes about twice as long.
    """

    def __init__(self, image_size: int = 64):
        super().__init__()
        channels = [1] + [16] * max(1, int(math.log2(image_size / 32)))
        halvings = [[nn.Conv2d(n, 16, 3, 2, 1, bias=False), GroupNorm(8, 16), nn.ReLU()] for n in channels[:-1]]
        self.stem = nn.Sequential(*(layer for halving in halvings for layer in halving))
        self.blocks = nn.Sequential(Block(16, 16, 1), Block(16, 32, 2), Block(32, 64, 2))
        self.head = nn.Linear(64, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)).mean(dim=(2, 3)))[:, 0]


class DemoCNN(nn.Module):
    """The three-convolution network of Microsoft's demo (Azure/medical-imaging) at 224 pixels, 25,783,554 parameters.

    Its two logits become one, their difference: the sigmoid of that is the softmax probability of pneumonia.
    """

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            *(nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(64, 128, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        )
        self.classifier = nn.Sequential(nn.Linear(128 * 28 * 28, 256), nn.ReLU(), nn.Linear(256, 2))

    def forward(self, x: Tensor) -> Tensor:
        logits = self.classifier(self.features(x).flatten(1))
        return logits[:, 1] - logits[:, 0]


class OneLogit(nn.Module):
    """A torchvision classifier with one output as a model of one logit per image.

    With `standardise: imagenet` a plane of ones is beside the greys: its weights hold what the means of the three
    colours add to the first layer, also where that layer pads with zeros.
    """

    def __init__(self, network: nn.Module, standardise: str):
        super().__init__()
        self.network, self.standardise = network, standardise

    def forward(self, x: Tensor) -> Tensor:
        return self.network(torch.cat([x, torch.ones_like(x)], dim=1) if self.standardise == "imagenet" else x)[:, 0]


def build_model(name: str, image_size: int, seed: int, norms: str = "group", standardise: str = "image") -> nn.Module:
    """Build `compact`, `demo` or any torchvision classifier by name, initialised from the stream `model` of `seed`.

    A torchvision model gets one input channel (with `standardise: imagenet` and a plane of ones), and for every
    BatchNorm what `norms` says: `group` a GroupNorm, because running statistics average badly; `batch` stays; `frozen`
    never changes. Raises UserError for an unknown name or an image size that the model cannot take.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(seed, "model"))
        if name == "compact":
            return CompactResNet(image_size)
        if name == "demo":
            if image_size != 224:
                raise UserError(f"image_size: the demo's network takes 224 pixels, not {image_size}")
            return DemoCNN()
        return _torchvision_model(name, image_size, norms, standardise)


def _torchvision_model(name: str, image_size: int, norms: str, standardise: str) -> nn.Module:
    import torchvision  # imported here: it takes half a second, and the other models do not need it

    if name not in torchvision.models.list_models(module=torchvision.models):
        raise UserError(f"model.name: no model {name!r}; use compact, demo or one of torchvision's, such as resnet18")
    extra = {"image_size": image_size} if name.startswith("vit_") else {}
    if name in ("googlenet", "inception_v3"):
        extra = {"aux_logits": False, "init_weights": True}
    network = torchvision.models.get_model(name, weights=None, num_classes=1, **extra)
    _adapt(network, norms, 2 if standardise == "imagenet" else 1)
    model = OneLogit(network, standardise)
    try:
        with torch.no_grad():
            model.eval()(torch.zeros(1, 1, image_size, image_size))
    except (RuntimeError, ValueError, AssertionError) as error:
        raise UserError(f"image_size: {name} cannot take {image_size} pixels ({error}); try 224") from error
    return model


def first_layer(network: nn.Module) -> tuple[str, nn.Conv2d]:
    """The first convolution of a network, and its name."""
    return next((name, module) for name, module in network.named_modules() if isinstance(module, nn.Conv2d))


def _adapt(network: nn.Module, norms: str, channels: int) -> None:
    """So many input channels, and what `norms` says for every BatchNorm, in place."""
    from torchvision.ops import FrozenBatchNorm2d

    _, first = first_layer(network)
    for parent in network.modules():
        for name, child in parent.named_children():
            if child is first:
                sizes = child.kernel_size, child.stride, child.padding
                # pyrefly: ignore[bad-argument-type]  # PyTorch's types give a layer's sizes as tuples of any length
                setattr(parent, name, nn.Conv2d(channels, child.out_channels, *sizes, bias=child.bias is not None))
            elif isinstance(child, nn.BatchNorm2d) and norms == "group":
                setattr(parent, name, GroupNorm(math.gcd(32, child.num_features), child.num_features))
            elif isinstance(child, nn.BatchNorm2d) and norms == "frozen":
                setattr(parent, name, FrozenBatchNorm2d(child.num_features, eps=child.eps))
    if hasattr(network, "transform_input"):
        # If it were true, the network would index three colour channels. (PyTorch's types say Tensor | Module.)
        network.transform_input = False  # pyrefly: ignore[bad-argument-type]


def build(settings: Settings) -> nn.Module:
    """The model of a run with random weights, the same for every mode and site of one seed.

    Parameters that stay as they are need no gradient. Raises UserError, as `build_model` and for `training.freeze`.
    """
    model = build_model(settings.model, settings.image_size, settings.seed, settings.norms, settings.standardise)
    _freeze(model, settings)
    return model


def begin(settings: Settings, initial: Path | None) -> nn.Module:
    """The model that a run begins with: of the file `initial` if one is given, else of random weights.

    Raises UserError if the file is not the one that the settings know, and as `build`.
    """
    model = build(settings)
    if settings.initial != (sha256(initial) if initial else ""):
        raise UserError(
            f"model.initial: {initial or 'no model'} is not the file that the run began with (SHA-256); train it anew"
        )
    if initial:
        set_parameters(model, load_model(initial))
    return model


def _freeze(model: nn.Module, settings: Settings) -> None:
    """Let the parameters whose names fit `training.freeze` need no gradient."""
    parameters = dict(model.named_parameters())
    for pattern in settings.freeze.split("+") if settings.freeze != "none" else ():
        found = [name for name in parameters if fnmatchcase(name, pattern)]
        if not found:
            first, *_, last = parameters
            raise UserError(
                f"training.freeze: {settings.model} has no parameter {pattern}; its names go from {first} to {last}"
            )
        for name in found:
            parameters[name].requires_grad_(False)
    if not any(parameter.requires_grad for parameter in parameters.values()):
        raise UserError(f"training.freeze: {settings.freeze} leaves nothing to train; freeze fewer")


def frozen_of(model: nn.Module) -> frozenset[str]:
    """The names of all that stays as it is: frozen parameters, and the whole of frozen norms."""
    still = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    if not isinstance(model, OneLogit):
        return frozenset(still)
    from torchvision.ops import FrozenBatchNorm2d

    norms = [(name, module) for name, module in model.named_modules() if isinstance(module, FrozenBatchNorm2d)]
    return frozenset(still | {f"{name}.{part}" for name, norm in norms for part, _ in norm.named_buffers()})


def head_of(model: nn.Module) -> frozenset[str]:
    """The names of the parameters of the head: the last layer, which gives the logits."""
    layers = [(name, list(layer.named_parameters(recurse=False))) for name, layer in model.named_modules()]
    name, parameters = [layer for layer in layers if layer[1]][-1]
    return frozenset(f"{name}.{part}" for part, _ in parameters)


def restore(settings: Settings, parameters: Parameters) -> nn.Module:
    """The model of a run with these parameters."""
    model = build(settings)
    set_parameters(model, parameters)
    return model


def norms_of(model: nn.Module) -> frozenset[str]:
    """The names of the parameters and running statistics of the model's normalisation layers."""
    kinds = (nn.GroupNorm, nn.LayerNorm, nn.BatchNorm2d)
    layers = tuple(f"{name}." for name, module in model.named_modules() if isinstance(module, kinds))
    return frozenset(name for name in get_parameters(model) if name.startswith(layers))


def get_parameters(model: nn.Module) -> Parameters:
    """A copy of every parameter and buffer by name, in the model's order; no counts of batches, which nothing uses."""
    state = model.state_dict()
    return {name: state[name].detach().cpu().numpy().copy() for name in state if not name.endswith(COUNTED)}


def set_parameters(model: nn.Module, parameters: Parameters) -> None:
    """Load `parameters` into `model`; every name and shape must match."""
    # PyTorch wants arrays that are contiguous and writable.
    arrays = {name: np.require(value, requirements=["C", "W"]) for name, value in parameters.items()}
    model.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
