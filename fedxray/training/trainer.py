"""The trainer, which federated, central and alone training all use.

Every draw (order of images, augmentation, dropout) depends on the run's seed, the number of the epoch and that of the
batch, never on the site or the time, nor on where a round begins. So a federation of one site that has all images, and
whose optimizer goes on from round to round, repeats central training bit for bit.
"""

import math
import os
import shutil
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fedxray.core.errors import UserError
from fedxray.core.parameters import Parameters
from fedxray.core.seeds import seed_of
from fedxray.experiment.settings import Compute, Settings
from fedxray.training.metrics import accuracy, auroc, choose_threshold
from fedxray.training.models import head_of
from fedxray.training.rows import EpochRow, Segment, Validation

GREYS = 0.449, 0.226  # mean and deviation of ImageNet: the mean over the three colours of torchvision's
Part = tuple[np.ndarray, np.ndarray]  # images uint8 (n, size, size), labels float32 (n,)
Hook = Callable[[], None]
Correct = Callable[[nn.Module], Hook]
Report = Callable[[EpochRow], None]


class Fitted(NamedTuple):
    """What `Trainer.fit` returns."""

    rows: list[EpochRow]  # of each segment that was measured
    train_loss: float  # of the last segment; NaN without a step
    moments: Callable[[], Parameters]  # the optimizer's state, copied when it is asked for


def silent(row: EpochRow) -> None:
    """Report nothing."""


def pick_device(device: str) -> torch.device:
    """`auto` is the first CUDA device if there is one, else the CPU."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(device)


class Trainer:
    """Trains `model` in place on `train`, and measures it on `validation` after each epoch."""

    def __init__(self, settings: Settings, train: Part, validation: Part):
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # else CUDA's matrix products vary from run to run
        if settings.compile and not any(map(shutil.which, (os.environ.get("CC", "cc"), "gcc", "clang"))):
            raise UserError("training.compile: no C compiler on this machine; install gcc, or set it to false")
        torch.set_num_threads(settings.threads)
        torch.use_deterministic_algorithms(True, warn_only=True)
        # Filling new tensors takes time, and none is read before it is written. (PyTorch's types lack the attribute.)
        torch.utils.deterministic.fill_uninitialized_memory = False  # pyrefly: ignore[missing-attribute]
        if settings.norms == "batch" and len(train[1]) % settings.batch_size == 1:
            raise UserError(
                f"training.batch_size: {settings.batch_size} leaves one of {len(train[1])} images for the last batch, "
                "of which BatchNorm has no deviation; take another, or model.norms: group"
            )
        self.settings = settings
        self.device = pick_device(settings.device)
        self.images = _resident(train[0], self.device)
        self.labels = torch.from_numpy(train[1]).to(self.images.device)
        self.validation = _resident(validation[0], self.device), validation[1]
        positive = float(self.labels.sum())
        weight = (len(self.labels) - positive) / positive if settings.class_weights else 1.0
        self.positive_weight = torch.tensor(weight, device=self.device)

    @property
    def batches(self) -> int:
        """The steps of an epoch."""
        return -(-len(self.labels) // self.settings.batch_size)

    def fit(
        self,
        model: nn.Module,
        segments: Sequence[Segment],
        total: int,
        report: Report = silent,
        moments: Parameters | None = None,
        correct: Correct | None = None,
    ) -> Fitted:
        """Train the steps of `segments`, which follow one another, of a run of `total` steps.

        The optimizer is new, or goes on from `moments`. `correct(model)`, called once, returns what is called between
        the gradients of each step and the step. Each segment that ends an epoch is measured: its row goes to `report`.
        """
        _place(model, self.device)
        optimizer = _optimizer(model, self.device, self.settings)
        if moments:
            set_moments(model, optimizer, moments)
        network = cast(nn.Module, torch.compile(model, dynamic=False)) if self.settings.compile else model
        hook = correct(model) if correct else None
        rows, loss = [], math.nan
        for first, last, epoch in segments:
            start = time.perf_counter()
            loss = self._train(network, optimizer, first, last, total, hook)
            if epoch is not None:
                measured = validate(model, self.validation, self.settings.compute)
                seconds = round(time.perf_counter() - start, 3)
                row: EpochRow = {"epoch": epoch, "train_loss": loss, **measured, "seconds": seconds}
                rows.append(row)
                report(row)
        return Fitted(rows, loss, lambda: get_moments(model, optimizer))

    def _train(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, first: int, last: int, total: int, hook: Hook | None
    ) -> float:
        """The steps `first`..`last` (excluded); returns the mean training loss per image, NaN without a step."""
        model.train()
        sums, seen, order, seed = torch.zeros((), device=self.device), 0, None, self.settings.seed
        with torch.random.fork_rng():
            for step in range(first, last):
                epoch, number = divmod(step, self.batches)
                if order is None or number == 0:
                    order = self._order(epoch)
                batch = order[number]
                torch.manual_seed(seed_of(seed, "batch", epoch, number))
                for group in optimizer.param_groups:
                    group["lr"] = learning_rate(self.settings, step / total) * group["factor"]
                images = augment(self._standardised(batch), self.settings)
                labels = self.labels[batch].to(self.device)
                with _autocast(self.device, self.settings.compute):
                    logits = model(images)
                loss = functional.binary_cross_entropy_with_logits(
                    logits.float(), labels, pos_weight=self.positive_weight
                )
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                if hook:
                    hook()
                optimizer.step()
                sums += loss.detach() * len(batch)
                seen += len(batch)
        return float(sums) / seen if seen else math.nan

    def first_batch(self) -> Tensor:
        """What the network sees in the first step: float32 (batch, 1, size, size), of mean 0 and deviation 1 each."""
        with torch.random.fork_rng():
            (batch, *_) = self._order(0)
            torch.manual_seed(seed_of(self.settings.seed, "batch", 0, 0))
            return augment(self._standardised(batch), self.settings)

    def _standardised(self, batch: Tensor) -> Tensor:
        """These images as the network takes them."""
        return standardise(self.images[batch].to(self.device), self.settings.standardise)

    def _order(self, epoch: int) -> tuple[Tensor, ...]:
        """The batches of an epoch, each as the numbers of its images, int64 (batch,). It sets PyTorch's seed."""
        torch.manual_seed(seed_of(self.settings.seed, "epoch", epoch))
        return torch.randperm(len(self.labels)).to(self.images.device).split(self.settings.batch_size)


