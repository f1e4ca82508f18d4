"""One kit's NVFlare process in the foreground: the server's, or a site's, which comes back whenever it ends."""

import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography.x509.oid import NameOID

from fedxray.core.errors import UserError
from fedxray.core.files import read_json, write_json
from fedxray.flare.certificates import certificate_of
from fedxray.flare.guard import MAIN, guarded, process

OUTPUT = "out.txt"  # in the kit: what its process has said since it was started
RESTART_S = 10.0
POLL_S = 0.5
REFUSED = "registration rejected: "
NEWS = {  # {what a line of the log has: what is said of it}; after a colon, or nothing, the rest of the line
    "Successfully registered client": "joined the federation",
    "Server started": "the server is up",
    "for ['heart_beat'] after": "no answer to the heartbeat, which goes on: the server is down, or dropped this site",
    " - Admission - WARNING - ": "",
    "Handshake failed with error ": "a caller did not get in, TLS failed: ",
}


def owner(kit: Path) -> tuple[str, str]:
    """(name, organisation) of whom the kit is for, by its certificate; raises UserError if `kit` is no startup kit."""
    try:
        subject = certificate_of(kit).subject
    except (StopIteration, OSError) as error:
        raise UserError(f"{kit}: no startup kit; give the folder that has startup/ and local/") from error
    name, org = (subject.get_attributes_for_oid(oid)[0] for oid in (NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME))
    return name.value, org.value


def kind_of(kit: Path) -> str:
    """`server` or `client`."""
    return "server" if (Path(kit) / "startup" / "fed_server.json").exists() else "client"


def address(kit: Path) -> tuple[str, int]:
    """The server's (host, port), as this kit has it."""
    config = read_json(Path(kit) / "startup" / MAIN[kind_of(kit)][1])
    host, port = config["servers"][0]["service"]["target"].rsplit(":", 1)
    return host, int(port)


def set_local(kit: Path, values: dict) -> None:
    """Put `values` into `local/fedxray.json` of the kit, beside what it has."""
    path = Path(kit) / "local" / "fedxray.json"
    write_json(path, (read_json(path) if path.exists() else {}) | values)


def place_store(kit: Path) -> None:
    """Let a server keep its jobs in its kit: NVFlare's own place is one for all servers of a machine."""
    path, store = Path(kit) / "local" / "resources.json", Path(kit).resolve() / "store"
    resources = read_json(path)
    resources["snapshot_persistor"]["args"]["storage"]["args"]["root_dir"] = str(store / "snapshots")
    manager = next(one for one in resources["components"] if one["id"] == "job_manager")
    manager["args"]["uri_root"] = str(store / "jobs")
    write_json(path, resources)


def run_kit(kit: Path, say: Callable[[str], None] = print) -> None:
    """Run the kit's process until this one is interrupted, and its children with it; see `OUTPUT` for its log.

    A site's is started again whenever it ends, unless the organiser has shut the federation down. Raises UserError if
    the kit is in use, if the server's process ends, or if the server refuses the site.
    """
    kit, kind, (name, _) = Path(kit).resolve(), kind_of(kit), owner(kit)
    (kit / "transfer").mkdir(exist_ok=True)
    with _alone(kit):
        while True:
            code = _run_once(kit, kind, name, say)
            said = (kit / OUTPUT).read_text(errors="replace")
            if (kit / "shutdown.fl").exists():
                say(f"{name}: shut down by the organiser")
                return
            if REFUSED in said:
                reason = said.split(REFUSED)[-1].splitlines()[0]
                raise UserError(f"{kit}: the server refused: {reason}; ask the organiser for a new archive")
            if kind == "server":
                lines = [line for line in said.splitlines() if "Error" in line] or said.splitlines()
                raise UserError(f"{kit}: the server ended ({code}): {lines[-1:]}; see {kit / OUTPUT}")
            say(f"{name}: ended ({code}); starting again in {RESTART_S:.0f} s, see {kit / OUTPUT}")
            time.sleep(RESTART_S)


@contextmanager
def _alone(kit: Path) -> Iterator[None]:
    with open(kit / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UserError(f"{kit}: is running already; end that first") from error
        yield


def _run_once(kit: Path, kind: str, name: str, say: Callable) -> int:
    """Start the process under a guard, say its news until it ends, and return its exit code."""
    for old in (OUTPUT, "shutdown.fl"):
        (kit / old).unlink(missing_ok=True)
    with guarded([process(kit, kind, name, owner(kit)[1], kit / OUTPUT, {})]) as ended:
        news = _news(kit / OUTPUT)
        while not (codes := ended()):
            time.sleep(POLL_S)
            for line in next(news):
                say(f"{name}: {line}")
        return codes[0][1]


def _news(path: Path) -> Iterator[list[str]]:
    """Each time, what is new in the log and worth a line; the same is not said twice in a row."""
    position, last = 0, None
    while True:
        found = []
        if path.exists():
            with path.open(errors="replace") as file:
                file.seek(position)
                for line in file.read().splitlines():
                    for sign, text in NEWS.items():
                        if sign in line:
                            said = text + line.split(sign)[1] if text.endswith(": ") or not text else text
                            if (same := said if text else line) != last:
                                found.append(said)
                            last = same
                position = file.tell()
        yield found
