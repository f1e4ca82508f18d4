"""The bare loop: what training costs with PyTorch alone, over tensors in memory, and federated with a pipe to a site.

It makes the same draws as fedxray.training.trainer (order, augmentation, learning rate). So it reaches the same model,
and both do the same work. Images are standardised once, before the clock of an epoch starts.

python -m benchmarks.alternatives.plain --sites DIR ... --shared DIR --settings JSON --rounds N --output FILE
"""

import argparse
import json
import math
import os
from multiprocessing import get_context
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from fedxray.core.parameters import save_model
from fedxray.core.seeds import seed_of
from fedxray.data.site import load_site
from fedxray.experiment.settings import Settings
from fedxray.training.metrics import auroc
from fedxray.training.models import build, get_parameters
from fedxray.training.trainer import augment, standardise

Tensors = tuple[Tensor, Tensor]  # images float32 (n, 1, size, size), standardised; labels float32 (n,)


def arguments(doc: str) -> argparse.ArgumentParser:
    """The command line that every alternative has."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sites", type=Path, nargs="+", required=True, help="the directory of each site")
    parser.add_argument("--shared", type=Path, required=True, help="the directory of the shared validation set")
    parser.add_argument("--settings", required=True, help="fields of fedxray.experiment.settings.Settings, as JSON")
    parser.add_argument("--rounds", type=int, required=True, help="each of one local epoch")
    parser.add_argument("--output", type=Path, required=True, help="the model, as safetensors")
    return parser


def read_settings(text: str) -> Settings:
    """The settings from the option `--settings`."""
    return Settings(**json.loads(text))


def tensors(part: tuple) -> Tensors:
    """The part of a site (fedxray.data.site) as tensors that a model takes."""
    images, labels = part
    return standardise(torch.from_numpy(images)), torch.from_numpy(labels)


def make_optimizer(model: nn.Module, settings: Settings) -> torch.optim.Optimizer:
    """The optimizer of the default configuration."""
    return torch.optim.AdamW(model.parameters(), settings.lr, weight_decay=settings.weight_decay)


def train_epoch(model: nn.Module, optimizer, train: Tensors, settings: Settings, epoch: int) -> float:
    """One pass over `train`, epoch `epoch` (from 0) of the run; returns the mean loss per image."""
    images, labels = train
    model.train()
    total = torch.zeros((), device=images.device)
    torch.manual_seed(seed_of(settings.seed, "epoch", epoch))
    batches = torch.randperm(len(labels)).split(settings.batch_size)
    for number, batch in enumerate(batches):
        done = (epoch + number / len(batches)) / settings.epochs
        optimizer.param_groups[0]["lr"] = settings.lr * 0.5 * (1 + math.cos(math.pi * done))
        torch.manual_seed(seed_of(settings.seed, "batch", epoch, number))
        rows = batch.to(images.device)
        x, y = augment(images[rows], settings), labels[rows]
        with torch.autocast(x.device.type, torch.bfloat16, enabled=settings.mixed_precision and x.is_cuda):
            logits = model(x)
        loss = functional.binary_cross_entropy_with_logits(logits.float(), y)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        total += loss.detach() * len(batch)
    return float(total) / len(labels)


@torch.inference_mode()
def evaluate(model: nn.Module, part: Tensors) -> dict[str, float]:
    """Loss, accuracy and AUROC of `model` on `part`."""
    images, labels = part
    model.eval()
    logits = torch.cat([model(images[i : i + 256]) for i in range(0, len(labels), 256)]).double()
    truth = labels.double()
    return {
        "loss": float(functional.binary_cross_entropy_with_logits(logits, truth)),
        "accuracy": float(((logits >= 0) == (truth > 0)).double().mean()),
        "auroc": float(auroc(truth.cpu().numpy(), logits.cpu().numpy())),
    }


def average(states: list[dict], images: list[int]) -> dict:
    """The image-weighted mean of state dicts."""
    total = sum(images)
    return {
        name: sum(state[name].double() * (count / total) for state, count in zip(states, images, strict=True)).float()
        for name in states[0]
    }


def _site(pipe, folder: Path, settings: Settings) -> None:
    """The life of a site's process: for each model that arrives, train one epoch, evaluate, and send it back."""
    torch.set_num_threads(settings.threads)
    data, model = load_site(folder), build(settings)
    train, validation = tensors(data.part("train")), tensors(data.part("validation"))
    while (task := pipe.recv()) is not None:
        epoch, state = task
        model.load_state_dict(state)
        train_epoch(model, make_optimizer(model, settings), train, settings, epoch)
        evaluate(model, validation)
        pipe.send((model.state_dict(), len(train[1])))


def main(options: argparse.Namespace) -> None:
    """Federated averaging with one forked process for each site, which shares the interpreter's memory."""
    settings, context = read_settings(options.settings), get_context("fork")
    pipes, processes = [], []
    for folder in options.sites:
        here, there = context.Pipe()
        processes.append(context.Process(target=_site, args=(there, folder, settings), daemon=True))
        processes[-1].start()
        pipes.append(here)
    torch.set_num_threads(settings.threads)
    model, validation = build(settings), tensors(load_site(options.shared).part("validation"))
    for epoch in range(options.rounds):
        for pipe in pipes:
            pipe.send((epoch, model.state_dict()))
        states, images = zip(*(pipe.recv() for pipe in pipes), strict=True)
        model.load_state_dict(average(states, images))
        print(f"round {epoch + 1}/{options.rounds}", evaluate(model, validation), flush=True)
    for pipe, process in zip(pipes, processes, strict=True):
        pipe.send(None)
        process.join()
    save_model(options.output, get_parameters(model))


if __name__ == "__main__":
    torch.multiprocessing.set_sharing_strategy("file_system")
    os.environ["OMP_NUM_THREADS"] = "1"
    main(arguments(__doc__).parse_args())
