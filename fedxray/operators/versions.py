"""The versions of a model that hospitals use: `registry.csv` says which is the current one and why, and `current` leads
there.

    models/registry.csv     a row for each promotion and rollback; the last one's version is the current one
    models/<version>/       the exported model, read-only; its config.json has the lineage, gate.csv what it passed
    models/current          a link to the current version, made after the registry; the next command repairs it
"""

import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from fedxray.analysis.gate import CALIBRATION, DIFFERENCE, EPSILON, Rules, data_of, read_gate, refusals
from fedxray.core.errors import UserError
from fedxray.core.files import read_table, sha256, write_json, write_table
from fedxray.experiment.folder import Folder
from fedxray.training.exported import CONFIG, LINEAGE, MODEL, read_config

PROMOTED, ROLLED_BACK = "promoted", "rolled back"
COLUMNS = (
    *("event", "version", "parent", "experiment", "model_sha256", "data", "rules_sha256", "gate_sha256"),
    *("worst_hospital", "worst_difference", "worst_low", "margin"),
    *("worst_calibration", "calibration_bound", "epsilon", "epsilon_bound", "who", "when"),
)


class Current(NamedTuple):
    """The version in use: its number, and the SHA-256 of its model."""

    version: str
    model_sha256: str


def promote(results: Path, models: Path, who: str) -> str:
    """Make the exported model of an experiment's folder the current version of `models`; returns its number.

    The first version needs no gate. Any other must have passed one, of this model, against the current version. Raises
    UserError, and changes nothing, if it did not, or if files do not belong together.
    """
    folder, model = Folder(results), Folder(results).model
    config = read_config(model)
    for name, digest in config["sha256"].items():
        if not _is(model / name, digest):
            raise UserError(f"{model / name}: not the file that {CONFIG} was written for (SHA-256); export it again")
    _check_name(who)
    if not folder.registry.exists():
        raise UserError(f"{folder.registry}: missing, and says which data a version is of; run the workflow again")
    with _locked(models):
        rows = _rows(models)
        current = _current(rows)
        digest = config["sha256"].get(MODEL)
        if not digest:
            raise UserError(f"{model}: its config.json has no checksum of {MODEL}; export the model again")
        known = {row["model_sha256"]: row["version"] for row in rows if row["event"] == PROMOTED}
        if digest in known:
            there = known[digest]
            raise UserError(f"{model}: version {there} already; to use it again: fedxray-server rollback --to {there}")
        passed = _passed(folder, current, digest)
        version = str(1 + max((int(row["version"]) for row in rows), default=0))
        if (models / version).exists():
            raise UserError(
                f"{models / version}: there, but not in the registry, so a promotion was cut short; remove it"
            )
        data = data_of(read_table(folder.registry), config["cohort"], _sites(folder, config["cohort"]))
        row = dict.fromkeys(COLUMNS, "") | passed | {"event": PROMOTED, "version": version, "model_sha256": digest}
        row |= {"parent": current.version if current else "", "experiment": config["experiment"]}
        row |= {"data": json.dumps(data, sort_keys=True), "who": who, "when": _now()}
        keys = ("version", "parent", "rules_sha256", "gate_sha256", "who", "when")
        lineage = {key: row[key] for key in keys} | {"data": data}
        _copy(folder, models / version, config | {LINEAGE: lineage}, gated=bool(current))
        _enter(models, [*rows, row])
    return version


def rollback(models: Path, who: str, to: str = "") -> str:
    """Make `to`, or the parent of the current version, the current one again; returns its number.

    Raises UserError, and changes nothing, if there is none, or if it is no longer what was promoted.
    """
    _check_name(who)
    if not (models / "registry.csv").exists():
        raise UserError(f"{models / 'registry.csv'}: missing; promote a model first")
    with _locked(models):
        rows = _rows(models)
        current = _current(rows)
        assert current is not None  # a registry has a row
        promoted = {row["version"]: row for row in rows if row["event"] == PROMOTED}
        to = to or promoted[current.version]["parent"]
        if not to:
            raise UserError(f"{models}: version {current.version} is the first, and replaced none; say which by --to")
        if to not in promoted:
            raise UserError(f"{models}: no version {to}; there are {', '.join(promoted)}")
        if to == current.version:
            raise UserError(f"{models}: version {to} is the current one already")
        _verify(models / to, promoted[to]["model_sha256"])
        row = dict.fromkeys(COLUMNS, "") | {"event": ROLLED_BACK, "version": to, "parent": current.version}
        row |= {key: promoted[to][key] for key in ("experiment", "model_sha256", "data")}
        _enter(models, [*rows, row | {"who": who, "when": _now()}])
    return to


