"""Startup kits: the project file, the PKI that is made once, each kit's own policy, and who is admitted."""

import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from fedxray.core.errors import UserError
from fedxray.core.files import read_json, sha256, write_json, write_text
from fedxray.flare.certificates import certificate_of, expiring, fingerprint
from fedxray.flare.components import ADMISSION, ALLOWED, CERTIFICATES, IN_PLACE_OF
from fedxray.flare.loopback import INTERNAL
from fedxray.flare.partners import PARTNERS

log = logging.getLogger(__name__)

SERVER = "localhost"  # of a federation on one machine; the project file names the server of any other
ADMIN = "admin@fedxray.org"
ADMITTED = "admitted.json"  # in the server's `local`: {name: fingerprint} of every certificate that may register
# A message that was under way when a connection broke is sent again; else NVFlare waits 300 s for its answer.
RELIABLE = {"streaming_reliable": True, "streaming_retry_wait": 5.0, "streaming_retry_timeout": 120.0}


def render_project(
    template: Path,
    sites: list[str],
    output: Path,
    host: str | None = None,
    port: int | None = None,
    valid_days: int | None = None,
) -> None:
    """Write the NVFlare project file: the template with one client, of its own organisation, for each site.

    `host` and `port` are the server's as the sites reach it, and `valid_days` is how long a new certificate lasts; a
    value of None stays as the template has it.
    """
    project = yaml.safe_load(Path(template).read_text(encoding="utf-8"))
    server = next(part for part in project["participants"] if part["type"] == "server")
    builder = next(part for part in project["builders"] if part["path"] == CERTIFICATES)
    for values, key, value in (
        (server, "name", host),
        (server, "fed_learn_port", port),
        (builder["args"], "valid_days", valid_days),
    ):
        values[key] = values[key] if value is None else value
    project["participants"] += [{"name": site, "type": "client", "org": site.replace("-", "_")} for site in sites]
    write_text(output, yaml.safe_dump(project, sort_keys=False))


def provision(project: Path, folder: Path, renew: tuple[str, ...] = ()) -> None:
    """Make `folder/kits/<participant>/`, and `folder/kits.json`: each one's type, and its certificate's end.

    `folder/state/` keeps the root key, so a further site gets a kit and the other kits stay as they are, byte for byte.
    Kits of participants that the project no longer names are deleted, and their certificates with them. The
    participants of `renew` get a new key and certificate; everything else in their kits stays. The list of who may
    register, in the server's kit, is brought up to date: a server that runs heeds it within seconds. So is the list of
    partners in each site's kit, by which a site knows whose keys it may take for secure aggregation; to be heeded
    elsewhere, that file must be brought there. Raises UserError
    if NVFlare cannot provision, or if there is no participant of a name in `renew`.
    """
    text = Path(project).read_text(encoding="utf-8")
    types = {one["name"]: one["type"] for one in yaml.safe_load(text)["participants"]}
    if unknown := sorted(set(renew) - set(types)):
        raise UserError(f"{project}: no participant {unknown[0]}; there are {', '.join(types)}")
    folder, workspace = Path(folder), Path(folder) / "state"
    workspace.mkdir(mode=0o700, parents=True, exist_ok=True)
    _forget(workspace, set(types) - set(renew))
    provisioned = _provision(Path(project), workspace)
    kits = folder / "kits"
    old = [kit for kit in kits.iterdir() if kit.name in types] if kits.exists() else []
    if any(_root(kit) != _root(provisioned / kit.name) for kit in old):
        shutil.rmtree(kits)  # their root key is gone: no new site could join them
    kits.mkdir(mode=0o700, exist_ok=True)
    for stale in (kit for kit in kits.iterdir() if kit.name not in types):
        shutil.rmtree(stale)
    for name in types:
        if (kits / name).exists():
            _update(kits / name / "startup", provisioned / name / "startup")
        else:
            os.replace(provisioned / name, kits / name)
        _restrict(kits / name)
    for leftover in provisioned.parent.glob("prod_*"):
        shutil.rmtree(leftover)
    manifest = {name: {"type": types[name]} | _facts(kits / name) for name in sorted(types)}
    for server in [name for name in types if types[name] == "server"]:
        admitted = {name: facts["certificate_sha256"] for name, facts in manifest.items() if name != server}
        write_json(kits / server / "local" / ADMITTED, admitted)
    sites = [name for name in manifest if types[name] == "client"]
    for site in sites:
        path = kits / site / "local" / PARTNERS
        write_json(path, {name: manifest[name]["certificate_sha256"] for name in sites})
        path.chmod(0o600)
    write_json(folder / "kits.json", manifest)


def check_kits(folder: Path, sites: list[str]) -> None:
    """Raise UserError if a site has no kit, or if a certificate has ended; warn of one that ends soon."""
    manifest = read_json(Path(folder) / "kits.json")
    for name in (SERVER, ADMIN, *sites):
        if name not in manifest or not (Path(folder) / "kits" / name).is_dir():
            raise UserError(f"{folder}/kits: no startup kit for {name}; rerun provision_federation")
    for name, days in expiring({name: manifest[name] for name in (SERVER, ADMIN, *sites)}).items():
        end, way = manifest[name]["not_after"], f"renew it: fedxray-server renew {folder} {name}"
        if days < 0:
            raise UserError(f"{folder}/kits/{name}: certificate ended {end}; {way}")
        log.warning(f"{folder}/kits/{name}: certificate ends in {days} days, {end}; {way}")


