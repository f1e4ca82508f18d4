"""The file of a participant's own, `local/fedxray.json` in its kit: where its data lies. It is never sent anywhere."""

from pathlib import Path

from nvflare.apis.workspace import Workspace

from fedxray.core.errors import UserError
from fedxray.core.files import read_json
from fedxray.data.site import SiteData, load_site


def local_settings(workspace: Workspace) -> dict:
    """Read `local/fedxray.json` of this kit.

    That is `data` (the directory of this site's data; on the server that of the shared validation set), and on a
    server `tensorboard` (where live events go; without it nowhere). Raises UserError if the file is missing.
    """
    path = Path(workspace.get_site_config_dir()) / "fedxray.json"
    if not path.exists():
        raise UserError(f'{path}: missing; write {{"data": "<directory of this site\'s images>"}} there')
    return read_json(path)


def without_places(text: str, workspace: Workspace) -> str:
    """`text` with the name alone of this participant's kit and of its folder of data: where they lie stays here."""
    folders, path = [Path(workspace.get_root_dir())], Path(workspace.get_site_config_dir()) / "fedxray.json"
    folders += [Path(read_json(path)["data"])] if path.exists() else []
    places = {str(form) for folder in folders for form in (folder, folder.resolve())}
    for place in sorted(places, key=len, reverse=True):  # the data may lie in the kit
        text = text.replace(place, Path(place).name)
    return text


def own_data(workspace: Workspace, registered: dict | None) -> SiteData:
    """The data of this participant; `registered` are the checksums (of its data card) that the job wants, if any.

    Raises UserError if the data are missing, are not what their card says, or not what was registered.
    """
    folder = Path(local_settings(workspace)["data"])
    data = load_site(folder)
    if registered and read_json(folder / "card.json")["sha256"] != registered:
        raise UserError(f"{folder}: changed since it was registered; register it again, or put the old data back")
    return data


def card_of(folder: str | Path) -> dict:
    """The data card of a participant, which may leave it: counts, checksums and provenance, no image and no patient.

    Raises UserError if the data are missing, or are not what their data card says.
    """
    load_site(Path(folder))
    return read_json(Path(folder) / "card.json")
