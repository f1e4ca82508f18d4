"""The state of a federated run after a round: what a restarted server or site needs to end in the same bytes."""

import json
import shutil
from pathlib import Path

from safetensors import safe_open

from fedxray.core.errors import UserError
from fedxray.core.parameters import Parameters, load_model, save_model
from fedxray.federation.records import RoundRecord

STATE = "state/"
KEPT_JOBS = 8  # of a site: the states of older jobs are deleted


class Checkpoint:
    """A server's: one file with the global model, the algorithm's state, and the records of the rounds so far."""

    def __init__(self, path: Path):
        self.path = path

    def exists(self) -> bool:
        """Whether there is a run to resume."""
        return self.path.exists()

    def save(self, parameters: Parameters, state: Parameters, records: list[RoundRecord]) -> None:
        """Write the file in one step."""
        named = {f"{STATE}{name}": value for name, value in state.items()}
        save_model(self.path, parameters | named, {"records": json.dumps(records)})

    def load(self) -> tuple[Parameters, Parameters, list[RoundRecord]]:
        """(the parameters, the state, the records)."""
        with safe_open(self.path, "numpy") as file:
            records = json.loads(file.metadata()["records"])
        arrays = load_model(self.path)
        state = {name.removeprefix(STATE): value for name, value in arrays.items() if name.startswith(STATE)}
        return {name: value for name, value in arrays.items() if not name.startswith(STATE)}, state, records

    def remove(self) -> None:
        """Delete the file, if it is there."""
        self.path.unlink(missing_ok=True)


class SiteStates:
    """A site's: what its half of the algorithm keeps between the rounds of a job; its owner alone can read it.

    The server says after which round a site goes on: the last one in which its answer counted. The states after that
    round and after the one that is trained now are kept. So a round that a killed server asks for again begins as it
    did, and a site whose answer came too late goes on as if it had missed that round.
    """

    def __init__(self, folder: Path):
        """`folder` is the job's, beside those of other jobs."""
        self.folder = folder

    def after(self, number: int) -> Parameters:
        """The state after round `number` (from 1); 0: before the first, empty. Raises UserError if it is gone."""
        if not number:
            return {}
        path = self._path(number)
        if not path.exists():
            raise UserError(
                f"{path}: missing, and the run cannot go on without it; delete the run's checkpoint at the server, and "
                "run it again from its beginning"
            )
        return load_model(path)

    def save(self, number: int, state: Parameters, since: int) -> None:
        """Keep the state after round `number`, and after round `since`, from which that was trained; no other."""
        if not self.folder.exists():
            _forget(self.folder.parent, KEPT_JOBS - 1)
        private(self.folder)
        save_model(self._path(number), state)
        self._path(number).chmod(0o600)
        for path in self.folder.glob("*.safetensors"):
            if path not in (self._path(number), self._path(since)):
                path.unlink()

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06}.safetensors"


def private(folder: Path) -> None:
    """Make a folder, and the one above it if that is new, which their owner alone can read."""
    for place in (folder.parent, folder):
        place.mkdir(mode=0o700, exist_ok=True)


def _forget(folder: Path, kept: int) -> None:
    """Delete the folders of all jobs but the `kept` newest."""
    jobs = sorted((path for path in folder.glob("*") if path.is_dir()), key=lambda path: path.stat().st_mtime)
    for path in jobs[: max(0, len(jobs) - kept)]:
        shutil.rmtree(path, ignore_errors=True)