def place_store(kit: Path) -> None:
    """Let a server keep its jobs in its kit: NVFlare's own place, below /tmp, is one for all servers of a machine."""
    path, store = kit / "local" / "resources.json", kit.resolve() / "store"
    resources = read_json(path)
    resources["snapshot_persistor"]["args"]["storage"]["args"]["root_dir"] = str(store / "snapshots")
    manager = next(component for component in resources["components"] if component["id"] == "job_manager")
    manager["args"]["uri_root"] = str(store / "jobs")
    write_json(path, resources)


def _forget(workspace: Path, names: set[str]) -> None:
    """Drop all certificates but the root's and those of `names` from NVFlare's state, so that it makes new ones."""
    for path in workspace.glob("*/state/cert.json"):  # below a folder of mode 0700
        state = read_json(path)
        kept = {key: value for key, value in state.items() if key in names or not isinstance(value, dict)}
        if kept != state:
            write_json(path, kept)
            path.chmod(0o600)


def _provision(project: Path, workspace: Path) -> Path:
    """Run `nvflare provision`; returns the folder of the kits that it has made."""
    command = [sys.executable, "-m", "nvflare.cli", "provision", "-p", str(project.resolve()), "-w", str(workspace)]
    done = subprocess.run(
        [*command, "--force"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    folders = sorted(workspace.glob("*/prod_*"))
    if done.returncode or not folders:
        raise UserError(f"{project}: nvflare provision failed: {done.stdout.strip().splitlines()[-1:]}")
    for secret in workspace.glob("*/state/*.json"):
        secret.chmod(0o600)
    return folders[-1]


def _update(startup: Path, provisioned: Path) -> None:
    """Move each file that differs from `provisioned` to `startup`: a renewed key, or the server's new port."""
    for path in (path for path in provisioned.iterdir() if path.is_file()):
        if not (startup / path.name).exists() or sha256(startup / path.name) != sha256(path):
            os.replace(path, startup / path.name)


def _restrict(kit: Path) -> None:
    """Let only its owner read a kit, allow our components by name, and let no job bring code and nobody use a shell.

    Everything else that an operator has written into `local/resources.json` stays. A site's logs, which name files,
    stay at the site.
    """
    local = kit / "local"
    for path in (kit, *(kit / "startup").rglob("*"), *local.rglob("*"), kit / "startup", local):
        path.chmod(0o700 if path.is_dir() or path.suffix == ".sh" else 0o600)
    write_json(local / "comm_config.json", RELIABLE | INTERNAL)
    path, standard = local / "resources.json", read_json(local / "resources.json.default")
    if "class_allow_list" in standard:  # not the admin's
        write_json(path, _with_components(read_json(path) if path.exists() else standard, standard))
    if (local / "authorization.json.default").exists():
        policy = read_json(local / "authorization.json.default")
        permissions = policy["permissions"]
        rights = [*permissions["org_admin"], "app_command"]  # by which the workflow asks a job for its rounds
        permissions["project_admin"] = dict.fromkeys(rights, "any")
        for rights in permissions.values():
            rights |= {"byoc": "none", "shell_commands": "none"}
        write_json(local / "authorization.json", policy)


def _with_components(resources: dict, standard: dict) -> dict:
    """The `resources` of a kit with our components in place of those of `standard`, NVFlare's own.

    A component that an earlier version of this package has put there gets the name that it has now.
    """
    allowed = resources["class_allow_list"]
    allowed = [name for name in allowed if name in ALLOWED or not name.startswith("fedxray.")]
    resources["class_allow_list"] = allowed + [name for name in ALLOWED if name not in allowed]
    if "allow_log_streaming" in resources:
        resources["allow_log_streaming"] = False
    ids = [component["id"] for component in resources["components"]]
    if "snapshot_persistor" in resources and "admission" not in ids:  # a server's
        resources["components"].append({"id": "admission", "path": ADMISSION, "args": {}})
    paths = {component["id"]: component["path"] for component in standard["components"]}
    ours = {name: IN_PLACE_OF[path] for name, path in paths.items() if path in IN_PLACE_OF} | {"admission": ADMISSION}
    for component in resources["components"]:
        if component["path"] in IN_PLACE_OF or component["path"].startswith("fedxray."):
            component["path"] = ours[component["id"]]
    return resources


def _root(kit: Path) -> str:
    path = kit / "startup" / "rootCA.pem"
    return sha256(path) if path.exists() else ""


def _facts(kit: Path) -> dict:
    """The fingerprint and the end of validity of a kit's certificate."""
    certificate = certificate_of(kit)
    return {
        "certificate_sha256": fingerprint(certificate),
        "not_after": certificate.not_valid_after_utc.isoformat(),
    }
