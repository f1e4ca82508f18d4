"""What a person sees while the workflow runs: a line for each step, and on a terminal, below them, what runs now.

`Progress` is a handler of Python's logging that takes the place of Snakemake's own on the screen (rules/progress.smk).
What Snakemake says comes as log records, most with an `event` of snakemake-interface-logger-plugins; what a step says
is read from its log while it runs, wherever it runs. Imports nothing of Snakemake and nothing heavy.
"""

import logging
import os
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

COUNT = re.compile(r"^[\w ]+:? (\d+)/(\d+)\b")  # `round 3/160`, `epoch 2/4`, `catalogue: 42/164 images`
PART = re.compile(r"^(.+) \((\d+) of (\d+)\)$")  # a step says so before each of several trainings
AUROC = re.compile(r"AUROC \d\.\d+")
NOTHING = "Nothing to be done"  # begins what Snakemake says where nothing is left to run
WARNING = "warning: "  # begins a line of a log (`core/cli.py`)
PERIOD_S = 0.5  # between two looks at the logs
QUIET_S = 10.0  # without a terminal a step says no more often how far it is
SHARE = 0.1  # and not before this share of it was done since the last time
ROWS = 8  # of steps that run at the same time, on a terminal

# What Snakemake says that a reader has no use for; its own log has it.
DROPPED = re.compile(
    r"Assuming unrestricted shared|Using shell:|Group jobs: inactive|(Conda env\w+|Singularity \w+): ignored"
    r"|Select jobs to|Job rate limit|Processed \d+ potential|Job \S+ has been submitted|Elapsed time:|Complete log"
    r"|Loading script code|Adding \S+ \(|Cannot restore \S+: no backup|None$|$"
)
# And of a step that failed, because the end says it in the words of its log.
FAILED = re.compile(
    r"RuleException:\nCalledProcessError|Exiting because a job|WorkflowError:\nAt least one job did not"
)


@dataclass
class Log:
    """The log of a step that begins now: what an earlier run of the step has left there is not read."""

    path: Path
    seen: int = 0  # bytes
    rest: bytes = b""  # of a line that is not whole yet
    before: tuple[int, int] | None = field(init=False)  # its time and size

    def __post_init__(self) -> None:
        self.before = self._state()

    def _state(self) -> tuple[int, int] | None:
        try:
            state = self.path.stat()
        except OSError:
            return None
        return state.st_mtime_ns, state.st_size

    def lines(self) -> list[str]:
        """The whole lines that the log has got since the last call."""
        state = self._state()
        if state is None or state == self.before:
            return []
        self.before = None
        if self.seen > state[1]:  # it was begun anew
            self.seen, self.rest = 0, b""
        try:
            with self.path.open("rb") as file:
                file.seek(self.seen)
                got = file.read()
        except OSError:
            return []
        self.seen += len(got)
        *whole, self.rest = (self.rest + got).split(b"\n")
        # Of a line that was written over, such as a download's percentages, the last state counts.
        return [line.rstrip(b"\r").rpartition(b"\r")[2].decode(errors="replace").rstrip() for line in whole]


@dataclass
class Step:
    """A job that runs."""

    rule: str
    label: str  # the rule, and if it has several jobs, its wildcards
    logs: Sequence[Log]
    began: float  # seconds of the clock, like all times here
    row: str = ""  # its last line that says how far it is
    auroc: str = ""  # the last that it said
    part: tuple[str, int, int] = ("", 1, 1)  # of its trainings: what, which, of how many
    share: float = 0.0  # done, of all parts
    first: tuple[float, float] | None = None  # when its first row was seen, and the share done by then
    last: float = 0.0  # when its last row was seen
    said: tuple[float, float] = (0.0, 0.0)  # when it was last told without a terminal, and the share done by then

    def read(self, line: str, now: float) -> None:
        """Take a line of its log."""
        if part := PART.match(line):
            self.part, self.row, self.auroc = (part[1], int(part[2]), int(part[3])), part[1], ""
        elif count := COUNT.match(line):
            self.row = line
            self.auroc = (AUROC.findall(line) or [self.auroc])[-1]
            (_, number, parts), before = self.part, self.share
            self.share = min(1.0, (number - 1 + int(count[1]) / max(1, int(count[2]))) / parts)
            if self.first is None or self.share < before:  # less than before: it counts something else now
                self.first = now, self.share
            self.last = now

    def left(self, now: float) -> float | None:
        """Seconds until its last row, if it goes on as it has gone since its first; None: too early or late to say."""
        if self.first is None or not self.first[1] < self.share < 1 or self.last - self.first[0] < 2 * PERIOD_S:
            return None
        pace = (self.last - self.first[0]) / (self.share - self.first[1])
        return max(0.0, (1.0 - self.share) * pace - (now - self.last))

    def text(self) -> str:
        """Its last row in few words, with the last AUROC if the row has none."""
        row = re.sub(r"  \d+\.\d s\b", "", self.row.replace("validation AUROC", "AUROC"))
        row += f"  {self.auroc}" if self.auroc and "AUROC" not in row else ""
        what = self.part[0]
        return row if not what or row == what else f"{what}  {row}"


