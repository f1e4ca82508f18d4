"""What a site keeps of a job in its startup kit: its state between rounds, and its own model of a personal method."""

import re
from dataclasses import asdict
from pathlib import Path

from fedxray.core.errors import UserError
from fedxray.core.files import read_json, write_json
from fedxray.core.parameters import Parameters, load_model, save_model
from fedxray.experiment.settings import Settings
from fedxray.federation.checkpoint import SiteStates, private


class Kept:
    """What is kept of the job `key` (`job.key_of`) in the startup kit `kit`, readable by its owner alone."""

    def __init__(self, kit: Path, key: str):
        """Raises ValueError if `key` is none: it names folders, and comes from elsewhere."""
        if not re.fullmatch("[0-9a-f]{64}", key):
            raise ValueError(f"{key}: not the key of a job")
        self.states = SiteStates(kit / "states" / key)
        self.folder = kit / "personal" / key
        self.model, self.settings = self.folder / "model.safetensors", self.folder / "settings.json"

    def write(self, parameters: Parameters, settings: Settings) -> None:
        """Write the site's own model, and the settings that it was trained with."""
        private(self.folder)
        write_json(self.settings, asdict(settings))
        save_model(self.model, parameters)
        self.restrict()

    def restrict(self) -> None:
        """Let nobody but its owner read what is in the folder of the model."""
        for path in self.folder.iterdir():
            path.chmod(0o600)

    def read(self) -> tuple[Parameters, Settings]:
        """The site's own model, and its settings. Raises UserError if there is none."""
        if not self.model.exists():
            raise UserError(f"{self.model}: missing, this site's own model; train the run again")
        return load_model(self.model), Settings(**read_json(self.settings))
