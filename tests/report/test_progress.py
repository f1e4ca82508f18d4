"""The screen: what Snakemake says and what steps log, as a person reads it, with a terminal and without."""

import io
import logging
import re
import sys

import pytest
from rich.console import Console

from fedxray.federation.records import epoch_line, round_line
from fedxray.report.progress import Progress, about, fitted, seconds

STAGES = {"make_site": "data", "train_central": "training", "train_federated": "training", "plot_data": "report"}


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Screen:
    """A `Progress` whose clock is ours, what it writes to, and the log records that Snakemake would send it."""

    def __init__(self, tmp_path, stream, width=None, **options):
        self.now, self.stream, self.tmp_path = 1000.0, stream, tmp_path
        self.progress = Progress(stream, STAGES, clock=lambda: self.now, width=width, **options)

    def send(self, event=None, message="", level=logging.INFO, **fields):
        record = logging.LogRecord("snakemake.logging", level, "", 0, message, None, None)
        vars(record).update(fields, **({"event": event} if event else {}))
        self.progress.handle(record)

    def plan(self, **jobs):
        self.send("run_info", "Job stats: ...", stats={**jobs, "all": 1, "total": sum(jobs.values()) + 1})

    def start(self, number, rule, **wildcards):
        log = self.tmp_path / f"{number}.log"
        about_job = {"rule_name": rule, "wildcards": wildcards, "log": [str(log)], "output": ["a file"]}
        self.send("job_info", jobid=number, **about_job)
        return log

    def finish(self, number):
        self.send("job_finished", f"Finished jobid: {number}", job_id=number)

    def write(self, log, *lines, after=0.0):
        self.now += after
        with log.open("a") as file:
            file.write("".join(f"{line}\n" for line in lines))
        self.progress.tick()

    @property
    def lines(self):
        return self.stream.getvalue().splitlines()

    def drawn(self, width):
        """What stands on a terminal now, without colours."""
        console = Console(file=io.StringIO(), width=width, force_terminal=False, color_system=None)
        console.print(self.progress.drawn())
        return [line.rstrip() for line in console.file.getvalue().splitlines()]


@pytest.fixture(autouse=True)
def no_thread(monkeypatch):
    """The tests look at the logs by `tick` alone."""
    monkeypatch.setattr(Progress, "_watch", lambda self: None)


@pytest.fixture
def piped(tmp_path):
    screen = Screen(tmp_path, io.StringIO())
    yield screen
    screen.progress.close()


