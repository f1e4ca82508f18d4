"""The record of a benchmark: one JSON file for each machine, to which each row is added when it ends."""

import subprocess
import time
import traceback
from collections.abc import Callable
from pathlib import Path

from benchmarks.environment import versions
from benchmarks.measure import ROOT, Failed, shown
from fedxray.core.files import read_json, write_json
from fedxray.training.place import machine


def record(path: Path, rows: dict[str, Callable], quick: bool, again: bool) -> dict:
    """Run each of `rows` whose result for this commit is not in `path`, and write it there when it ends; returns all.

    A row that fails is recorded as failed, with its reason, and the next one runs.
    """
    book = read_json(path) if path.exists() else {"rows": {}}
    book |= {"machine": machine(), "quick": quick}
    for name, row in rows.items():
        if not again and _is_done(book["rows"].get(name)):
            print(f"{name}: done already, at this commit", flush=True)
            continue
        book["rows"][name] = _attempt(name, row, quick)
        book["versions"] = versions()  # a row may have installed an alternative
        write_json(path, book)
    return book


def _is_done(outcome: dict | None) -> bool:
    """Whether a row is done at this commit. With uncommitted changes it never is: nobody could say what it measured."""
    return bool(outcome) and outcome["status"] == "done" and outcome["commit"] == commit() and "+" not in commit()


def _attempt(name: str, row: Callable, quick: bool) -> dict:
    print(f"{name}: {row.__doc__.splitlines()[0]}", flush=True)
    start = time.perf_counter()
    try:
        outcome = {"status": "done"} | row(quick)
    except Exception as error:
        reason = str(error) if isinstance(error, Failed) else "".join(traceback.format_exception(error))
        outcome = {"status": "failed", "reason": reason[-2000:]}
    outcome |= {"commit": commit(), "seconds": round(time.perf_counter() - start, 1), "date": time.strftime("%Y-%m-%d")}
    for check in outcome.get("checks", []):
        print(f"  {sentence(check)}", flush=True)
    if outcome["status"] != "done":
        print(f"  {outcome['status']}: {outcome['reason']}", flush=True)
    return outcome


def commit() -> str:
    """The commit that is measured, with `+` if the library or the benchmarks differ from it."""
    git = ["git", "-C", str(ROOT)]
    done = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    code = ["fedxray", "scripts", "rules", "config", "benchmarks/*.py"]
    changed = subprocess.run([*git, "status", "--porcelain", "--", *code], capture_output=True, text=True)
    return done.stdout.strip() + ("+" if changed.stdout.strip() else "")


def sentence(check: dict) -> str:
    """A check in words: `what: 2.71 [2.60, 2.80], at least 2.5: met`."""
    text = f"{check['what']}: {measured(check)}"
    return text if check["met"] is None else f"{text}, {target(check)}: {verdict(check)}"


def measured(check: dict) -> str:
    """The middle of what was measured and its range."""
    low, high = shown(check["low"]), shown(check["high"])
    return shown(check["value"], check["unit"]) + (f" [{low}, {high}]" if low != high else "")


def target(check: dict) -> str:
    """The target in words; a dash if there is none."""
    return f"{check['sense']} {check['bound']:g} {check['unit']}".strip() if check["sense"] else "–"


def verdict(check: dict) -> str:
    """met, missed, or a dash."""
    return {True: "met", False: "missed", None: "–"}[check["met"]]
