"""Startup kits: the project file, the PKI that is made once, and each kit's own policy."""

import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import yaml
from cryptography import x509

from fedxray.errors import UserError
from fedxray.files import read_json, sha256, write_json, write_text

SERVER = "localhost"
ADMIN = "admin@fedxray.org"

# Our components, which a job may name: each kit's class allow-list gets them, and NVFlare's own list stays.
COMPONENTS = (
    "fedxray.federation.client.SiteCard",
    "fedxray.federation.client.SiteEvaluator",
    "fedxray.federation.client.SiteTrainer",
    "fedxray.federation.server.CardCollector",
    "fedxray.federation.server.ChosenModels",
    "fedxray.federation.server.FedAvgController",
    "fedxray.federation.server.LiveScalars",
    "nvflare.app_common.widgets.streaming.AnalyticsSender",
)
# A message that was under way when a connection broke is sent again; without this NVFlare waits 300 s for its answer.
RELIABLE = {"streaming_reliable": True, "streaming_retry_wait": 5.0, "streaming_retry_timeout": 120.0}


def render_project(template: Path, sites: list[str], output: Path) -> None:
    """Write the NVFlare project file: the template with one client of its own organisation for each site."""
    project = yaml.safe_load(Path(template).read_text())
    project["participants"] += [{"name": site, "type": "client", "org": site.replace("-", "_")} for site in sites]
    write_text(output, yaml.safe_dump(project, sort_keys=False))


def provision(project: Path, folder: Path) -> None:
    """Make `folder/kits/<participant>/`, and `folder/kits.json` with each certificate's fingerprint and end.

    `folder/state/` keeps the root key, so a further site gets a kit and the other kits stay as they are, byte for byte.
    Raises UserError if NVFlare cannot provision.
    """
    names = [participant["name"] for participant in yaml.safe_load(Path(project).read_text())["participants"]]
    folder, workspace = Path(folder), Path(folder) / "state"
    workspace.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = _provision(Path(project), workspace)
    kits = folder / "kits"
    if kits.exists() and _root(kits / SERVER) != _root(made / SERVER):
        shutil.rmtree(kits)  # of a root key that is gone: no new site could join them
    kits.mkdir(mode=0o700, exist_ok=True)
    for stale in (kit for kit in kits.iterdir() if kit.name not in names):
        shutil.rmtree(stale)
    for name in names:
        if not (kits / name).exists():
            os.replace(made / name, kits / name)
        _restrict(kits / name)
    for leftover in made.parent.glob("prod_*"):
        shutil.rmtree(leftover)
    write_json(folder / "kits.json", {name: _certificate(kits / name) for name in sorted(names)})


def check_kits(folder: Path, sites: list[str]) -> None:
    """Raise UserError if a site has no kit, or a certificate has ended."""
    manifest = read_json(Path(folder) / "kits.json")
    for name in (SERVER, ADMIN, *sites):
        if name not in manifest or not (Path(folder) / "kits" / name).is_dir():
            raise UserError(f"{folder}/kits: no startup kit for {name}; rerun provision_federation")
        if datetime.fromisoformat(manifest[name]["not_after"]) < datetime.now(UTC):
            raise UserError(
                f"{folder}/kits/{name}: certificate ended {manifest[name]['not_after']}; delete {folder} and rerun"
            )


def _provision(project: Path, workspace: Path) -> Path:
    """Run `nvflare provision`; returns the folder of the kits that it made."""
    command = [sys.executable, "-m", "nvflare.cli", "provision", "-p", str(project.resolve()), "-w", str(workspace)]
    done = subprocess.run(
        [*command, "--force"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    made = sorted(workspace.glob("*/prod_*"))
    if done.returncode or not made:
        raise UserError(f"{project}: nvflare provision failed: {done.stdout.strip().splitlines()[-1:]}")
    for secret in workspace.glob("*/state/*.json"):
        secret.chmod(0o600)
    return made[-1]


def _restrict(kit: Path) -> None:
    """Keys readable by their owner alone; our components allowed by name; no code from a job for anyone."""
    for path in (kit, *kit.rglob("*")):
        path.chmod(0o700 if path.is_dir() or path.suffix == ".sh" else 0o600)
    local = kit / "local"
    write_json(local / "comm_config.json", RELIABLE)
    resources = json.loads((local / "resources.json.default").read_text())
    if "class_allow_list" in resources:
        resources["class_allow_list"] += [name for name in COMPONENTS if name not in resources["class_allow_list"]]
        write_json(local / "resources.json", resources)
    if (local / "authorization.json.default").exists():
        policy = json.loads((local / "authorization.json.default").read_text())
        permissions = policy["permissions"]
        rights = dict.fromkeys([*permissions["org_admin"], "app_command"], "any")  # that asks a job for its rounds
        permissions["project_admin"] = {**rights, "byoc": "none"}
        for rights in permissions.values():
            rights["byoc"] = "none"
        write_json(local / "authorization.json", policy)


def _root(kit: Path) -> str:
    path = kit / "startup" / "rootCA.pem"
    return sha256(path) if path.exists() else ""


def _certificate(kit: Path) -> dict:
    """The SHA-256 and the end of validity of a kit's certificate."""
    path = next((kit / "startup").glob("*[rt].crt"))
    return {
        "certificate_sha256": sha256(path),
        "not_after": x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc.isoformat(),
    }
