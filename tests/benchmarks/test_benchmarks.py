"""The benchmarks: ratios, memory, the record row by row, the table, and that the sides do the same work."""

import contextlib
import copy
import sys
import threading
import time
from collections import Counter

import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from helpers.data import make_settings
from PIL import Image

from benchmarks import data, events, federation, inputs, measure, render, results, scale, training
from benchmarks.alternatives import nvflare_job, plain
from fedxray.core.errors import UserError
from fedxray.core.files import read_json
from fedxray.data.site import load_site
from fedxray.federation.means import weighted
from fedxray.report.tensorboard import export_runs
from fedxray.training.models import build, get_parameters
from fedxray.training.trainer import Trainer

SETTINGS = make_settings(image_size=16, epochs=3)
CHECKS = [
    measure.at_least("speed", measure.Spread(2.6, 2.4, 2.9, "2600 s / 1000 s"), 2.5),
    measure.at_most("time", measure.Spread(1.2, 1.1, 1.3), 1.03, "s"),
    measure.told("memory", measure.Spread(2411.0, 2411.0, 2411.0), "MB"),
]


def test_a_ratio_is_of_medians_and_its_range_of_turns():
    assert measure.ratio([10.0, 20.0, 90.0], [5.0, 10.0, 4.0], "s") == (4.0, 2.0, 22.5, "20 s / 5 s")  # 90 / 4 at most
    assert measure.ratio([2000.0, 4000.0], [1000.0], "MB") == (3.0, 2.0, 4.0, "3000 MB / 1000 MB")
    assert measure.middle([3.0, 1.0, 2.0]) == (2.0, 1.0, 3.0, "")


def test_sides_take_turns_and_every_other_turn_is_reversed():
    called = []
    sides = {name: lambda name=name: called.append(name) or len(called) for name in "ab"}
    assert measure.interleave(sides, 3) == {"a": [1, 4, 5], "b": [2, 3, 6]}
    assert "".join(called) == "abbaab"


def test_a_target_is_met_or_missed_by_its_middle():
    assert [check["met"] for check in CHECKS] == [True, False, None]
    assert not measure.at_least("speed", measure.Spread(2.4, 2.0, 2.9), 2.5)["met"]
    assert results.sentence(CHECKS[0]) == "speed: 2.6 [2.4, 2.9], at least 2.5: met"
    assert results.sentence(CHECKS[2]) == "memory: 2411 MB"


def test_a_command_costs_its_childrens_memory_and_leaves_none_running():
    child = "import time; data = bytearray(80_000_000); print(flush=True); time.sleep(30)"
    started = f"subprocess.Popen([sys.executable, '-c', {child!r}], stdout=subprocess.PIPE)"
    parent = f"import subprocess, sys, time; {started}.stdout.readline(); time.sleep(1.5)"
    start = time.perf_counter()
    cost = measure.run([sys.executable, "-c", parent])
    assert 80 < cost.peak_mb < 160
    assert 1.5 < cost.seconds < time.perf_counter() - start < 20
    left = []
    for process in measure._descendants():
        with contextlib.suppress(psutil.Error):  # it has ended
            left += [process] * (child in " ".join(process.cmdline()))
    assert not left


def test_the_step_of_the_resampling_row_resamples(tmp_path):
    for name in ("NORMAL/a.jpeg", "PNEUMONIA/b.jpeg"):
        (tmp_path / name).parent.mkdir()
        Image.new("L", (40, 30), 90).save(tmp_path / name)
    assert "resample: 2/2 images" in data.step(tmp_path, 16, 1).output


def test_a_command_that_fails_says_why():
    with pytest.raises(measure.Failed, match="nothing to see"):
        measure.run([sys.executable, "-c", "raise SystemExit('nothing to see')"])


@pytest.fixture
def book(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "versions", lambda: {"torch": "2"})
    monkeypatch.setattr(results, "commit", lambda: "abc")
    calls = Counter()

    def good(quick):
        """Works."""
        calls["good"] += 1
        return {"samples": {}, "checks": copy.deepcopy(CHECKS), "notes": {}}

    def bad(quick):
        """Breaks."""
        raise measure.Failed("no such file\nsecond line")

    def record(again=False):
        return results.record(tmp_path / "book.json", {"bad": bad, "good": good}, False, again)

    return tmp_path / "book.json", record, calls