def _resident(images: np.ndarray, device: torch.device) -> Tensor:
    """The images as a tensor: in the device's memory, unless they would take more than a quarter of its free part."""
    tensor = torch.from_numpy(np.ascontiguousarray(images))
    if device.type == "cuda" and tensor.nbytes > torch.cuda.mem_get_info(device)[0] / 4:
        return tensor
    return tensor.to(device)


def _sent(images: Tensor, device: torch.device) -> Tensor:
    """The images on `device`; a GPU computes on while the next ones are on their way."""
    if device.type == "cuda" and images.device.type == "cpu":
        images = images.pin_memory()
    return images.to(device, non_blocking=True)


def _place(model: nn.Module, device: torch.device) -> None:
    """Move `model` to `device`, on a GPU in the layout in which its convolutions of bfloat16 are fastest.

    CUDA's GroupNorm copies its input to the plain layout, so that a model that has some stays in it.
    """
    model.to(device)
    if device.type == "cuda" and not any(isinstance(layer, nn.GroupNorm) for layer in model.modules()):
        model.to(memory_format=torch.channels_last)


def validate(model: nn.Module, part: tuple[np.ndarray | Tensor, np.ndarray], compute: Compute) -> Validation:
    """validation_loss (mean cross-entropy), validation_accuracy (at 0.5) and validation_auroc of `model` on `part`."""
    labels = part[1].astype(np.float64)
    probabilities = np.clip(predict(model, part[0], compute), 1e-7, 1 - 1e-7)
    loss = -np.mean(labels * np.log(probabilities) + (1 - labels) * np.log1p(-probabilities))
    return {
        "validation_loss": float(loss),
        "validation_accuracy": float(accuracy(labels, probabilities, 0.5)),
        "validation_auroc": float(auroc(labels, probabilities)),
    }


def predict(model: nn.Module, images: np.ndarray | Tensor, compute: Compute) -> np.ndarray:
    """The probability of pneumonia of each image, float64 (n,), from uint8 images (n, size, size).

    Raises UserError if the network's answers are no numbers, as after a training that has diverged.
    """
    torch.set_num_threads(compute.threads)
    device = pick_device(compute.device)
    _place(model, device)
    model.eval()
    with torch.inference_mode(), _autocast(device, compute):
        logits = [
            model(standardise(_sent(torch.as_tensor(images[i : i + 256]), device), standard_of(model))).double()
            for i in range(0, len(images), 256)
        ]
    probabilities = torch.sigmoid(torch.cat(logits).cpu()).numpy()
    if unknown := np.isnan(probabilities).sum():
        raise UserError(
            f"{unknown} of {len(images)} images have no number as the network's answer: training has diverged; take a "
            "smaller training.lr"
        )
    return probabilities


def threshold_of(model: nn.Module, validation: Part, compute: Compute) -> float:
    """The probability from which `model` calls an image pneumonia, chosen on `validation` (`choose_threshold`)."""
    images, labels = validation
    return choose_threshold(labels.astype(float), predict(model, images, compute))


