"""A federated job on this machine: server and sites as separate processes over mutual TLS, from their kits."""

import json
import os
import select
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fedxray.errors import UserError
from fedxray.federation.job import write_evaluation, write_training
from fedxray.federation.kits import ADMIN, SERVER, check_kits
from fedxray.federation.rounds import line_of
from fedxray.files import read_json, write_json
from fedxray.models import Parameters, get_parameters, load_model
from fedxray.tensorboard import SCALARS, count_scalars
from fedxray.training import Settings

MAIN = {
    SERVER: ("nvflare.private.fed.app.server.server_train", "fed_server.json"),
    "site": ("nvflare.private.fed.app.client.client_train", "fed_client.json"),
}


@dataclass(frozen=True)
class Federation:
    """Where the kits and the data lie, and how long to wait."""

    kits: Path  # the folder of kits.json
    sites: dict[str, Path]  # each site's directory of data
    shared: Path  # the server's: the shared validation set
    start_timeout_s: int = 120
    round_timeout_s: int = 3600


def train(
    federation: Federation,
    settings: Settings,
    rounds: int,
    local_epochs: int,
    tensorboard: Path,
    workspace: Path,
    say: Callable[[str], None] = print,
) -> tuple[Parameters, list[dict], dict]:
    """Train by one job and return (the model, the record of each round, the checks that it passed).

    Scalars arrive live in `tensorboard`. `workspace` is private to the run (0700: it holds copies of keys) and the
    caller removes it. Raises UserError, with the last error of the site that failed, if the job did not do all that it
    should have.
    """
    sites, workspace = list(federation.sites), workspace.resolve()  # NVFlare changes its directory
    shutil.rmtree(tensorboard, ignore_errors=True)
    job = write_training(workspace / "job", settings, sites, rounds, local_epochs, federation.round_timeout_s)
    server = {"tensorboard": str(tensorboard.resolve())}
    result = _run(federation, job, server, settings.threads, workspace, rounds, say)
    records = [json.loads(line) for line in (result / "rounds.jsonl").read_text().splitlines()]
    parameters = load_model(result / "model.safetensors")
    return parameters, records, _check(parameters, records, sites, tensorboard, settings, rounds, local_epochs)


def evaluate(federation: Federation, settings: Settings, models: dict[str, dict], workspace: Path) -> dict:
    """NVFlare's cross-site evaluation of `models` ({name: {path, threshold}}): {name: {site: {metric: value}}}.

    Each site evaluates each model on its own test set, and metrics alone leave it. Raises UserError as `train` does.
    """
    workspace = workspace.resolve()
    job = write_evaluation(workspace / "job", settings, list(federation.sites), federation.round_timeout_s)
    server = {"models": {name: model | {"path": str(Path(model["path"]).resolve())} for name, model in models.items()}}
    result = _run(federation, job, server, settings.threads, workspace, 0, print)
    found = read_json(result / "cross_site_val" / "cross_val_results.json")
    asked = [(site, name) for name in models for site in federation.sites]
    if missing := [f"{site} of {name}" for site, name in asked if not found.get(site, {}).get(f"SRV_{name}")]:
        raise UserError(f"cross-site evaluation: no metrics from {missing[0]}: {_last_error(workspace, [SERVER])}")
    return {name: {site: found[site][f"SRV_{name}"] for site in federation.sites} for name in models}


def _run(
    federation: Federation, job: Path, server: dict, threads: int, workspace: Path, rounds: int, say: Callable
) -> Path:
    """Start everything, run one job to its end, stop everything; returns the folder of its results."""
    sites = list(federation.sites)
    check_kits(federation.kits, sites)
    holder = _hold_port()
    port = holder.getsockname()[1]
    own = {SERVER: {"data": str(federation.shared.resolve())} | server, ADMIN: {}}
    own |= {site: {"data": str(folder.resolve())} for site, folder in federation.sites.items()}
    for name, values in own.items():
        _copy_kit(federation.kits / "kits" / name, name, values, workspace / name, port)
    with (
        holder,
        _processes(workspace, sites, threads) as ended,
        _session(federation, workspace, port, ended) as session,
    ):
        _wait_for_sites(session, sites, federation.start_timeout_s, workspace, ended)
        say(f"{len(sites)} sites registered: {', '.join(sites)}")
        job_id = session.submit_job(str(job))
        status = _follow(session, job_id, workspace, ended, rounds, say)
        if status != "FINISHED:COMPLETED":
            raise UserError(f"federated job ended as {status}: {_last_error(workspace, [SERVER, *sites])}")
        return Path(session.download_job_result(job_id, str(workspace / "result"))) / "workspace"