def test_a_failing_row_is_recorded_and_stops_no_other(book):
    path, record, _ = book
    record()
    rows = read_json(path)["rows"]
    assert rows["bad"]["status"] == "failed"
    assert "no such file" in rows["bad"]["reason"]
    assert rows["good"]["status"] == "done"
    assert rows["good"]["commit"] == "abc"


def test_a_row_that_is_done_is_run_again_only_for_another_commit_or_by_wish(book, monkeypatch):
    _, record, calls = book
    record(), record()
    assert calls["good"] == 1
    record(again=True)
    assert calls["good"] == 2
    monkeypatch.setattr(results, "commit", lambda: "abd")
    record()
    assert calls["good"] == 3
    monkeypatch.setattr(results, "commit", lambda: "abd+")
    record(), record()
    assert calls["good"] == 5


def test_the_table_is_rendered_from_the_record_between_its_markers(book, tmp_path, monkeypatch):
    path, record, _ = book
    record()
    page = tmp_path / "page.md"
    page.write_text("before\n{}\nold\n{}\nafter\n".format(*render.TABLE))
    monkeypatch.setattr(render, "WHY", {"good": "it is slow"})
    other = copy.deepcopy(read_json(path))
    other["machine"]["GPU"] = "a card"
    for _ in range(2):
        render.render([read_json(path), other], False, page)
    text = page.read_text()
    assert text.count("| row | measured |") == 2
    assert "GPU a card" in text
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text
    assert "| `good` | speed | 2.6 [2.4, 2.9] | 2600 s / 1000 s | at least 2.5 | met |" in text
    assert "| `good` | time | 1.2 s [1.1, 1.3] |  | at most 1.03 s | missed |" in text
    assert "- `good`: it is slow" in text
    assert "| `bad` | failed: second line |" in text
    page.write_text("none")
    with pytest.raises(UserError, match="no markers"):
        render.render([read_json(path)], False, page)


def test_the_bare_loop_trains_the_very_model_of_the_trainer(site_folders):
    settings, site = SETTINGS, load_site(site_folders["us"])
    train, validation = site.part("train"), site.part("validation")
    ours, bare = build(settings), build(settings)
    trainer = Trainer(settings, train, validation)
    rows = trainer.fit(ours, *training.epochs(trainer, 0, 1)).rows
    loss = plain.train_epoch(bare, plain.make_optimizer(bare, settings), plain.tensors(train), settings, 0)
    one, other = get_parameters(ours), get_parameters(bare)
    assert all(np.array_equal(one[name], other[name]) for name in one)
    assert loss == rows[0]["train_loss"]
    reached = plain.evaluate(bare, plain.tensors(validation))
    assert reached["loss"] == pytest.approx(rows[0]["validation_loss"], abs=1e-6)
    assert reached["accuracy"] == rows[0]["validation_accuracy"]
    assert reached["auroc"] == rows[0]["validation_auroc"]


def test_epochs_that_differ_are_not_compared(site_folders, monkeypatch):
    site = load_site(site_folders["us"])
    parts = site.part("train"), site.part("validation")
    times, apart = training.compare_epochs(*parts, SETTINGS, 3)
    assert {name: len(values) for name, values in times.items()} == {"fedxray": 2, "bare loop": 2}
    assert apart < 1e-6
    monkeypatch.setattr(plain, "augment", lambda images, settings: images)
    with pytest.raises(measure.NotTheSameWork):
        training.compare_epochs(*parts, SETTINGS, 3)


def test_the_alternatives_average_as_we_do():
    rng = np.random.default_rng(1)
    models = {site: {"w": rng.normal(size=(3, 2)).astype(np.float32)} for site in "ab"}
    mean = plain.average([{"w": torch.from_numpy(models[site]["w"])} for site in "ab"], [1, 3])
    np.testing.assert_allclose(mean["w"].numpy(), weighted(models, {"a": 1, "b": 3})["w"], rtol=1e-6)


def test_a_round_beyond_training_is_less_its_slowest_site():
    rows = [(1, "global", 3.0), (1, "us", 1.0), (1, "asia", 2.5), (2, "global", 2.0), (2, "us", 1.5), (2, "asia", 0.5)]
    assert federation.beyond_training(pd.DataFrame(rows, columns=["epoch", "series", "seconds"])) == [0.5, 0.5]


