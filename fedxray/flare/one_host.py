"""A federation on this machine: server and sites as separate processes over mutual TLS, from private copies of kits."""

import json
import os
import shutil
import socket
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from fedxray.core.errors import UserError
from fedxray.core.files import read_json, write_json
from fedxray.experiment.sweep import sites_of
from fedxray.flare.guard import guarded, process
from fedxray.flare.job import Policy, add_waits
from fedxray.flare.kits import ADMIN, SERVER, check_kits
from fedxray.flare.session import Server

POLL_S = 0.3
ENDED_S = 0.2  # how often the server's process of a job looks whether it has ended; NVFlare's own is 3 s


@dataclass(frozen=True)
class LocalFederation:
    """Where the kits and the data lie, and how long to wait."""

    kits: Path  # the folder of kits.json
    folders: dict[str, Path]  # each site's directory of data
    shared: Path  # the server's: the shared validation set
    tensorboard: Path | None = None  # where scalars arrive live
    start_timeout_s: int = 120
    policy: Policy = field(default_factory=Policy)

    registered: ClassVar[dict] = {}  # each participant reads what it is given
    here: ClassVar[bool] = True

    @property
    def sites(self) -> list[str]:
        """Their names."""
        return list(self.folders)

    @contextmanager
    def open(self, workspace: Path, threads: int, say: Callable[[str], None]) -> Iterator[Server]:
        """Start every process in `workspace`, and end them all at the end."""
        check_kits(self.kits, self.sites)
        own = {SERVER: {"data": str(self.shared.resolve())}, ADMIN: {}}
        if self.tensorboard:
            shutil.rmtree(self.tensorboard, ignore_errors=True)
            own[SERVER]["tensorboard"] = str(self.tensorboard.resolve())
        own |= {site: {"data": str(folder.resolve())} for site, folder in self.folders.items()}
        holder = hold_port()
        for name, values in own.items():
            _copy_kit(self.kits / "kits" / name, name, values, workspace / name, holder.getsockname()[1])
        gpus = share_gpus([*self.sites, SERVER], os.environ.get("CUDA_VISIBLE_DEVICES"))  # a cluster sets it
        if gpus:
            say("GPUs: " + ", ".join(f"{name} {gpu}" for name, gpu in gpus.items()))
        with holder, guarded(_processes(workspace, self.sites, gpus), {"OMP_NUM_THREADS": str(threads)}) as ended:

            def errors(names: list[str]) -> str:
                return last_error(workspace, names or [SERVER, *self.sites])

            def alive() -> None:
                for name, code in ended():
                    raise UserError(f"{name} ended with exit code {code}: {last_error(workspace, [name])}")

            admin = workspace / ADMIN
            with Server(admin, self.start_timeout_s, POLL_S, say, alive, errors, lasting=False) as server:
                yield server


def add_options(parser: ArgumentParser) -> None:
    """Let a script take the federations of an experiment, one for each cohort, on its command line."""
    parser.add_argument("--experiment", required=True, help="the configuration as JSON: its sites, seeds, sweep, ...")
    parser.add_argument("--kits", type=Path, required=True, help="kits.json of provision_federation")
    parser.add_argument("--sites", type=Path, required=True, help="the folder of all sites' data")
    add_waits(parser)


def of_cohort(cohort: str, options: Namespace) -> LocalFederation:
    """The federation of `add_options` whose sites have the data of the cohort in this folder."""
    folder = options.sites / cohort
    return LocalFederation(
        kits=options.kits.parent,
        folders={site: folder / site for site in sites_of(cohort, json.loads(options.experiment))},
        shared=folder / "shared",
        start_timeout_s=options.start_timeout_s,
        policy=Policy(options.round_timeout_s),
    )


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
            config["servers"][0] |= {"admin_port": port, "check_engine_frequency": ENDED_S}
        write_json(path, config)
    if name == SERVER:  # its stores lie under /tmp by default, where two servers would meet
        path = kit / "local" / "resources.json"
        path.write_text(path.read_text().replace("/tmp/nvflare", str((kit / "store").resolve())))
    if name != ADMIN:
        (kit / "transfer").mkdir(exist_ok=True)
        write_json(kit / "local" / "fedxray.json", own)


def hold_port() -> socket.socket:
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


def _processes(workspace: Path, sites: list[str], gpus: dict[str, str]) -> list[dict]:
    """The server's and the sites' processes, as `guarded` takes them."""
    found = []
    for name in (SERVER, *sites):
        kind, org = ("client", name.replace("-", "_")) if name in sites else ("server", "fedxray")
        env = {"CUDA_VISIBLE_DEVICES": gpus[name]} if name in gpus else {}
        found.append(process(workspace / name, kind, name, org, workspace / name / "out.txt", env))
    return found


def last_error(workspace: Path, names: list[str]) -> str:
    """The last error that one of `names` logged, sites before the server: a site's failure is the server's cause."""
    for name in sorted(names, key=lambda name: name == SERVER):
        for path in sorted((workspace / name).rglob("error_log.txt"), key=lambda path: -len(path.parts)):
            said = path.read_text(errors="replace").splitlines()
            lines = [line for line in said if " - ERROR - " in line and " - CoreCell - " not in line]  # a late message
            if lines:
                return f"{name}: {lines[0].split(' - ')[-1]}"
    for name in names:
        lines = (workspace / name / "out.txt").read_text(errors="replace").strip().splitlines()
        if lines and "Error" in lines[-1]:
            return f"{name}: {lines[-1]}"
    return "no error was logged; see the log of this rule"