def augment(images: Tensor, settings: Settings) -> Tensor:
    """Shift, rotate, scale, flip and change the contrast of each image by its own draw; float32 (n, 1, size, size).

    It computes on the device that has the images, and draws from PyTorch's current generator.
    """
    n = len(images)
    draw = (torch.rand(n, 5) * 2 - 1).to(images.device)  # drawn on the CPU, so that every device gets the same
    mirror = torch.where(draw[:, 4] < 0, -1.0, 1.0) if settings.flip else torch.ones_like(draw[:, 4])
    if settings.shift or settings.rotate or settings.scale or settings.flip:
        angle, size = draw[:, 0] * math.radians(settings.rotate), 1 + draw[:, 1] * settings.scale
        cos, sin = torch.cos(angle) / size, torch.sin(angle) / size
        shift_x, shift_y = draw[:, 2] * 2 * settings.shift, draw[:, 3] * 2 * settings.shift
        matrix = torch.stack([cos * mirror, -sin, shift_x, sin * mirror, cos, shift_y], dim=1).view(n, 2, 3)
        grid = functional.affine_grid(matrix, list(images.shape), align_corners=False)
        images = functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
    if settings.contrast:
        gain = 1 + settings.contrast * (torch.rand(n, 1, 1, 1) * 2 - 1).to(images.device)
        images = images * gain
    return images


def standard_of(model: nn.Module) -> str:
    """How the greys that a model takes are standardised."""
    return getattr(model, "standardise", "image")


def standardise(images: Tensor, kind: str = "image") -> Tensor:
    """uint8 (n, size, size) to float32 (n, 1, size, size).

    `image`: of mean 0 and deviation 1 each, whatever the exposure. `imagenet`: from 0 to 1, less ImageNet's mean, over
    its deviation (`GREYS`), as pretrained weights expect.
    """
    images = images.float().unsqueeze(1)
    if kind == "imagenet":
        mean, deviation = GREYS
        return (images / 255 - mean) / deviation
    deviation, mean = torch.std_mean(images, dim=(1, 2, 3), keepdim=True)
    return (images - mean) / (deviation + 1.0)


def _optimizer(model: nn.Module, device: torch.device, settings: Settings) -> torch.optim.Optimizer:
    # `foreach` gives the same bits as the CPU's default, a loop over parameters, in two thirds of its time.
    kind = {"fused": True} if device.type == "cuda" else {"foreach": True}
    common: dict[str, Any] = {"lr": settings.lr, "weight_decay": settings.weight_decay, **kind}
    head = head_of(model) if settings.body_lr != 1 else frozenset()
    groups: dict[float, list[nn.Parameter]] = {}  # parameters that need no gradient get no step
    for name, parameter in model.named_parameters():
        groups.setdefault(1.0 if name in head else settings.body_lr, []).append(parameter)
    parts = [{"params": parameters, "factor": factor} for factor, parameters in groups.items()]
    if settings.optimizer == "sgd":
        return torch.optim.SGD(parts, momentum=settings.momentum, **common)
    return torch.optim.AdamW(parts, **common)


def get_moments(model: nn.Module, optimizer: torch.optim.Optimizer) -> Parameters:
    """A copy of an optimizer's state: what it keeps of each parameter, and the number of steps, by `<what>/<name>`."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        f"{what}/{names[id(parameter)]}": np.atleast_1d(tensor.detach().cpu().numpy()).copy()
        for parameter, state in optimizer.state.items()
        for what, tensor in state.items()
        if tensor is not None
    }


def set_moments(model: nn.Module, optimizer: torch.optim.Optimizer, moments: Parameters) -> None:
    """Let an optimizer that has made no step go on from `moments`."""
    parameters, fused = dict(model.named_parameters()), optimizer.defaults.get("fused")
    for key, value in moments.items():
        what, _, name = key.partition("/")
        parameter, tensor = parameters[name], torch.from_numpy(value.copy())
        if what == "step":  # a fused optimizer counts on the device
            state = tensor.reshape(()).to(parameter.device if fused else "cpu")
        else:
            state = torch.empty_like(parameter, requires_grad=False).copy_(tensor)
        optimizer.state[parameter][what] = state


def learning_rate(settings: Settings, done: float) -> float:
    """The learning rate after the share `done` of a run: constant, or half a cosine to 0 (Loshchilov & Hutter 2017)."""
    if settings.schedule == "constant":
        return settings.lr
    return settings.lr * 0.5 * (1 + math.cos(math.pi * done))


def _autocast(device: torch.device, compute: Compute) -> torch.autocast:
    """A context that computes in bfloat16 on CUDA cards that can, if `compute` allows it; the CPU takes float32."""
    enabled = compute.mixed_precision and device.type == "cuda" and torch.cuda.is_bf16_supported()
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled)