def test_nvflares_rounds_are_read_from_its_log():
    banner = "{} - INFO - \n-----\n     Round {} started.     \n-----\n"
    times = ["2026-11-25 02:23:18,500", "2026-11-25 02:23:20,976", "2026-11-25 02:23:23,476"]
    log = "".join(banner.format(time, number) for number, time in enumerate(times))
    assert nvflare_job.rounds(log) == [2.476, 2.5]


def test_every_reader_and_writer_of_events_handles_the_same_scalars(tmp_path):
    runs = [events.make_up_run(tmp_path / f"run-{number}", number) for number in range(2)]
    names, scalars = [run.path.name for run in runs], 2 * events.EPOCHS * 4
    export_runs(runs, names, tmp_path / "ours")
    events.summary_writer(runs, tmp_path / "theirs")
    for side in ("ours", "theirs"):
        logs = [tmp_path / side / name for name in names]
        events.own_reading(logs, scalars)
        events.event_accumulator(logs, scalars)
        with pytest.raises(measure.NotTheSameWork, match=f"read {scalars} scalars of 1"):
            events.event_accumulator(logs, 1)


@pytest.mark.slow
def test_the_rows_of_a_gpu_run_on_a_cpu_at_a_toy_size():
    rows = training.gpu(True), training.gpu_sites(True)
    assert [len(values) for row in rows for values in row["samples"].values()] == [2, 2, 2, 2]
    assert all(check["low"] > 0 for row in rows for check in row["checks"])
    assert rows[1]["checks"][0]["value"] > 1  # so few images are no work to share out


def test_the_share_of_time_that_a_gpu_is_busy_is_sampled_while_it_trains(site_folders, monkeypatch):
    monkeypatch.setattr(torch.cuda, "utilization", lambda: 97)
    settings, site = SETTINGS, load_site(site_folders["us"])
    trainer = Trainer(settings, site.part("train"), site.part("validation"))
    assert set(training.gpu_busy(trainer, build(settings), 3)) == {97}


def test_a_run_that_is_stopped_leaves_no_thread_that_samples(site_folders, monkeypatch):
    monkeypatch.setattr(torch.cuda, "utilization", lambda: 97)
    settings, site = SETTINGS, load_site(site_folders["us"])
    trainer = Trainer(settings, site.part("train"), site.part("validation"))
    first, threads = trainer.fit, threading.active_count()

    def stopped(*arguments):
        if threading.active_count() > threads:
            raise KeyboardInterrupt
        return first(*arguments)

    monkeypatch.setattr(trainer, "fit", stopped)
    with pytest.raises(KeyboardInterrupt):
        training.gpu_busy(trainer, build(settings), 3)
    assert threading.active_count() == threads


def test_growth_is_the_slope_between_the_last_two_sizes():
    points = [{"size": n, "seconds": 5 + n**2, "mb": 100 + n} for n in (1, 100, 1000)]
    assert scale.exponent(points) == pytest.approx(2, abs=0.01)
    assert scale._expected_mb(points, 2000) == pytest.approx(2100)
    row = scale.grow("images", [1, 10, 1e6, 1e9], lambda n: (n, n))
    assert [point["size"] for point in row["points"]] == [1, 10]
    assert row["notes"] == {"too much memory for this machine": [1e6, 1e9]}
    assert row["checks"][0]["met"]


def test_many_names_for_few_images(monkeypatch, tmp_path):
    monkeypatch.setattr(inputs, "BUILD", tmp_path)
    folder = inputs.originals(10, phantoms=6)
    files = sorted(folder.rglob("*.jpeg"))
    assert len(files) == 10
    assert len({file.stat().st_ino for file in files}) == 6
    assert {file.parent.name for file in files} == {"NORMAL", "PNEUMONIA"}


def test_growth_is_drawn_and_rendered(tmp_path):
    row = scale.grow("images", [1, 10, 100], lambda n: (5 + n, 100 + n))
    rows = {
        "images": {"status": "done", "commit": "abc"} | row,
        "sites": {"status": "failed", "reason": "none", "commit": "abc"},
    }
    machine = {"processor": "p", "cores": "2", "GPU": "none", "Python": "3"}
    page = tmp_path / "page.md"
    page.write_text("{}\n{}\n".format(*render.GROWTH))
    render.render([{"machine": machine, "versions": {}, "quick": True, "rows": rows}], True, page)
    assert "](figures/scale.png)" in page.read_text()
    assert (tmp_path / "figures" / "scale.png").stat().st_size > 5000