@contextmanager
def private(workspace: Path, say: Callable[[str], None]):
    """An empty folder for `train` or `evaluate`, removed on every way out, with every log said first on failure."""
    shutil.rmtree(workspace, ignore_errors=True)
    workspace.mkdir(mode=0o700, parents=True)
    try:
        yield workspace
    except BaseException:
        say(log_of(workspace))
        raise
    finally:
        shutil.rmtree(workspace, ignore_errors=True)


def _copy_kit(source: Path, name: str, own: dict, kit: Path, port: int) -> None:
    """A private copy of a kit, aimed at `port`, with its own settings and nothing shared between two runs."""
    shutil.copytree(source, kit)
    for path in (kit / "startup").glob("fed_*.json"):
        config = read_json(path)
        if name == ADMIN:
            config["admin"]["port"] = port
        else:
            config["servers"][0]["service"]["target"] = f"localhost:{port}"
        if name == SERVER:
            config["servers"][0]["admin_port"] = port
        write_json(path, config)
    if name == SERVER:  # its stores lie under /tmp by default, where two servers would meet
        path = kit / "local" / "resources.json"
        path.write_text(path.read_text().replace("/tmp/nvflare", str((kit / "store").resolve())))
    if name != ADMIN:
        (kit / "transfer").mkdir(exist_ok=True)
        write_json(kit / "local" / "fedxray.json", own)


def _hold_port() -> socket.socket:
    """A socket that holds a free port for a server to share, so that no other run on this machine draws it.

    gRPC lets several servers listen on one port: two runs that drew the same one would mix up their sites, unnoticed.
    """
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    holder.bind(("localhost", 0))
    return holder


def share_gpus(names: list[str], visible: str | None) -> dict[str, str]:
    """Each process's CUDA_VISIBLE_DEVICES, of `names` in turn and `visible`, the run's own; empty if that is not set.

    With as many GPUs as processes each has one of its own; with fewer, they share.
    """
    gpus = [gpu.strip() for gpu in (visible or "").split(",") if gpu.strip()]
    return {name: gpus[number % len(gpus)] for number, name in enumerate(names)} if gpus else {}