def _passed(folder: Folder, current: Current | None, digest: str) -> dict:
    """What the registry says of the gate that the model `digest` passed against `current`; nothing of a first one."""
    if not current:
        if folder.gate_rules.exists():
            raise UserError(f"{folder.gate}: of a predecessor that is no version here; promote that one first")
        return {}
    if not folder.gate_rules.exists():
        raise UserError(
            f"{folder.gate_rules}: missing, so no gate was written before the test sets were read; run a new "
            f"experiment with promotion.predecessor, version {current.version}"
        )
    rules = Rules.read(folder.gate_rules)
    gate = read_gate(folder.gate, rules)
    if {*gate["candidate_sha256"]} != {digest}:
        raise UserError(f"{folder.gate}: of another model than {folder.model}; run the workflow again")
    if {*gate["predecessor_sha256"], rules.predecessor_sha256} != {current.model_sha256}:
        raise UserError(
            f"{folder.gate}: judged against another model than the current version {current.version}; run an "
            "experiment whose promotion.predecessor is that"
        )
    if why := refusals(gate):
        raise UserError(f"{folder.gate}: the gate does not hold: {' '.join(why)}")
    differences, errors = (gate[gate["what"] == what] for what in (DIFFERENCE, CALIBRATION))
    worst = differences.loc[differences["low"].idxmin()]
    spent = gate["value"][gate["what"] == EPSILON]
    return {
        "rules_sha256": rules.sha256,
        "gate_sha256": sha256(folder.gate),
        **{"worst_hospital": worst["hospital"], "worst_difference": worst["value"], "worst_low": worst["low"]},
        **{"margin": rules.margin, "worst_calibration": errors["value"].max(), "calibration_bound": rules.calibration},
        **{"epsilon": spent.iloc[0] if rules.epsilon else "", "epsilon_bound": rules.epsilon or ""},
    }


def _sites(folder: Folder, cohort: str) -> list[str]:
    """The sites whose data the registry of an experiment has, of a cohort."""
    table = read_table(folder.registry, ("site",))
    return [str(site) for site in (table[table["cohort"] == cohort] if "cohort" in table else table)["site"]]


def _copy(folder: Folder, version: Path, config: dict, gated: bool) -> None:
    """Copy the exported model, with its gate, into `version`: whole or not at all, and nobody may write its files."""
    scratch = version.with_name(f".{version.name}.tmp")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    for path in [folder.model / name for name in config["sha256"]] + [folder.gate_rules, folder.gate] * gated:
        shutil.copyfile(path, scratch / path.name)
    write_json(scratch / CONFIG, config)
    for name, digest in config["sha256"].items():
        if sha256(scratch / name) != digest:
            raise UserError(f"{folder.model / name}: changed while it was copied; promote again")
    for path in scratch.iterdir():
        path.chmod(0o444)
    scratch.rename(version)


def _is(path: Path, digest: str) -> bool:
    """Whether a file is there and has this SHA-256."""
    return path.is_file() and sha256(path) == digest


def _verify(version: Path, digest: str) -> None:
    """Raise UserError if the files of a version are not what was promoted, of which `digest` is the model."""
    config = read_config(version)
    wrong = [name for name, value in config["sha256"].items() if not _is(version / name, value)]
    if wrong or config["sha256"][MODEL] != digest:
        raise UserError(f"{version / (wrong or [MODEL])[0]}: not what was promoted (SHA-256); put the file back")


@contextmanager
def _locked(models: Path) -> Iterator[None]:
    """Hold the folder `models`, which is made, against a second command; and let `current` lead where it should."""
    models.mkdir(parents=True, exist_ok=True)
    with (models / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(f"{models}: another promote or rollback is at work; try again when it has ended") from error
        _point(models)
        yield


def _rows(models: Path) -> list[dict]:
    """The rows of the registry, as text; none if it is not there. Raises UserError if it has another form."""
    path = models / "registry.csv"
    if not path.exists():
        return []
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        rows = table.to_dict("records") if tuple(table) == COLUMNS else []
    except ValueError:  # empty, or no text
        rows = []
    promoted = {row["version"] for row in rows if row["event"] == PROMOTED}
    if not rows or any(
        not re.fullmatch("[1-9][0-9]*", row["version"]) or row["version"] not in promoted for row in rows
    ):
        raise UserError(f"{path}: not a registry of versions; put the file back")
    return rows


def _current(rows: Sequence[dict]) -> Current | None:
    """The current version, by the rows of the registry; None if there is none yet."""
    return Current(rows[-1]["version"], rows[-1]["model_sha256"]) if rows else None


def _enter(models: Path, rows: list[dict]) -> None:
    """Write the registry, which is the moment at which the current version changes, and then the link."""
    write_table(models / "registry.csv", pd.DataFrame(rows, columns=list(COLUMNS)))
    _point(models)


def _point(models: Path) -> None:
    """Let `current` lead to the current version, in one step."""
    current, link = _current(_rows(models)), models / "current"
    if current and not (link.is_symlink() and os.readlink(link) == current.version):
        temporary = models / ".current.tmp"
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(current.version)
        os.replace(temporary, link)


def _check_name(who: str) -> None:
    if not who.strip() or not who.isprintable():
        raise UserError(f"--who {who!r}: name who decides, in one line, such as --who 'A. Meyer'")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
