"""A participant's own file, `local/fedxray.json` in its startup kit: where its data lie. It is never sent anywhere."""

from contextlib import suppress
from pathlib import Path

from fedxray.core.errors import UserError
from fedxray.core.files import read_json, write_json
from fedxray.data.site import SiteData, load_site, wave_count

FORM = '{"data": "<directory of this site\'s images>"}'


class OwnFile:
    """The own file of the participant that has the startup kit `kit`.

    It holds `data`, the directory of this site's data (on a server that of the shared validation set), and on a server
    `tensorboard`, the folder where live curves go; without it they go nowhere.
    """

    def __init__(self, kit: str | Path):
        self.kit = Path(kit)
        self.path = self.kit / "local" / "fedxray.json"

    def exists(self) -> bool:
        """Whether the participant has written one."""
        return self.path.exists()

    def write(self, **values: Path) -> None:
        """Put absolute paths into the file, beside what it has."""
        write_json(self.path, self._values() | {name: str(Path(value).resolve()) for name, value in values.items()})

    @property
    def data(self) -> Path:
        """The directory of the data. Raises UserError if the file is missing, or does not name one."""
        if "data" not in self._values():
            raise UserError(f"{self.path}: missing, or without data; write {FORM} there")
        return Path(self._values()["data"])

    @property
    def tensorboard(self) -> Path | None:
        """The folder where live curves go, if there is one."""
        folder = self._values().get("tensorboard")
        return Path(folder) if folder else None

    def load(self, checksums: dict | None = None) -> SiteData:
        """Read the data; `checksums` (of a data card) are those that a job insists on, if any.

        Raises UserError if the data are missing, are not what their card says, or have other checksums, with what to do
        where these are of an earlier or later wave of patients.
        """
        data = load_site(self.data)
        if not checksums:
            return data
        card, waves = read_json(self.data / "card.json"), checksums.get("waves", 1)
        wanted = {key: value for key, value in checksums.items() if key != "waves"}
        if waves > wave_count(card):
            raise UserError(
                f"{self.data}: the job is for {waves} waves of patients, and this data set has "
                f"{wave_count(card)}; add the new patients (fedxray-site prepare --add), then run the workflow again"
            )
        if wanted in card["provenance"].get("earlier", []):
            raise UserError(
                f"{self.data}: a later version of the data in the registry, with new patients; register them (set "
                f"federation.waves to {wave_count(card)}; if it is that, take a new `experiment`)"
            )
        if card["sha256"] != wanted:
            raise UserError(
                f"{self.data}: changed since the registry was made; make that again, or put the old data back"
            )
        return data

    def without_places(self, text: str) -> str:
        """`text` with only the names of kit and data folder: a message that leaves must not tell where they lie."""
        folders = [self.kit]
        with suppress(UserError):  # the file is missing, or was written by hand and is wrong
            folders.append(self.data)
        places = {str(form) for folder in folders for form in (folder, folder.resolve())}
        for place in sorted(places, key=len, reverse=True):  # the data may lie in the kit
            text = text.replace(place, Path(place).name)
        return text

    def _values(self) -> dict[str, str]:
        if not self.exists():
            return {}
        try:
            values = read_json(self.path)
        except ValueError as error:
            raise UserError(f"{self.path}: no JSON ({error}); write {FORM} there") from None
        if not isinstance(values, dict) or not all(isinstance(value, str) for value in values.values()):
            raise UserError(f"{self.path}: not a path for each name; write {FORM} there")
        return values


def card_of(folder: Path) -> dict:
    """The data card of a directory, which may leave the site: counts, checksums, provenance; no image, no patient.

    Raises UserError if the data are missing, or are not what their card says.
    """
    load_site(folder)
    return read_json(folder / "card.json")