@dataclass
class Plan:
    """How many jobs of each rule there are, and how long those took that have finished."""

    jobs: Counter = field(default_factory=Counter)
    began: float = 0.0
    took: dict[str, list[float]] = field(default_factory=dict)

    @property
    def done(self) -> int:
        """How many jobs have finished."""
        return sum(map(len, self.took.values()))

    def left(self, running: Sequence[Step], now: float) -> tuple[float, bool]:
        """Seconds until the end by what was measured so far, and whether all that is left was measured.

        A job that runs has its own estimate, or else the mean of its rule; jobs that have not begun have the mean, and
        share the machine as those before them did. What has no measurement counts as nothing.
        """
        ours, known = [], True
        waiting = self.jobs - Counter({rule: len(took) for rule, took in self.took.items()})
        for step in running:
            waiting[step.rule] -= 1
            left, took = step.left(now), self.took.get(step.rule)
            if left is None and took:
                left = max(0.0, sum(took) / len(took) - (now - step.began))
            known = known and left is not None
            ours.append(left or 0.0)
        later = 0.0
        for rule, number in waiting.items():
            took = self.took.get(rule)
            known = known and (number <= 0 or took is not None)
            later += max(0, number) * sum(took) / len(took) if took else 0.0
        busy = sum(map(sum, self.took.values())) + sum(now - step.began for step in running)
        at_once = max(1.0, busy / (now - self.began)) if now > self.began else 1.0
        return max([*ours, (sum(ours) + later) / at_once]), known