@pytest.fixture
def terminal(tmp_path, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    screen = Screen(tmp_path, Terminal(), width=80)
    yield screen
    screen.progress.close()


def round_of(number, rounds, auroc=None, spent=2.0):
    record = {"round": number, "train_loss": 0.5, "seconds": spent, "absent": {}}
    return round_line(record | {"validation": auroc and {"validation_auroc": auroc}}, rounds)


def test_without_a_terminal_there_is_a_line_for_each_step_and_nothing_else(piped):
    noise = "Building DAG", "Select jobs to execute...", "Using shell: /usr/bin/bash", "Elapsed time: 0:04:14", "None"
    for message in noise[1:]:
        piped.send(None, message)
    piped.plan(make_site=2, train_central=1)
    piped.send("job_started", "Execute 2 jobs...", jobs=[1, 2])
    piped.start(1, "make_site", site="us")
    piped.send("shellcmd", "Shell command: python ...", shellcmd="python ...")
    piped.start(2, "make_site", site="asia")
    piped.now += 3.2
    piped.finish(1)
    piped.send("progress", "None", done=1, total=4)
    piped.now += 1
    piped.finish(2)
    log = piped.start(3, "train_central", lr="0.003")
    row = {"epoch": 4, "train_loss": 0.25, "validation_auroc": 0.9375, "seconds": 1.0}
    piped.write(log, epoch_line(row, 4), after=83)
    piped.finish(3)
    piped.send("job_info", jobid=0, rule_name="all", wildcards={}, log=[], output=[])
    piped.send("job_finished", job_id=0)
    assert piped.lines == [
        "3 steps: 2 data, 1 training",
        "1/3  make_site site=us  3.2 s",
        "2/3  make_site site=asia  4.2 s",
        "3/3  train_central  epoch 4/4  loss 0.2500  AUROC 0.9375  1 min 23 s",
    ]


def test_without_a_terminal_a_training_says_ten_times_at_most_how_far_it_is(piped):
    piped.plan(train_federated=1)
    log = piped.start(1, "train_federated")
    for number in range(1, 161):
        piped.write(log, round_of(number, 160, 0.9 if number % 4 == 0 else None), after=2)
    said = piped.lines[1:]
    assert 5 <= len(said) <= 10
    assert said[0] == "       train_federated  round 16/160  loss 0.5000  AUROC 0.9000  about 5 min left"
    piped.finish(1)
    assert piped.lines[-1] == "1/1  train_federated  round 160/160  loss 0.5000  AUROC 0.9000  5 min 20 s"


def test_a_training_of_seconds_says_nothing_before_its_end(piped):
    piped.plan(train_federated=1)
    log = piped.start(1, "train_federated")
    for number in range(1, 10):
        piped.write(log, round_of(number, 10, 0.9), after=1)
    assert len(piped.lines) == 1


def test_a_terminal_shows_stage_steps_and_each_running_step_with_its_round_loss_auroc_and_time(terminal):
    terminal.plan(make_site=1, train_central=1, train_federated=1, plot_data=1)
    terminal.start(1, "make_site")
    terminal.now += 4
    terminal.finish(1)
    federated, central = terminal.start(2, "train_federated"), terminal.start(3, "train_central")
    terminal.write(federated, "3 sites registered: us, europe, asia", round_of(1, 40, 0.75), after=10)
    for number in range(2, 12):
        terminal.write(federated, round_of(number, 40, 0.8125 if number == 10 else None), after=2)
    terminal.write(central, "epoch 1/8  loss 0.6000  validation AUROC 0.9000  7.0 s")
    wide = terminal.drawn(120)
    assert re.fullmatch(r"training  ━+[╸ ]* 1 of 4 steps  34\.0 s  more than 1 min left", wide[0])
    assert wide[1:] == [
        "  train_federated  round 11/40  loss 0.5000  AUROC 0.8125  about 1 min left",
        "  train_central  epoch 1/8  loss 0.6000  AUROC 0.9000",
    ]
    narrow = terminal.drawn(80)
    assert re.fullmatch(r"training  ━+[╸ ]* 1 of 4 steps  34\.0 s  more than 1 min left", narrow[0])
    assert narrow[1:] == wide[1:]
    assert max(map(len, terminal.drawn(60))) <= 60  # nothing is wrapped
    assert len(terminal.drawn(60)) == 3


def test_what_stands_on_a_terminal_is_renewed_and_gone_at_the_end(terminal):
    terminal.plan(make_site=1)
    terminal.start(1, "make_site")
    terminal.progress.tick()
    assert "0 of 1 step" in terminal.stream.getvalue()
    terminal.finish(1)
    terminal.progress.end(["The report: results/phantom/report/index.html"], failed=False)
    terminal.progress.close()
    text = terminal.stream.getvalue()
    assert text.endswith("The report: results/phantom/report/index.html\x1b[0m\n")
    assert "\x1b[?25h" in text  # the cursor is back
    assert not terminal.progress.live.is_started


@pytest.mark.parametrize(("environment", "color"), [({"TERM": "dumb"}, True), ({"TERM": "xterm"}, False)])
def test_a_dumb_terminal_and_no_color_get_no_colours(tmp_path, monkeypatch, environment, color):
    monkeypatch.setenv("TERM", environment["TERM"])
    screen = Screen(tmp_path, Terminal(), color=color)
    screen.plan(make_site=1)
    screen.send(None, "a file is missing", logging.ERROR)
    screen.progress.close()
    assert not re.search(r"\x1b\[[\d;]*3\dm", screen.stream.getvalue())
    assert screen.progress.console.is_terminal == (environment["TERM"] != "dumb")


def test_the_time_left_is_that_of_the_pace_so_far(piped):
    piped.plan(train_federated=1)
    log = piped.start(1, "train_federated")
    piped.write(log, round_of(1, 10), after=60)  # the start of a federation counts for nothing
    step = piped.progress.running[1]
    assert step.left(piped.now) is None
    for number in (2, 3, 4):
        piped.write(log, round_of(number, 10), after=5)
    assert step.left(piped.now) == pytest.approx(6 * 5)
    assert step.left(piped.now + 4) == pytest.approx(6 * 5 - 4)
    assert step.left(piped.now + 1000) == 0.0  # the pace has fallen: never negative
    piped.write(log, round_of(10, 10), after=30)
    assert step.left(piped.now) is None


def test_a_step_that_counts_something_else_is_timed_anew(piped):
    piped.plan(make_site=1)
    log = piped.start(1, "make_site")
    for line in ("catalogue: 10/20 images", "catalogue: 20/20 images", "hashes: 5/20 images", "hashes: 10/20 images"):
        piped.write(log, line, after=4)
    assert piped.progress.running[1].left(piped.now) == pytest.approx(2 * 4)


def test_several_trainings_of_a_step_count_as_one(piped):
    piped.plan(train_central=1)
    log = piped.start(1, "train_central")
    step = piped.progress.running[1]
    piped.write(log, "us alone (1 of 2)")
    for number in range(1, 5):
        piped.write(log, f"epoch {number}/4  loss 0.1  validation AUROC 0.9000  1.0 s", after=3)
    assert step.left(piped.now) == pytest.approx(4 * 3)
    piped.write(log, "asia alone (2 of 2)")
    assert step.text() == "asia alone"
    piped.write(log, "epoch 1/4  loss 0.1  validation AUROC 0.8000  1.0 s", after=3)
    assert step.left(piped.now) == pytest.approx(3 * 3)
    assert step.text() == "asia alone  epoch 1/4  loss 0.1  AUROC 0.8000"


def test_the_whole_time_left_is_known_if_every_rule_was_measured(piped):
    piped.plan(make_site=5)
    piped.start(1, "make_site", site="a")
    piped.now += 10
    assert piped.progress.plan.left([], piped.now) == (0.0, False)
    piped.finish(1)
    piped.start(2, "make_site", site="b")
    piped.now += 4
    left, known = piped.progress.plan.left(list(piped.progress.running.values()), piped.now)
    assert (left, known) == (pytest.approx(6 + 3 * 10), True)


def test_steps_that_run_at_once_share_the_time_left(piped):
    piped.plan(make_site=6)
    for number in (1, 2):
        piped.start(number, "make_site", site=number)
    piped.now += 10
    for number in (1, 2):
        piped.finish(number)
    for number in (3, 4):
        piped.start(number, "make_site", site=number)
    assert piped.progress.plan.left(list(piped.progress.running.values()), piped.now) == (pytest.approx(20), True)


def test_the_log_of_an_earlier_run_is_not_read(piped):
    piped.plan(train_federated=1)
    (piped.tmp_path / "1.log").write_text(f"{round_of(9, 10, 0.9)}\nwarning: of old\n")
    log = piped.start(1, "train_federated")
    piped.progress.tick()
    assert piped.progress.running[1].row == ""
    log.write_text("")  # the job begins
    piped.progress.tick()
    piped.write(log, round_of(1, 10))
    assert piped.progress.running[1].text() == "round 1/10  loss 0.5000"
    assert "of old" not in piped.stream.getvalue()


def test_half_a_line_waits_for_its_rest_and_a_line_written_over_is_its_last_state(piped):
    piped.plan(make_site=1)
    log = piped.start(1, "make_site")
    line = "Röntgen: 10/20 images\rRöntgen: 20/20 images\n".encode()
    with log.open("wb") as file:
        for part in (line[:2], line[2:12], line[12:]):  # the first ends within a letter
            assert piped.progress.running[1].row == ""
            file.write(part)
            file.flush()
            piped.progress.tick()
    assert piped.progress.running[1].row == "Röntgen: 20/20 images"


def test_warnings_are_said_once_at_once_with_the_step(piped):
    piped.plan(make_site=2)
    for number, site in enumerate(["us", "asia"]):
        log = piped.start(number, "make_site", site=site)
        piped.write(log, "warning: two images are the same", "no warning: this")
    for _ in range(2):
        piped.send(None, "The file is old.", logging.WARNING)
    piped.send(None, "Cannot restore results/x/registry.csv: no backup found.", logging.WARNING)  # there was none
    assert piped.lines[1:] == [
        "warning: two images are the same  (make_site site=us)",
        "warning: The file is old.",
    ]


def test_an_error_is_the_last_thing_said(piped):
    piped.plan(train_central=1)
    log = piped.start(1, "train_central")
    piped.write(log, "error: lr: too large")
    piped.send("error", "RuleException:\nCalledProcessError in file rules/training.smk ...", logging.ERROR)
    piped.send("job_error", "Error in rule", logging.ERROR, jobid=1, rule_name="train_central", log=[str(log)])
    piped.send(None, "Exiting because a job execution failed. Look above for error messages", logging.ERROR)
    last = ["Failed, with the end of each log:", f"  train_central: {log}", "      error: lr: too large"]
    piped.progress.end(last, failed=True)
    piped.send(None, "Complete log(s): /x/.snakemake/log")
    piped.send("error", "WorkflowError:\nAt least one job did not complete successfully.", logging.ERROR)
    piped.progress.close()
    assert piped.lines == [
        "1 step: 1 training",
        f"failed  train_central  {log}",
        "Failed, with the end of each log:",
        f"  train_central: {log}",
        "      error: lr: too large",
    ]


def test_nothing_is_said_after_the_last(piped):
    piped.plan(train_federated=1)
    log = piped.start(1, "train_federated")
    piped.progress.end(["The end."], failed=False)
    piped.progress.close()
    piped.write(log, round_of(5, 10, 0.9), "warning: late", after=60)
    assert piped.lines[-1] == "The end."


def test_where_nothing_is_left_to_run_it_still_says_where_to_read(tmp_path):
    screen = Screen(tmp_path, io.StringIO(), idle=lambda: ["The report: x.html"])
    screen.send(None, "Nothing to be done (all requested files are present and up to date).")
    screen.progress.close()
    assert screen.lines[-1] == "The report: x.html"


def test_a_private_training_has_no_loss_to_show(piped):
    piped.plan(train_central=1)
    log = piped.start(1, "train_central")
    row = {"epoch": 3, "train_loss": float("nan"), "validation_auroc": 0.81, "seconds": 1.0}
    piped.write(log, epoch_line(row, 3), after=2)
    piped.finish(1)
    assert "  epoch 3/3  loss -  AUROC 0.8100  " in piped.lines[-1]


def test_other_errors_and_messages_of_snakemake_are_said_in_its_words(piped):
    piped.send(None, "Nothing to be done (all requested files are present and up to date).")
    piped.send("error", "MissingInputException in rule [b]x[/b]:\nMissing input files", logging.ERROR)
    assert piped.lines == [
        "Nothing to be done (all requested files are present and up to date).",
        "MissingInputException in rule [b]x[/b]:",
        "Missing input files",
    ]


def test_a_group_that_fails_on_a_cluster_is_one_line(piped):
    piped.plan(make_site=2)
    for number in (1, 2):
        piped.start(number, "make_site", site=number)
    jobs = [{"rule_name": "make_site", "jobid": number, "log": []} for number in (1, 2)]
    group = {"groupid": "prepare", "aux_logs": ["logs/slurm/7.log"], "job_error_info": jobs}
    piped.send("group_error", "Error in group", logging.ERROR, **group)
    for job in jobs:
        piped.send("job_error", "Error in rule", logging.ERROR, indent=True, **job)
    assert piped.lines[1:] == ["failed  one of make_site  logs/slurm/7.log"]
    assert not piped.progress.running


def test_a_step_that_is_tried_again_counts_once(piped):
    piped.plan(make_site=1)
    log = piped.start(1, "make_site")
    piped.send("job_error", "", logging.ERROR, jobid=1, rule_name="make_site", log=[str(log)])
    piped.send(None, "Trying to restart job 1.")
    piped.start(1, "make_site")
    piped.now += 2
    piped.finish(1)
    assert piped.lines[-2:] == ["Trying to restart job 1.", "1/1  make_site  2.0 s"]


def test_a_record_that_it_cannot_read_stops_nothing(piped, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    piped.send("run_info", "of another version of Snakemake")
    piped.plan(make_site=1)
    assert piped.lines == ["1 step: 1 data"]


def test_of_many_running_steps_those_that_say_something_come_first(terminal):
    terminal.plan(make_site=100)
    logs = [terminal.start(number, "make_site", site=number) for number in range(100)]
    terminal.write(logs[70], "images: 5/20 images")
    drawn = terminal.drawn(80)
    assert len(drawn) == 10
    assert drawn[1:3] == ["  make_site site=70  images: 5/20 images", "  make_site site=0"]
    assert drawn[-1] == "  and 92 more"


@pytest.mark.parametrize(
    ("value", "words"),
    [(0, "10 s"), (11, "20 s"), (50, "50 s"), (51, "1 min"), (61, "2 min"), (3590, "1 h"), (3700, "1 h 10 min")],
)
def test_estimates_are_rounded_up(value, words):
    assert about(value) == f"about {words} left"


@pytest.mark.parametrize(("value", "words"), [(3.24, "3.2 s"), (83, "1 min 23 s"), (3725, "1 h 2 min")])
def test_measured_times(value, words):
    assert seconds(value) == words


def test_a_row_that_is_too_long_loses_the_end_of_its_label():
    row = fitted("train_federated lr=0.003,epochs=10,round=0.25,seed=1", "round 3/40  loss 0.5  AUROC 0.9", 61.0, 70)
    assert row.plain == "  train_federated…  round 3/40  loss 0.5  AUROC 0.9  about 2 min left"
    assert len(fitted("x" * 200, "y" * 200, None, 80).plain) <= 80
