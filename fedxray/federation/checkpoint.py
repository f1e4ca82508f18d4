"""The state of a federated run after a round: what a restarted server or site needs to go on as if nothing had happened."""

import json
import shutil
from pathlib import Path

from safetensors import safe_open

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
    """A site's: what its half of the algorithm kept, before each of the last two rounds of a job that it took part in.

    A server that was killed asks for its last round again, which the site may have trained already: the site then goes
    on from its state before that round. After rounds that it missed it goes on from its latest.
    """

    def __init__(self, folder: Path, job: str):
        """`folder` has a folder for each job."""
        self.folder = folder / job

    def before(self, number: int) -> Parameters:
        """The state before round `number` (from 0); empty if the site has trained no earlier round."""
        known = [path for path in self._paths() if int(path.stem) <= number]
        return load_model(known[-1]) if known else {}

    def save(self, number: int, state: Parameters) -> None:
        """Keep the state before round `number`, and of earlier ones the last; any of later rounds is void."""
        if not self.folder.exists():
            _forget(self.folder.parent, KEPT_JOBS - 1)
        save_model(self.folder / f"{number:06}.safetensors", state)
        paths = self._paths()
        place = [int(path.stem) for path in paths].index(number)
        for path in [*paths[: max(0, place - 1)], *paths[place + 1 :]]:
            path.unlink()

    def _paths(self) -> list[Path]:
        return sorted(self.folder.glob("*.safetensors"))


def _forget(folder: Path, kept: int) -> None:
    """Delete the folders of all jobs but the `kept` newest."""
    jobs = sorted((path for path in folder.glob("*") if path.is_dir()), key=lambda path: path.stat().st_mtime)
    for path in jobs[: max(0, len(jobs) - kept)]:
        shutil.rmtree(path, ignore_errors=True)
