"""The processor and GPUs of this machine, and the energy that a run takes where its counters can be read."""

import os
import platform
import threading
from pathlib import Path

import pynvml

RAPL = Path("/sys/class/powercap")  # Linux's counters of processor packages; often readable by root alone
SAMPLE_S = 30.0  # a package's counter runs over after some minutes, so it is read often


class EnergyMeter:
    """Joules that processor packages and GPUs of this machine used since it was made, all processes together."""

    def __init__(self):
        self.counters = [*_packages(), *_gpus()]
        self.last = [read() for read, _ in self.counters]
        self.used, self.lock, self.ended = 0.0, threading.Lock(), threading.Event()
        if self.counters:
            threading.Thread(target=self._sample, daemon=True).start()

    def joules(self) -> float | None:
        """End the measurement, and return its joules; None if this machine has no counter that can be read."""
        self.ended.set()
        self._add()
        return round(self.used, 1) if self.counters else None

    def _sample(self) -> None:
        while not self.ended.wait(SAMPLE_S):
            self._add()

    def _add(self) -> None:
        with self.lock:
            for number, (read, full) in enumerate(self.counters):
                now = read()
                self.used += (now - self.last[number]) % full
                self.last[number] = now


def _packages() -> list:
    """(function that reads joules, joules at which it starts again from 0) of each processor package."""
    counters = []
    for folder in sorted(RAPL.glob("intel-rapl:?")):  # AMD's too have this name
        counter = folder / "energy_uj"
        if os.access(counter, os.R_OK):
            full = int((folder / "max_energy_range_uj").read_text()) / 1e6
            counters.append((lambda counter=counter: int(counter.read_text()) / 1e6, full))
    return counters


def _gpus() -> list:
    """The same pairs for each GPU, from NVIDIA's management library, which comes with the driver."""
    try:
        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(number) for number in range(pynvml.nvmlDeviceGetCount())]
        readers = [lambda handle=handle: pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3 for handle in handles]
        return [(read, float("inf")) for read in readers if read() >= 0]
    except pynvml.NVMLError:  # without a driver or such a counter the energy is unknown, and the run goes on
        return []


def gpu_count() -> int:
    """The GPUs that a program sees here: those that CUDA_VISIBLE_DEVICES names, else all that NVIDIA's driver has."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return sum(bool(gpu.strip()) for gpu in visible.split(","))
    try:
        pynvml.nvmlInit()
        return pynvml.nvmlDeviceGetCount()
    except pynvml.NVMLError:  # there is no driver
        return 0


def processor() -> str:
    """The model name of this machine's processor."""
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
