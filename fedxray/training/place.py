"""Where a run is trained: the device, and the facts about the machine that decide a result's last bits."""

import os
import platform

import torch

from fedxray.core.machine import processor
from fedxray.experiment.settings import Settings
from fedxray.training.trainer import pick_device


def place_of(settings: Settings) -> tuple[str, dict[str, str]]:
    """(device, `machine`) of a run that this process trains."""
    return str(pick_device(settings.device)), machine()


def machine() -> dict[str, str]:
    """This machine: system, processor, cores, GPU, Python, PyTorch."""
    return {
        "system": platform.platform(),
        "processor": processor(),
        "cores": str(os.cpu_count()),
        "GPU": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "Python": platform.python_version(),
        "PyTorch": torch.__version__,
    }
