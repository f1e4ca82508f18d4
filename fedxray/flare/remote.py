"""A federation whose server and sites are other machines, and up already; this one has only the admin's startup kit."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from fedxray.core.errors import UserError
from fedxray.core.files import read_json
from fedxray.experiment.method import Method
from fedxray.experiment.settings import Settings
from fedxray.federation.engine import Own, Trained
from fedxray.federation.policy import Schedule
from fedxray.flare.engine import FlareEngine
from fedxray.flare.job import Participants, key_of, write_alone
from fedxray.flare.session import AdminSession
from fedxray.flare.tasks import RECORDS

POLL_S = 2.0


@dataclass(frozen=True, kw_only=True)
class Remote(FlareEngine):
    """The engine of a federation of other machines; what it takes of energy is used elsewhere, and not measured."""

    admin_kit: Path
    sites: list[str]
    checksums: dict[str, dict]  # {participant: those of the registry}; a site that has other data refuses
    patience_s: int  # for a server that does not answer
    poll_s: float = POLL_S  # between questions to the server
    own: bool = False  # sites validate on their own patients alone
    live: str = ""  # the folder, below the server's TensorBoard folder, where scalars arrive while a run trains

    loses_messages: ClassVar[bool] = True  # a scalar that a site streams while it is cut off

    @property
    def participants(self) -> Participants:
        """The sites that are wanted."""
        return Participants(self.sites, self.checksums, self.policy, self.own)

    @property
    def live_below(self) -> str:
        """The folder of `live`."""
        return self.live

    @contextmanager
    def open(self, scratch: Path, threads: int) -> Iterator[AdminSession]:
        """Connect to the server. Raises UserError if the kit is none."""
        if not (self.admin_kit / "startup" / "fed_admin.json").exists():
            raise UserError(
                f"federation.admin_kit: {self.admin_kit} is no admin's startup kit (startup/fed_admin.json)"
            )
        with AdminSession(self.admin_kit, self.patience_s, self.poll_s, errors=_hint) as session:
            yield session


@dataclass(frozen=True, kw_only=True)
class RemoteAlone(Remote):
    """The engine of one site of it, which trains by itself on its own patients, and keeps the model."""

    def train(self, settings: Settings, method: Method, schedule: Schedule, scratch: Path) -> Trained:
        """Train one model; `method` is `PLAIN`. Raises UserError as `FlareEngine.train`. Only the curve comes here."""
        participants, scratch = self.participants, scratch.resolve()
        job = write_alone(scratch / "job", participants, settings, schedule, self.noise, self.live_below, self.initial)
        with self._ran(job, participants, settings.threads, scratch) as (_, folder):
            result = read_json(folder / RECORDS)
            (record,), (site,) = result["rounds"], self.sites
            if record["epoch"] != schedule.epochs:
                raise UserError(f"{site} alone: epoch {record['epoch']} of {schedule.epochs}; see the log of the site")
        own = Own(None, record["sites"][site], key_of(participants, settings, method, schedule, self.noise))
        place, privacy = (result["device"], result["machine"]), self.noise.about if self.noise else {}
        checks = {"completed": True}
        return Trained({}, [record], *place, None, {site: own}, {}, checks, privacy, result["parameters"])


def _hint(names: list[str]) -> str:
    """What to do about sites that are not there, or about a job that failed."""
    if names:
        return (
            "start their kits (fedxray-site start); training alone goes on without them, with federation.absent: drop "
            "and min_sites"
        )
    return "see log.txt in the server's kit, and in those of the sites"
