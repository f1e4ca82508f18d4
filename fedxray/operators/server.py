"""The organiser's command, `fedxray-server`: kits and archives, the server, who is connected, and models in use."""

import argparse
import importlib.util
import logging
import re
import tempfile
import time
from importlib import metadata
from pathlib import Path

import yaml

from fedxray import __version__
from fedxray.core import cli
from fedxray.core.errors import UserError
from fedxray.core.files import read_json
from fedxray.core.yaml_file import read_yaml
from fedxray.data import reading
from fedxray.data.reading import FITS
from fedxray.flare.admission import registered
from fedxray.flare.certificates import expiring
from fedxray.flare.kits import place_store, provision, render_project
from fedxray.flare.own import OwnFile
from fedxray.flare.tasks import PROTOCOL
from fedxray.operators.archive import CHECKOUT, build_library, write_archive
from fedxray.operators.process import OUTPUT, address, run_kit

log = logging.getLogger(__name__)

FEDERATION = "federation.yml"
KEYS = {"host": str, "port": int, "sites": list, "image_size": int, "fit": str, "valid_days": int}
HOST = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
NEXT = {  # what to do about a renewed kit; the server signs the sites' sessions with its key
    "server": "restart the server, and then have each hospital restart fedxray-site start",
    "admin": "copy it again to where experiments run",
}
BOUNDS = {"port": (1, 65535), "image_size": (16, 1024), "valid_days": (1, 3600)}


def read_federation(folder: Path) -> dict:
    """Read `federation.yml`: host, port, sites, image_size, fit, valid_days; raises UserError for what does not fit."""
    path = Path(folder) / FEDERATION
    if not path.exists():
        raise UserError(f"{path}: missing; write {', '.join(KEYS)} there (docs/hospitals.md)")
    values = read_yaml(path)
    if not isinstance(values, dict) or set(values) != set(KEYS):
        raise UserError(f"{path}: it needs these keys and no others: {', '.join(KEYS)}")
    for key, kind in KEYS.items():
        if type(values[key]) is not kind:
            raise UserError(f"{path}: {key}: {values[key]!r} is not {kind.__name__}")
    for key, (least, most) in BOUNDS.items():
        if not least <= values[key] <= most:
            raise UserError(f"{path}: {key}: {values[key]}, but it must be {least} to {most}")
    if values["fit"] not in FITS:
        raise UserError(f"{path}: fit: {values['fit']!r}, but it must be {' or '.join(FITS)}")
    if not HOST.fullmatch(values["host"]):
        raise UserError(f"{path}: host: {values['host']!r} is no host name in lower case, such as fl.example.org")
    names = values["sites"]
    pattern, reserved = _names_of_sites()
    if wrong := [name for name in names if not pattern.fullmatch(str(name)) or name in (*reserved, values["host"])]:
        raise UserError(f"{path}: sites: {wrong[0]!r} is no name for a site; take one such as us or st-mary")
    if len(set(names)) < len(names) or not names:
        raise UserError(f"{path}: sites: name each hospital once, and at least one")
    return values


def _names_of_sites() -> tuple[re.Pattern, list[str]]:
    """(pattern, reserved ones) of the names of sites, by the workflow's schema; raises UserError without a checkout."""
    path = CHECKOUT / "config" / "schema.yaml"
    if not path.exists():
        raise UserError(f"{path}: missing; provision in a checkout of fedxray (pip install -e .)")
    names = yaml.safe_load(path.read_text(encoding="utf-8"))["properties"]["sites"]["items"]
    return re.compile(names["pattern"]), names["not"]["enum"]


def provision_federation(folder: Path, renew: tuple[str, ...] = ()) -> None:
    """Make or bring up to date what `federation.yml` names: kits, and `archives/<site>.tar.gz` with its checksum.

    Prints a line for each archive. Archives of sites that are no longer named are deleted. Without a federation.yml,
    as the workflow's own federation on one machine has none, it makes only kits. Raises UserError.
    """
    folder = Path(folder)
    project, federation = folder / "project.yml", None
    if (folder / FEDERATION).exists() or not project.exists():
        federation = read_federation(folder)
        values = {key: federation[key] for key in ("host", "port", "valid_days")}
        render_project(CHECKOUT / "config" / "project.yml", federation["sites"], project, **values)
    before = _certificates(folder)
    provision(project, folder, renew)
    if federation is None:
        return
    for name, (kind, certificate) in _certificates(folder).items():
        if kind in NEXT and before.get(name, (kind, certificate)) != (kind, certificate):
            print(f"{folder / 'kits' / name}: new: {NEXT[kind]}")
    _write_archives(folder, federation["sites"], {key: federation[key] for key in ("image_size", "fit")})


