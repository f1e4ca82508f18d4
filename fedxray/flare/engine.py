"""What a federation is asked to do, wherever it runs: train, evaluate, and say what data its sites hold."""

import os
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from fedxray.core.errors import UserError
from fedxray.core.files import read_json
from fedxray.core.parameters import Parameters, load_model
from fedxray.experiment.settings import Settings
from fedxray.federation.records import epochs_of
from fedxray.flare.job import Policy, write_evaluation, write_registration, write_training
from fedxray.flare.session import Server


class Federation(Protocol):
    """A federation that jobs can be submitted to: `LocalFederation` or `RemoteFederation`."""

    sites: list[str]
    registered: dict  # {participant: checksums of its data card} that a job insists on
    policy: Policy
    start_timeout_s: int
    here: bool  # whether it runs on this machine: then all that is streamed arrives, and its energy can be read

    def open(self, workspace: Path, threads: int, say: Callable[[str], None]) -> AbstractContextManager[Server]:
        """Its server, as long as the context lasts; `workspace` is private to the run, and may hold keys."""


def train(
    federation: Federation,
    settings: Settings,
    rounds: int,
    local_epochs: int,
    workspace: Path,
    say: Callable[[str], None] = print,
    live: str = "",
) -> tuple[Parameters, list[dict], dict, dict]:
    """Train by one job; returns (the model, the record of each round, the checks that it passed, where the server is).

    Scalars arrive live in the folder `live` below the server's TensorBoard folder. `workspace` is private to the run
    (0700: it may hold copies of keys) and the caller removes it. Raises UserError, with why, if the job did not do all
    that it should have.
    """
    sites, workspace = list(federation.sites), workspace.resolve()  # NVFlare changes its directory
    content = settings, sites, rounds, local_epochs
    job = write_training(workspace / "job", *content, federation.policy, federation.registered, live)
    with federation.open(workspace, settings.threads, say) as server:
        _gather(server, federation, federation.policy.needed(sites), say)
        job_id, result = server.run(job, rounds, workspace / "result")
        found, parameters = read_json(result / "rounds.json"), load_model(result / "model.safetensors")
        checks = _check(found, federation, *content)
        server.forget(job_id)
    return parameters, found["rounds"], checks, found["place"]


def evaluate(
    federation: Federation,
    models: dict[str, tuple[Path, Settings]],
    workspace: Path,
    say: Callable[[str], None] = print,
) -> tuple[dict[str, dict], dict[str, float]]:
    """NVFlare's cross-site evaluation of `models`: ({name: {site: {metric: value}}}, {name: threshold}).

    The server chooses each model's threshold on its validation set; each site evaluates each model on its own test set,
    and metrics alone leave it. Raises UserError as `train` does.
    """
    sites, names, workspace = list(federation.sites), list(models), workspace.resolve()
    timeout_s, wanted = federation.policy.round_timeout_s, list(models.values())
    job = write_evaluation(workspace / "job", wanted, sites, timeout_s, federation.registered)
    with federation.open(workspace, wanted[0][1].threads, say) as server:
        _gather(server, federation, len(sites), say)
        job_id, result = server.run(job, 0, workspace / "result")
        found = read_json(result / "cross_site_val" / "cross_val_results.json")
        asked = [(site, number) for number in range(len(names)) for site in sites]
        if missing := [(site, number) for site, number in asked if not found.get(site, {}).get(f"SRV_{number}")]:
            site, number = missing[0]
            raise UserError(
                f"cross-site evaluation: no metrics of {names[number]} from {server.reason(result, [site])}"
            )
        thresholds = read_json(result / "thresholds.json")
        server.forget(job_id)
    metrics = {name: {site: found[site][f"SRV_{number}"] for site in sites} for number, name in enumerate(names)}
    return metrics, {name: thresholds[str(number)] for number, name in enumerate(names)}


def register(federation: Federation, workspace: Path, say: Callable[[str], None] = print) -> dict[str, dict]:
    """The data cards of every site and of the shared validation set (`shared`), by name."""
    sites, workspace = list(federation.sites), workspace.resolve()
    job = write_registration(workspace / "job", sites, federation.policy.round_timeout_s)
    with federation.open(workspace, 1, say) as server:
        _gather(server, federation, len(sites), say)
        job_id, result = server.run(job, 0, workspace / "result")
        cards = read_json(result / "cards.json")
        server.forget(job_id)
    return cards


@contextmanager
def private(workspace: Path, say: Callable[[str], None]):
    """An empty folder for a job, removed on every way out; if it failed, every log in it is said first."""
    shutil.rmtree(workspace, ignore_errors=True)
    workspace.mkdir(mode=0o700, parents=True)
    try:
        yield workspace
    except Exception:
        say(log_of(workspace))
        raise
    finally:
        shutil.rmtree(workspace, ignore_errors=True)


def log_of(workspace: Path) -> str:
    """Every process's log, for the rule's log of a run that failed; keys are not in them."""
    parts = []
    for path in sorted(workspace.glob("*/out.txt")):
        parts.append(f"===== {path.parent.name} =====\n{path.read_text(errors='replace')}")
    return os.linesep.join(parts)


def _gather(server: Server, federation: Federation, needed: int, say: Callable[[str], None]) -> None:
    """Wait for the sites, and say who is there and who is not."""
    there = server.wait_for(federation.sites, needed, federation.start_timeout_s)
    missing = [site for site in federation.sites if site not in there]
    say(f"{len(there)} sites registered: {', '.join(there)}" + f"; without {', '.join(missing)}" * bool(missing))


def _check(
    found: dict,
    federation: Federation,
    settings: Settings,
    sites: list[str],
    rounds: int,
    local_epochs: int,
) -> dict:
    """What the job should have done, each shown in its results; raises UserError for what it did not."""
    records = found["rounds"]
    needed, own = federation.policy.needed(sites), records[found["resumed"] :]
    everyone = all(sorted([*record["sites"], *record["absent"]]) == sorted(sites) for record in records)
    checks = {
        "completed": True,  # or `Server.run` raised
        "rounds": [record["round"] for record in records] == list(range(1, rounds + 1)),
        "sites_in_every_round": everyone and all(len(record["sites"]) >= needed for record in records),
        "model_changed": found["changed"],
        "epochs_recorded": all(len(rows) == local_epochs for record in records for rows in record["sites"].values()),
        "epochs_streamed": found["streamed"] == epochs_of(own) or not federation.here,
    }
    if failed := [name for name, passed in checks.items() if not passed]:
        raise UserError(f"federated job completed, but failed its checks: {', '.join(failed)}")
    absences = {record["round"]: record["absent"] for record in records if record["absent"]}
    notes = {"streamed_epochs": found["streamed"], "absent": absences, "resumed_after_round": found["resumed"]}
    return checks | {name: note for name, note in notes.items() if note}
