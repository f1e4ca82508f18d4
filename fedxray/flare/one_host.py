"""A federation on this machine: server and sites as separate processes over mutual TLS, from private copies of kits."""

import logging
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from fedxray.core.errors import FULL, UserError
from fedxray.core.files import full, naming, read_json, write_json
from fedxray.core.machine import EnergyMeter
from fedxray.experiment.method import Method
from fedxray.experiment.settings import Settings
from fedxray.federation.engine import Own, Trained
from fedxray.federation.policy import Schedule
from fedxray.flare.engine import FlareEngine
from fedxray.flare.guard import LOOK_S, guarded, process
from fedxray.flare.job import Participants
from fedxray.flare.kept import Kept
from fedxray.flare.kits import ADMIN, SERVER, check_kits, place_store
from fedxray.flare.loopback import ADDRESS, INTERNAL, grpc_of
from fedxray.flare.own import OwnFile
from fedxray.flare.session import AdminSession

log = logging.getLogger(__name__)

LOG = "out.txt"  # in the copy of a kit: all that its process writes
POLL_S = 0.3
ENDED_S = 0.2  # how often the server's process of a job looks whether it has ended; NVFlare's own is 3 s


@dataclass(frozen=True, kw_only=True)
class OneHost(FlareEngine):
    """The engine of a federation on this machine, which is started for each job."""

    kits: Path  # the folder of kits.json
    folders: dict[str, Path]  # each site's directory of data
    shared: Path  # the server's: the shared validation set
    live: Path | None = None  # the folder where the sites' scalars arrive while it trains; emptied at the start

    loses_messages: ClassVar[bool] = False

    @property
    def sites(self) -> list[str]:
        """Their names."""
        return list(self.folders)

    @property
    def participants(self) -> Participants:
        """Every site; its data need no checksums, because this engine hands them out."""
        return Participants(self.sites, {}, self.policy)

    @property
    def live_below(self) -> str:
        """No folder below: `live` itself is the server's TensorBoard folder."""
        return ""

    def train(self, settings: Settings, method: Method, schedule: Schedule, scratch: Path) -> Trained:
        """Train one model, and measure the energy that it takes. Raises UserError as `FlareEngine.train`.

        The sites' own models are taken from the copies of their kits, which are theirs and ours.
        """
        meter = EnergyMeter()
        trained = super().train(settings, method, schedule, scratch)
        models = {site: Kept(scratch / site, own.job).read()[0] for site, own in trained.personal.items()}
        personal = {site: Own(models[site], own.rows) for site, own in trained.personal.items()}
        return replace(trained, energy_j=meter.joules(), personal=personal)

    @contextmanager
    def open(self, scratch: Path, threads: int) -> Iterator[AdminSession]:
        """Start every process in `scratch`, and end them all at the end; after an error, log all that they wrote."""
        check_kits(self.kits, self.sites)
        check_space(scratch)
        with hold_port() as holder:
            with naming(scratch):
                self._copy_kits(scratch, holder.getsockname()[1])
            gpus = share_gpus([*self.sites, SERVER], os.environ.get("CUDA_VISIBLE_DEVICES"))  # a cluster sets it
            if gpus:
                log.info("GPUs: " + ", ".join(f"{name} {gpu}" for name, gpu in gpus.items()))
            try:
                with guarded(_processes(scratch, self.sites, gpus), {"OMP_NUM_THREADS": str(threads)}) as ended:

                    def errors(names: list[str]) -> str:
                        return last_error(scratch, names or [SERVER, *self.sites])

                    def alive() -> None:
                        check_space(scratch)  # or nobody might say so: logs and answers are lost
                        for name, code in ended():
                            raise UserError(f"{name} ended with exit code {code}: {last_error(scratch, [name])}")

                    admin = scratch / ADMIN
                    with AdminSession(admin, self.start_timeout_s, POLL_S, alive, errors, lasting=False) as session:
                        yield session
            except Exception as error:
                log.info(log_of(scratch))
                check_space(scratch, error)
                raise

    def _copy_kits(self, scratch: Path, port: int) -> None:
        """A private copy of each kit, aimed at `port`; the server's has the shared set, a site's the site's data."""
        if self.live:
            shutil.rmtree(self.live, ignore_errors=True)
        for name in (SERVER, ADMIN, *self.sites):
            kit = scratch / name
            shutil.copytree(self.kits / "kits" / name, kit)
            _aim(kit, name, port)
            if name == SERVER:
                place_store(kit)
                OwnFile(kit).write(data=self.shared, **({"tensorboard": self.live} if self.live else {}))
            elif name != ADMIN:
                OwnFile(kit).write(data=self.folders[name])
            (kit / "transfer").mkdir(exist_ok=True)