def _write_archives(folder: Path, sites: list[str], images: dict) -> None:
    """Write the archive of each of `sites`, delete those of others, and print a line for each."""
    archives = folder / "archives"
    archives.mkdir(mode=0o700, exist_ok=True)
    for path in archives.iterdir():
        if path.name.split(".tar.gz")[0] not in sites:
            path.unlink()
            print(f"{path}: removed; its hospital is no longer admitted")
    with tempfile.TemporaryDirectory() as scratch:
        library = build_library(Path(scratch))
        for site in sites:
            path = archives / f"{site}.tar.gz"
            before = path.with_name(path.name + ".sha256").read_text() if path.exists() else ""
            write_archive(folder / "kits" / site, library, images, path)
            checksum = path.with_name(path.name + ".sha256").read_text()
            print(f"{path}: {'as before' if checksum == before else 'new: send it'}  sha256 {checksum[:16]}...")


def _certificates(folder: Path) -> dict[str, tuple[str, str]]:
    """{name: (type, fingerprint)} of the kits that are there."""
    path = folder / "kits.json"
    manifest = read_json(path) if path.exists() else {}
    return {name: (facts["type"], facts["certificate_sha256"]) for name, facts in manifest.items()}


def server_kit(folder: Path) -> Path:
    """The server's kit in a provisioned folder; raises UserError if there is none."""
    return _kit(folder, "server")


def start(folder: Path, shared: Path, tensorboard: Path) -> None:
    """Run the server until it is interrupted; it keeps its jobs in its kit. Raises UserError as `run_kit`."""
    from fedxray.data.site import load_site

    if not importlib.util.find_spec("tensorboard"):  # hospitals install none
        raise UserError(f"TensorBoard is not installed: pip install -r {CHECKOUT / 'requirements.txt'}")
    kit = server_kit(folder)
    if len(load_site(shared).part("validation")[1]) == 0:
        raise UserError(f"{shared}: no validation images in it; make it by fedxray-server shared")
    OwnFile(kit).write(data=shared, tensorboard=tensorboard)
    place_store(kit)
    _warn(folder)
    log.info(f"server {':'.join(map(str, address(kit)))}; log: {kit / OUTPUT}")
    run_kit(kit)


def status(folder: Path, now: float | None = None) -> list[dict]:
    """One row for each participant: name, type, certificate (days left), heartbeat (seconds ago, or None), versions.

    Raises UserError if the server does not answer.
    """
    kit, admin = server_kit(folder), _kit(folder, "admin")
    manifest = read_json(Path(folder) / "kits.json")
    versions = registered(kit)
    beats = heartbeats(admin)
    left = expiring(manifest, days=10**6)
    now = now or time.time()
    return [
        {
            "name": name,
            "type": facts["type"],
            "certificate_days": left[name],
            "heartbeat_s": round(now - beats[name], 1) if name in beats else None,
            "versions": versions.get(name, {}) if name in beats else {},
        }
        for name, facts in manifest.items()
    ]


def heartbeats(admin: Path) -> dict[str, float]:
    """{site: Unix time of its last heartbeat} of the sites that are connected, by the admin's kit."""
    from fedxray.flare.session import AdminSession  # imported here: it costs a second, which provisioning need not wait

    with AdminSession(admin, patience_s=2, poll_s=0.5) as session:
        info = session.call(lambda connected: connected.get_system_info())
    return {client.name: client.last_connect_time for client in info.client_info}


def _kit(folder: Path, kind: str) -> Path:
    path = Path(folder) / "kits.json"
    names = [name for name, facts in read_json(path).items() if facts["type"] == kind] if path.exists() else []
    if not names:
        raise UserError(f"{folder}: no {kind}'s kit; run fedxray-server provision {folder}")
    return Path(folder) / "kits" / names[0]