@contextmanager
def _processes(workspace: Path, sites: list[str], threads: int):
    """Start the server and the sites under a guard; yields a function that returns the ended ones, [(name, code)]."""
    specs = []
    gpus = share_gpus([*sites, SERVER], os.environ.get("CUDA_VISIBLE_DEVICES"))  # a cluster sets it to the job's
    for name in (SERVER, *sites):
        module, config = MAIN.get(name, MAIN["site"])
        kit = workspace / name
        argv = [sys.executable, "-u", "-m", module, "-m", str(kit), "-s", config, "--set", "secure_train=true"]
        argv += [f"org={name.replace('-', '_') if name in sites else 'fedxray'}", "config_folder=config"]
        argv += [f"uid={name}"] if name in sites else []
        env = {"OMP_NUM_THREADS": str(threads), "MALLOC_ARENA_MAX": "4"}
        env |= {"CUDA_VISIBLE_DEVICES": gpus[name]} if name in gpus else {}
        specs.append({"name": name, "argv": argv, "env": env, "log": str(kit / "out.txt")})
    guard = subprocess.Popen(
        [sys.executable, "-m", "fedxray.federation.guard"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )

    def ended() -> list[tuple[str, int]]:
        lines = []
        while select.select([guard.stdout], [], [], 0)[0] and (line := guard.stdout.readline()):
            lines.append(json.loads(line))
        return [(line["name"], line["code"]) for line in lines]

    try:
        guard.stdin.write(json.dumps(specs) + "\n")
        guard.stdin.flush()
        yield ended
    finally:
        guard.stdin.close()
        guard.wait()


@contextmanager
def _session(federation: Federation, workspace: Path, port: int, ended: Callable):
    """The admin's session with the server, as soon as that answers."""
    from nvflare.fuel.flare_api.flare_api import new_secure_session

    deadline = time.monotonic() + federation.start_timeout_s
    while True:
        _check_alive(ended, workspace)
        try:
            socket.create_connection(("localhost", port), timeout=1).close()  # or NVFlare logs each failed attempt
            session = new_secure_session(ADMIN, str(workspace / ADMIN), timeout=5.0)
            break
        except Exception as error:
            if time.monotonic() > deadline:
                raise UserError(f"the server did not answer in {federation.start_timeout_s} s: {error}") from error
            time.sleep(0.2)
    try:
        yield session
    finally:
        session.close()  # or its threads keep the process from exiting


def _wait_for_sites(session, sites: list[str], timeout_s: int, workspace: Path, ended: Callable) -> None:
    deadline = time.monotonic() + timeout_s
    while missing := set(sites) - {client.name for client in session.get_system_info().client_info}:
        _check_alive(ended, workspace)
        if time.monotonic() > deadline:
            names = sorted(missing)
            raise UserError(f"not registered in {timeout_s} s: {', '.join(names)}: {_last_error(workspace, names)}")
        time.sleep(0.2)


def _follow(session, job_id: str, workspace: Path, ended: Callable, rounds: int, say: Callable) -> str:
    """Say one line per round until the job has ended; returns its status."""
    path, said = workspace / SERVER / job_id / "rounds.jsonl", 0
    while True:
        _check_alive(ended, workspace)
        status = str(session.get_job_meta(job_id).get("status"))
        lines = path.read_text().splitlines() if path.exists() else []
        for line in lines[said:]:
            say(line_of(json.loads(line), rounds))
        said = len(lines)
        if status.startswith("FINISHED"):
            return status
        time.sleep(0.3)


def _check_alive(ended: Callable, workspace: Path) -> None:
    """Raise UserError if the server or a site has ended before the job."""
    for name, code in ended():
        raise UserError(f"{name} ended with exit code {code}: {_last_error(workspace, [name])}")


def _last_error(workspace: Path, names: list[str]) -> str:
    """The last error that one of `names` logged, sites before the server: a site's failure is the server's cause."""
    for name in sorted(names, key=lambda name: name == SERVER):
        for path in sorted((workspace / name).rglob("error_log.txt"), key=lambda path: -len(path.parts)):
            lines = [line for line in path.read_text(errors="replace").splitlines() if " - ERROR - " in line]
            if lines:
                return f"{name}: {lines[0].split(' - ')[-1]}"
    for name in names:
        lines = (workspace / name / "out.txt").read_text(errors="replace").strip().splitlines()
        if lines and "Error" in lines[-1]:
            return f"{name}: {lines[-1]}"
    return "no error was logged; see the log of this rule"


def _check(
    parameters: Parameters,
    records: list[dict],
    sites: list[str],
    tensorboard: Path,
    settings: Settings,
    rounds: int,
    local_epochs: int,
) -> dict:
    """What the job should have done, each shown in its results; raises UserError for what it did not."""
    initial = get_parameters(settings.build())
    streamed = {site: sum(count_scalars(tensorboard / site).values()) for site in sites}
    recorded = {site: sum(len(SCALARS) * len(record["sites"].get(site, [])) for record in records) for site in sites}
    checks = {
        "completed": True,  # or `_run` raised
        "rounds": [record["round"] for record in records] == list(range(1, rounds + 1)),
        "sites_in_every_round": all(sorted(record["images"]) == sorted(sites) for record in records),
        "model_changed": any(not np.array_equal(initial[name], parameters[name]) for name in initial),
        "epochs_recorded": all(count == len(SCALARS) * rounds * local_epochs for count in recorded.values()),
        "scalars_streamed": streamed == recorded,
    }
    if failed := [name for name, passed in checks.items() if not passed]:
        raise UserError(f"federated job completed, but failed its checks: {', '.join(failed)}")
    return checks | {"streamed_scalars": streamed}


def log_of(workspace: Path) -> str:
    """Every process's log, for the rule's log of a run that failed; keys are not in them."""
    parts = []
    for path in sorted(workspace.glob("*/out.txt")):
        parts.append(f"===== {path.parent.name} =====\n{path.read_text(errors='replace')}")
    return os.linesep.join(parts)
