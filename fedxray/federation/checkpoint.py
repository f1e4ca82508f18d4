"""The state of a federated run after a round: what a restarted server needs to go on as if nothing had happened."""

import json
from pathlib import Path

from safetensors import safe_open

from fedxray.core.parameters import Parameters, load_model, save_model
from fedxray.federation.records import RoundRecord


class Checkpoint:
    """One file: the global model's parameters, with the records of the rounds so far as its metadata.

    No more is needed: a site's draws depend on the seed and the epoch alone, and its optimizer is new in each round.
    """

    def __init__(self, path: Path):
        self.path = path

    def exists(self) -> bool:
        """Whether there is a run to resume."""
        return self.path.exists()

    def save(self, parameters: Parameters, records: list[RoundRecord]) -> None:
        """Write the file in one step."""
        save_model(self.path, parameters, {"records": json.dumps(records)})

    def load(self) -> tuple[Parameters, list[RoundRecord]]:
        """(the parameters, the records)."""
        with safe_open(self.path, "numpy") as file:
            records = json.loads(file.metadata()["records"])
        return load_model(self.path), records

    def remove(self) -> None:
        """Delete the file, if it is there."""
        self.path.unlink(missing_ok=True)
