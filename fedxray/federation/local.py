"""The file of a site's own, `local/fedxray.json` in its kit: where its data lies. It is never sent anywhere."""

from pathlib import Path

from nvflare.apis.workspace import Workspace

from fedxray.errors import UserError
from fedxray.files import read_json


def local_settings(workspace: Workspace) -> dict:
    """Read `local/fedxray.json` of this kit: `data` (a site directory); on a server also what a job needs there.

    That is `tensorboard` (where live events go) for training, and `models` ({name: {path, threshold}}) for evaluation.

    Raises UserError if the file is missing.
    """
    path = Path(workspace.get_site_config_dir()) / "fedxray.json"
    if not path.exists():
        raise UserError(f'{path}: missing; write {{"data": "<directory of this site\'s images>"}} there')
    return read_json(path)