def _aim(kit: Path, name: str, port: int) -> None:
    """Let the copy of a kit use `port` of this machine's own address, so that two runs share nothing."""
    path = kit / "local" / "comm_config.json"
    write_json(path, read_json(path) | INTERNAL | grpc_of(SERVER))
    for path in (kit / "startup").glob("fed_*.json"):
        config = read_json(path)
        if name == ADMIN:
            config["admin"] |= {"host": ADDRESS, "port": port}
        else:
            config["servers"][0]["service"]["target"] = f"{ADDRESS}:{port}"
        if "client" in config:  # a site's, which is there before the server is
            config["client"]["client_register_interval"] = LOOK_S
        if name == SERVER:
            config["servers"][0] |= {"admin_port": port, "check_engine_frequency": ENDED_S}
        write_json(path, config)


def check_space(scratch: Path, error: Exception | None = None) -> None:
    """Raise UserError, which comes from `error`, if the disk of `scratch` or of TMPDIR is full."""
    if place := full(scratch):
        raise UserError(f"{place}: {FULL}") from error


def hold_port() -> socket.socket:
    """A socket that holds a free port for a server to share, so that no other run on this machine draws it.

    gRPC lets several servers listen on one port: two runs that drew the same one would mix up their sites, unnoticed.
    """
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    holder.bind((ADDRESS, 0))
    return holder


def share_gpus(names: list[str], visible: str | None) -> dict[str, str]:
    """Each process's CUDA_VISIBLE_DEVICES: `names` take the GPUs of `visible`, the run's own, in turn.

    With as many GPUs as processes each has one of its own; with fewer, they share. Empty if `visible` is not set.
    """
    gpus = [gpu.strip() for gpu in (visible or "").split(",") if gpu.strip()]
    return {name: gpus[number % len(gpus)] for number, name in enumerate(names)} if gpus else {}


def _processes(scratch: Path, sites: list[str], gpus: dict[str, str]) -> list[dict]:
    """The server's and the sites' processes, as `guarded` takes them."""
    processes = []
    for name in (SERVER, *sites):
        kind, org = ("client", name.replace("-", "_")) if name in sites else ("server", "fedxray")
        env = {"CUDA_VISIBLE_DEVICES": gpus[name]} if name in gpus else {}
        processes.append(process(scratch / name, kind, name, org, scratch / name / LOG, env))
    return processes


def log_of(scratch: Path) -> str:
    """All that every process has written, for the log of a run that failed; keys are not in it."""
    paths = sorted(scratch.glob(f"*/{LOG}"))
    return "\n".join(f"===== {path.parent.name} =====\n{path.read_text(errors='replace')}" for path in paths)


def last_error(scratch: Path, names: list[str]) -> str:
    """The first error that one of `names` logged, sites before the server: a site's failure is the server's cause."""
    for name in sorted(names, key=lambda name: name == SERVER):
        for path in sorted((scratch / name).rglob("error_log.txt"), key=lambda path: -len(path.parts)):
            lines = path.read_text(errors="replace").splitlines()
            errors = [line for line in lines if " - ERROR - " in line and " - CoreCell - " not in line]
            if errors:  # CoreCell's are of messages that come too late
                return f"{name}: {errors[0].split(' - ')[-1]}"
    for name in names:
        lines = (scratch / name / LOG).read_text(errors="replace").strip().splitlines()
        if lines and "Error" in lines[-1]:
            return f"{name}: {lines[-1]}"
    return "no error was logged; see the log of this rule"