class Progress(logging.Handler):
    """Writes to the screen what happens.

    `stages` names the stage of each rule that makes something; of others nothing is said. `clock` gives seconds, and
    `idle` what is said last where nothing is left to run. On a terminal what runs now stands below the lines, renewed
    at each `tick`; elsewhere a step says from time to time how far it is.
    """

    def __init__(
        self,
        stream: TextIO,
        stages: Mapping[str, str],
        color: bool = True,
        clock: Callable[[], float] = time.monotonic,
        width: int | None = None,
        idle: Callable[[], Sequence[str]] = list,
    ) -> None:
        super().__init__(logging.INFO)
        terminal = stream.isatty() and os.environ.get("TERM") != "dumb"
        self.console = Console(
            file=stream, force_terminal=terminal, no_color=not color or None, highlight=False, markup=False, width=width
        )
        self.stages, self.clock = stages, clock
        self.plan, self.running = Plan(), dict[int, Step]()
        self.stage, self.told = "", set[str]()
        self.last: tuple[Sequence[str], bool] = ((), False)
        self.live = Live(
            console=self.console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=sys.stdout.isatty(),
            get_renderable=self.drawn,
        )
        self.guard, self.ended = threading.RLock(), threading.Event()
        self.idle = idle
        self.events: Mapping[str, Callable[[logging.LogRecord], None]] = {
            "run_info": self._planned,
            "job_info": self._started,
            "job_finished": self._finished,
            "job_error": self._job_failed,
            "group_error": self._group_failed,
            "error": self._said,
            "": self._said,
        }

    def emit(self, record: logging.LogRecord) -> None:
        """Take what Snakemake says; events that are not in `events` say nothing to a reader."""
        react = self.events.get(str(getattr(record, "event", None) or ""))
        try:
            with self.guard:
                if react:
                    react(record)
        except Exception:
            self.handleError(record)

    def tick(self) -> None:
        """Read the logs of what runs, and renew what stands on the terminal."""
        with self.guard:
            if self.ended.is_set():
                return
            for step in self.running.values():
                self._follow(step)
                if not self.live.is_started:
                    self._tell(step)
            if self.live.is_started:
                self.live.refresh()

    def end(self, lines: Sequence[str], failed: bool) -> None:
        """Say these lines when all others are said, at `close`."""
        self.last = lines, failed

    def close(self) -> None:
        """Take away what stands on the terminal, and say the last lines."""
        with self.guard:
            if not self.ended.is_set():
                self.ended.set()
                for step in self.running.values():
                    self._follow(step)
                self.live.stop()
                lines, failed = self.last
                for line in lines:
                    self._print(line, "bold red" if failed else "bold", wrapped=not failed)
        super().close()

    def _planned(self, record: logging.LogRecord) -> None:
        jobs = Counter({rule: number for rule, number in vars(record)["stats"].items() if rule in self.stages})
        stages = Counter(self.stages[rule] for rule in jobs.elements())
        parts = ", ".join(f"{stages[stage]} {stage}" for stage in dict.fromkeys(self.stages.values()) if stages[stage])
        self._print(f"{counted(jobs.total())}: {parts}", "bold")
        self.plan = Plan(jobs, self.clock())
        if self.console.is_terminal:
            self.live.start()
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while not self.ended.wait(PERIOD_S * max(1, len(self.running) // ROWS)):  # a cluster's files are far away
            self.tick()

    def _started(self, record: logging.LogRecord) -> None:
        job = vars(record)
        rule, wildcards = job["rule_name"], dict(job["wildcards"] or {})
        several = self.plan.jobs[rule] > 1 and wildcards
        label = " ".join([rule, ",".join(f"{name}={value}" for name, value in wildcards.items())]) if several else rule
        logs = [Log(Path(path)) for path in job["log"]]
        if rule in self.stages:
            self.running[job["jobid"]] = Step(rule, label, logs, self.clock())
            self.stage = self.stages[rule]

    def _finished(self, record: logging.LogRecord) -> None:
        step = self.running.pop(vars(record)["job_id"], None)
        if step is None:
            return
        self._follow(step)
        took = self.clock() - step.began
        self.plan.took.setdefault(step.rule, []).append(took)
        total = self.plan.jobs.total()
        row = f"  {step.text()}" if step.auroc else ""
        self._print(f"{self.plan.done:{len(str(total))}}/{total}  {step.label}{row}  {seconds(took)}")

    def _job_failed(self, record: logging.LogRecord) -> None:
        job = vars(record)
        step = self.running.pop(job["jobid"], None)
        if job.get("indent"):  # of a group, which was said as a whole
            return
        self._print(f"failed  {step.label if step else job['rule_name']}  {', '.join(job['log'])}", "red")

    def _group_failed(self, record: logging.LogRecord) -> None:
        group = vars(record)
        rules = ", ".join(dict.fromkeys(job["rule_name"] for job in group["job_error_info"]))
        self._print(f"failed  one of {rules}  {', '.join(group['aux_logs'])}".rstrip(), "red")

    def _said(self, record: logging.LogRecord) -> None:
        message = record.getMessage().strip("\n")
        if record.levelno < logging.WARNING:
            if not DROPPED.match(message):
                self._print(message)
            if message.startswith(NOTHING):
                self.end(self.idle(), failed=False)
        elif record.levelno < logging.ERROR:
            if not DROPPED.match(message):
                self._warn(message if message.startswith(WARNING) else WARNING + message)
        elif not FAILED.match(message):
            self._print(message, "red")

    def _follow(self, step: Step) -> None:
        for log in step.logs:
            for line in log.lines():
                step.read(line, self.clock())
                if line.startswith(WARNING):
                    self._warn(line, f"  ({step.label})")

    def _warn(self, warning: str, of: str = "") -> None:
        if warning not in self.told:
            self.told.add(warning)
            self._print(warning + of, "yellow")

    def _tell(self, step: Step) -> None:
        now, (when, share) = self.clock(), step.said
        if share + SHARE <= step.share < 1 and now - max(when, step.began) >= QUIET_S:
            step.said = now, step.share
            left = step.left(now)
            self._print("  ".join([" " * 5, step.label, step.text(), *([] if left is None else [about(left)])]))

    def _print(self, line: str, style: str = "", wrapped: bool = False) -> None:
        self.console.print(Text(line, style=style), soft_wrap=not (wrapped and self.console.is_terminal))

    def drawn(self) -> Group:
        """What runs now: a bar with stage, steps and time, and a row for each step."""
        now, width = self.clock(), self.console.width
        running = sorted(self.running.values(), key=lambda step: not step.row)  # first those that say something
        total, done = self.plan.jobs.total(), self.plan.done
        left, known = self.plan.left(running, now)
        words = [f"{done} of {counted(total)}", seconds(now - self.plan.began)]
        if left >= 1:
            words.append(about(left) if known else f"more than {about(left).removeprefix('about ')}")
        stage = ", ".join(dict.fromkeys(self.stages[step.rule] for step in running)) or self.stage
        head = Table.grid(padding=(0, 2), expand=False)
        bar = ProgressBar(total=max(1, total), completed=done, width=max(10, min(40, width // 4)))
        head.add_row(Text(stage, style="bold", no_wrap=True), bar, Text("  ".join(words), no_wrap=True))
        rows = [fitted(step.label, step.text(), step.left(now), width) for step in running[:ROWS]]
        more = len(running) - ROWS
        return Group(head, *rows, *[Text(f"  and {more} more")] * (more > 0))


def fitted(label: str, text: str, left: float | None, width: int) -> Text:
    """A row of one line, at most `width` wide: of what does not fit, the label's end goes first."""
    rest = "  ".join(filter(None, [text, "" if left is None else about(left)]))
    room = max(12, width - 5 - len(rest))
    label = label if len(label) <= room else label[: room - 1] + "…"
    row = Text("  ".join(["", label, *filter(None, [rest])]), no_wrap=True, overflow="ellipsis")
    row.truncate(width - 1)
    return row


def counted(steps: int) -> str:
    """A number of steps in words."""
    return f"{steps} step{'s' * (steps != 1)}"


def seconds(value: float) -> str:
    """A time that was measured, of `value` seconds."""
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def about(value: float) -> str:
    """A time that is estimated, of `value` seconds, rounded up."""
    if value <= 10:
        return "about 10 s left"
    if value <= 50:
        return f"about {-int(-value // 10) * 10} s left"
    minutes = -int(-value // 60)
    if minutes < 60:
        return f"about {minutes} min left"
    tens = -(-minutes // 10) * 10
    return f"about {tens // 60} h {tens % 60} min left" if tens % 60 else f"about {tens // 60} h left"