def _warn(folder: Path) -> None:
    """Warn of certificates that end soon; raises UserError if the server's own has ended."""
    manifest = read_json(Path(folder) / "kits.json")
    for name, days in expiring(manifest).items():
        way = f"renew it: fedxray-server renew {folder} {name}"
        if days < 0 and manifest[name]["type"] == "server":
            raise UserError(f"{folder}/kits/{name}: the server's certificate has ended, no site trusts it; {way}")
        ends = "has ended" if days < 0 else f"ends in {days} days"
        log.warning(f"the certificate of {name} {ends}; {way}")


def _print_status(folder: Path) -> None:
    rows = status(folder)
    server = next(row for row in rows if row["type"] == "server")
    print(f"server {server['name']} is up; its certificate ends in {server['certificate_days']} days")
    for row in rows:
        if row["type"] == "client":
            ago = "absent" if row["heartbeat_s"] is None else f"heartbeat {row['heartbeat_s']:.0f} s ago"
            software = "  ".join(
                f"{name} {version}{_differs(name, version)}" for name, version in row["versions"].items()
            )
            print(f"{row['name']:<20} {ago:<22} certificate {row['certificate_days']} days  {software}".rstrip())
    _warn(folder)


def _differs(name: str, version: str) -> str:
    """A remark, if the site's library, its protocol or its NVFlare is not the server's."""
    here = {"fedxray": __version__, "protocol": PROTOCOL, "nvflare": metadata.version("nvflare")}.get(name, version)
    return "" if here == version else f" (here {here}: send the new archive)"


def main() -> None:
    """Make a federation's kits and archives, run its server, see who is there, and say which model is in use."""
    arguments = cli.parser(main.__doc__)
    commands = arguments.add_subparsers(dest="command", required=True)

    def command(name: str, text: str, call):
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(call=call)
        return added

    one = command("provision", "make kits and archives after federation.yml; admits and removes sites", _do_provision)
    one.add_argument("folder", type=Path, help="folder of federation.yml")
    one = command("renew", "give participants a new key and certificate, and their archives", _do_provision)
    one.add_argument("folder", type=Path)
    one.add_argument("names", nargs="+", help="sites, the server's host name, or the admin's name")
    one = command("shared", "make the shared validation set of a folder or zip of images", _do_shared)
    one.add_argument("images", type=Path, help="folders NORMAL and PNEUMONIA, a manifest.csv, or a zip")
    one.add_argument("--image-size", type=int, required=True, help="pixels of a side, as in federation.yml")
    one.add_argument("--fit", choices=FITS, default="stretch", help="as in federation.yml")
    reading.add_options(one)
    one.add_argument("--output", type=Path, required=True, help="directory to write")
    one = command("start", "run the server until Ctrl-C or SIGTERM", lambda o: start(o.folder, o.shared, o.tensorboard))
    one.add_argument("folder", type=Path)
    one.add_argument("--shared", type=Path, required=True, help="directory of the shared validation set")
    one.add_argument("--tensorboard", type=Path, default=Path("tensorboard"), help="where curves arrive live")
    one = command("status", "show who is connected, with which versions", lambda o: _print_status(o.folder))
    one.add_argument("folder", type=Path)
    one = command("promote", "make an experiment's exported model the next version, if its gate holds", _do_promote)
    one.add_argument("results", type=Path, help="the experiment's folder, results/<experiment>")
    _of_versions(one)
    one = command("rollback", "go back to the version that the current one replaced", _do_rollback)
    _of_versions(one)
    one.add_argument("--to", default="", help="or to this version")
    cli.run(lambda options: options.call(options), arguments)


def _of_versions(one: argparse.ArgumentParser) -> None:
    one.add_argument("--models", type=Path, required=True, help="folder of the versions and their registry.csv")
    one.add_argument("--who", required=True, help="who decides; it stands in the registry")


def _do_promote(options) -> None:
    from fedxray.operators.versions import promote

    version = promote(options.results, options.models, options.who)
    print(f"{options.models / version}: version {version}, the current one")


def _do_rollback(options) -> None:
    from fedxray.operators.versions import rollback

    version = rollback(options.models, options.who, options.to)
    print(f"{options.models / version}: version {version} is the current one again")


def _do_provision(options) -> None:
    provision_federation(options.folder, tuple(getattr(options, "names", ())))


def _do_shared(options) -> None:
    from fedxray.operators.preparation import prepare_shared

    how = reading.from_options(options)
    prepare_shared(options.images, options.image_size, options.output, reading=how, fit=options.fit)


if __name__ == "__main__":
    main()
