import pytest

from fedxray.core import machine


@pytest.fixture
def counter(tmp_path, monkeypatch):
    """A processor package whose counter starts again at 100 J, as the kernel shows it."""
    folder = tmp_path / "intel-rapl:0"
    folder.mkdir()
    (folder / "max_energy_range_uj").write_text("100000000\n")
    (folder / "energy_uj").write_text("90000000\n")
    monkeypatch.setattr(machine, "RAPL", tmp_path)
    monkeypatch.setattr(machine, "_gpus", list)
    return folder / "energy_uj"


def test_joules_are_counted_also_when_the_counter_starts_again(counter):
    meter = machine.EnergyMeter()
    counter.write_text("95000000\n")
    meter._add()
    counter.write_text("15000000\n")
    assert meter.joules() == 25.0


def test_energy_is_unknown_where_it_cannot_be_read(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "RAPL", tmp_path)
    monkeypatch.setattr(machine, "_gpus", list)
    assert machine.EnergyMeter().joules() is None


def test_joules_of_gpus_that_count_them_are_added(tmp_path, monkeypatch):
    millijoules = {0: [5000, 5000, 7500], 1: [100, 100, 1100]}
    monkeypatch.setattr(machine, "RAPL", tmp_path)
    monkeypatch.setattr(machine.pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(machine.pynvml, "nvmlDeviceGetCount", lambda: 2)
    monkeypatch.setattr(machine.pynvml, "nvmlDeviceGetHandleByIndex", int)
    monkeypatch.setattr(machine.pynvml, "nvmlDeviceGetTotalEnergyConsumption", lambda gpu: millijoules[gpu].pop(0))
    assert machine.EnergyMeter().joules() == 3.5

    def unsupported(gpu):
        raise machine.pynvml.NVMLError(machine.pynvml.NVML_ERROR_NOT_SUPPORTED)

    monkeypatch.setattr(machine.pynvml, "nvmlDeviceGetTotalEnergyConsumption", unsupported)
    assert machine.EnergyMeter().joules() is None


def test_gpus_are_those_that_the_environment_names_or_the_drivers(monkeypatch):
    monkeypatch.setattr(machine.pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(machine.pynvml, "nvmlDeviceGetCount", lambda: 3)
    for visible, count in (("0,2", 2), ("", 0), ("GPU-8f6d", 1)):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        assert machine.gpu_count() == count
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert machine.gpu_count() == 3

    def no_driver():
        raise machine.pynvml.NVMLError(machine.pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(machine.pynvml, "nvmlInit", no_driver)
    assert machine.gpu_count() == 0
