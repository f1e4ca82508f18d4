"""Differentially private training of patients: DP-SGD (Abadi et al. 2016, arXiv:1607.00133), with patients as the unit.

In each step every patient is drawn with the probability `rate` (Poisson sampling), and gives one image at random; the
gradient of each is clipped to the norm `clip`, and their sum gets Gaussian noise. So a patient of thirty images weighs
no more than one of a single image. What training leaves behind is the model alone: no loss of a training image is kept.
The noise is of float64 numbers: attacks on their rounding (Mironov 2012) are not covered.
"""

import hashlib
import math
import secrets

import numpy as np
import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from torch import Tensor, nn
from torch.nn import functional
from torchvision.ops import StochasticDepth

from fedxray.core.errors import UserError
from fedxray.experiment.settings import Settings
from fedxray.training.mechanism import Mechanism
from fedxray.training.trainer import Hook, Part, Trainer, learning_rate, standard_of, standardise

CHUNK = 64  # images whose gradients are held at once


class Draws:
    """Uniform and normal numbers from a key of 32 bytes, by AES-256 in counter mode."""

    def __init__(self, key: bytes):
        self._stream = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()

    @classmethod
    def of(cls, seed: int, *names: str | int) -> "Draws":
        """The stream `names` under a seed, whose draws who knows the seed knows."""
        return cls(hashlib.sha256("/".join(map(str, (seed, *names))).encode()).digest())

    @classmethod
    def secret(cls) -> "Draws":
        """Draws of a key that nobody knows and nobody keeps."""
        return cls(secrets.token_bytes(32))

    def uniform(self, n: int) -> np.ndarray:
        """float64 (n,) in (0, 1), of 53 bits."""
        words = np.frombuffer(self._stream.update(bytes(8 * n)), np.uint64)
        return ((words >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53

    def normal(self, n: int) -> np.ndarray:
        """float64 (n,), standard normal (Box & Muller 1958)."""
        half = -(-n // 2)
        radius, angle = np.sqrt(-2 * np.log(self.uniform(half))), 2 * np.pi * self.uniform(half)
        return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:n]


class PrivateTrainer(Trainer):
    """A trainer whose steps are private; `patients` (n,) says whose each training image is."""

    def __init__(
        self, settings: Settings, train: Part, validation: Part, patients: np.ndarray, mechanism: Mechanism, site: str
    ):
        super().__init__(settings, train, validation)
        self.mechanism, self.site = mechanism, site
        _, codes = np.unique(patients, return_inverse=True)
        self.by_patient = np.argsort(codes, kind="stable")  # images, those of a patient together
        self.counts = np.bincount(codes)
        self.starts = np.cumsum(self.counts) - self.counts

    def noisy_sum(self, model: nn.Module, step: int) -> dict[str, Tensor]:
        """The sum of the clipped gradients of the patients of a step, with this site's noise, by parameter."""
        check_private(model)
        separate(model)
        draws = Draws.secret() if self.mechanism.secret else Draws.of(self.settings.seed, "private", self.site, step)
        with torch.random.fork_rng():  # dropout draws from it
            torch.manual_seed(int(draws.uniform(1)[0] * 2**53))
            model.train()
            images = torch.from_numpy(self.sample(draws)).to(self.images.device)
            part = self.images[images].to(self.device), self.labels[images].to(self.device)
            sums = clipped_sum(model, *part, self.mechanism.clip)
        for tensor in sums.values():
            noise = torch.from_numpy(draws.normal(tensor.numel()) * self.mechanism.deviation)
            tensor += noise.reshape(tensor.shape).to(tensor)
        return sums

    def sample(self, draws: Draws) -> np.ndarray:
        """The images of one step: of each patient that is drawn one, int64 (drawn,)."""
        drawn = np.flatnonzero(draws.uniform(len(self.counts)) < self.mechanism.rate)
        which = (draws.uniform(len(drawn)) * self.counts[drawn]).astype(np.int64)
        return self.by_patient[self.starts[drawn] + which]

    def _train(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, first: int, last: int, total: int, hook: Hook | None
    ) -> float:
        """The steps `first`..`last` (excluded). The loss is NaN: that of the training images would not be private."""
        expected = self.mechanism.rate * len(self.counts)
        for step in range(first, last):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(self.settings, step / total) * group["factor"]
            sums, parameters = self.noisy_sum(model, step), dict(model.named_parameters())
            for name, total_of in sums.items():
                parameters[name].grad = total_of / expected
            optimizer.step()
        return math.nan


def trainer_of(
    settings: Settings, train: Part, validation: Part, patients: np.ndarray, noise: Mechanism | None, site: str
) -> Trainer:
    """A site's trainer: a private one if there is a mechanism."""
    if noise:
        return PrivateTrainer(settings, train, validation, patients, noise, site)
    return Trainer(settings, train, validation)


def check_private(model: nn.Module) -> None:
    """Raise UserError if the model normalises by its batch: then one patient changes the gradients of others."""
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            raise UserError(
                f"privacy.dp: the model's layer {name} is a BatchNorm, which mixes patients; take a model without one, "
                "such as compact"
            )


class Depth(nn.Module):
    """Stochastic depth (Huang et al. 2016, arXiv:1603.09382) of which each image has a draw of its own under vmap."""

    def __init__(self, drop: float):
        super().__init__()
        self.drop = drop

    def forward(self, x: Tensor) -> Tensor:
        """The images (n, ...), each dropped as a whole with the probability `drop`, else scaled up for that."""
        if not self.training or not self.drop:
            return x
        keep = torch.bernoulli(torch.full([len(x)] + [1] * (x.ndim - 1), 1 - self.drop, device=x.device))
        return x * (keep / (1 - self.drop)).to(x.dtype)


def separate(model: nn.Module) -> None:
    """Put `Depth` in the place of torchvision's stochastic depth, which cannot draw for single images, in place."""
    for name, module in list(model.named_children()):
        if isinstance(module, StochasticDepth):
            setattr(model, name, Depth(module.p))
        else:
            separate(module)


def clipped_sum(model: nn.Module, images: Tensor, labels: Tensor, clip: float) -> dict[str, Tensor]:
    """The sum of the gradients of single images, each clipped to the norm `clip`, by parameter that is trained.

    `images` are uint8 (n, size, size), `labels` float32 (n,); n may be 0. A gradient whose norm is not finite counts as
    0: no noise would hide it, and a model can be made that has such a one for a single patient alone.
    """
    named = dict(model.named_parameters())
    parameters = {name: parameter.detach() for name, parameter in named.items() if parameter.requires_grad}
    fixed = {name: parameter for name, parameter in named.items() if name not in parameters}
    buffers = fixed | dict(model.named_buffers())

    def loss(weights: dict[str, Tensor], image: Tensor, label: Tensor) -> Tensor:
        logit = torch.func.functional_call(model, (weights, buffers), (image[None],))
        return functional.binary_cross_entropy_with_logits(logit.float(), label[None])

    gradients = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0), randomness="different")
    sums = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
    for start in range(0, len(images), CHUNK):
        chunk = standardise(images[start : start + CHUNK], standard_of(model))
        found = gradients(parameters, chunk, labels[start : start + CHUNK])
        norms = torch.stack([gradient.flatten(1).square().sum(1) for gradient in found.values()]).sum(0).sqrt()
        wild = ~torch.isfinite(norms)
        scale = (clip / norms.clamp(min=clip)).masked_fill(wild, 0)
        for name, gradient in found.items():
            gradient[wild] = 0
            sums[name] += torch.tensordot(scale, gradient, dims=1)
    return sums
