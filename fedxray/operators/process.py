"""One kit's NVFlare process in the foreground: the server's, or a site's, which comes back whenever it ends."""

import fcntl
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography.x509.oid import NameOID

from fedxray.core.errors import UserError
from fedxray.core.files import read_json
from fedxray.flare.certificates import certificate_of
from fedxray.flare.guard import MAIN, guarded, process

log = logging.getLogger(__name__)

OUTPUT = "out.txt"  # in the kit: all that its process has written since it was started
RESTART_S = 10.0
POLL_S = 0.5
REFUSED = "registration rejected: "  # in the output of a site that the server refuses; the reason follows
REFUSAL = "the server refused: "
SHUT_DOWN = "shutdown.fl"  # in the kit of a site that the organiser has shut down
# {what a line of the output has: the news that it is}; after a colon, or an empty text, comes the rest of the line.
NEWS = {
    "Successfully registered client": "joined the federation",
    "Server started": "the server is up",
    REFUSED: REFUSAL,
    "for ['heart_beat'] after": "no answer to the heartbeat, which goes on: the server is down, or dropped this site",
    " - Admission - WARNING - ": "",
    "Handshake failed with error ": "a caller did not get in, TLS failed: ",
}


def owner(kit: Path) -> tuple[str, str]:
    """(name, organisation) of a kit's participant, by its certificate; raises UserError if `kit` is no startup kit."""
    try:
        subject = certificate_of(kit).subject
    except (StopIteration, OSError) as error:
        raise UserError(f"{kit}: no startup kit; give the folder that has startup/ and local/") from error
    name, org = (subject.get_attributes_for_oid(oid)[0] for oid in (NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME))
    return str(name.value), str(org.value)


def kind_of(kit: Path) -> str:
    """`server` or `client`."""
    return "server" if (Path(kit) / "startup" / "fed_server.json").exists() else "client"


def address(kit: Path) -> tuple[str, int]:
    """The server's (host, port), as this kit has it."""
    config = read_json(Path(kit) / "startup" / MAIN[kind_of(kit)][1])
    host, port = config["servers"][0]["service"]["target"].rsplit(":", 1)
    return host, int(port)


def run_kit(kit: Path) -> None:
    """Run the kit's process until this one is interrupted, which ends it and its children; it writes into `OUTPUT`.

    A site's process is started again whenever it ends, unless the organiser has shut the federation down. Raises
    UserError if the kit is in use, if the server's process ends, or if the server refuses the site.
    """
    kit, kind, (name, _) = Path(kit).resolve(), kind_of(kit), owner(kit)
    (kit / "transfer").mkdir(exist_ok=True)
    with _alone(kit):
        while True:
            code = _run_once(kit, kind, name)
            output = (kit / OUTPUT).read_text(errors="replace")
            if (kit / SHUT_DOWN).exists():
                log.info(f"{name}: shut down by the organiser")
                return
            if REFUSED in output:
                reason = output.split(REFUSED)[-1].splitlines()[0]
                raise UserError(f"{kit}: {REFUSAL}{reason}; ask the organiser for a new archive")
            if kind == "server":
                lines = [line for line in output.splitlines() if "Error" in line] or output.splitlines()
                raise UserError(f"{kit}: the server ended ({code}): {lines[-1:]}; see {kit / OUTPUT}")
            log.info(f"{name}: ended ({code}); starting again in {RESTART_S:.0f} s, see {kit / OUTPUT}")
            time.sleep(RESTART_S)


@contextmanager
def _alone(kit: Path) -> Iterator[None]:
    with open(kit / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise UserError(f"{kit}: is running already; end that first") from error
        yield


def _run_once(kit: Path, kind: str, name: str) -> int:
    """Start the process under a guard, log its news until it ends, and return its exit code.

    A site that the server refuses is ended, with code 1: under load one was once still there after a minute.
    """
    for old in (OUTPUT, SHUT_DOWN):
        (kit / old).unlink(missing_ok=True)
    with guarded([process(kit, kind, name, owner(kit)[1], kit / OUTPUT, {})]) as ended:
        news = _news(kit / OUTPUT)
        while not (codes := ended()):
            time.sleep(POLL_S)
            for line in next(news):
                log.info(f"{name}: {line}")
                if kind == "client" and line.startswith(REFUSAL):
                    return 1
        return codes[0][1]


def _news(path: Path) -> Iterator[list[str]]:
    """Each time, the news that the output `path` has since the last time; the same is not told twice in a row."""
    position, last = 0, None
    while True:
        news = []
        if path.exists():
            with path.open(errors="replace") as file:
                file.seek(position)
                for line in file.read().splitlines():
                    for sign, text in NEWS.items():
                        if sign in line:
                            told = text + line.split(sign)[1] if text.endswith(": ") or not text else text
                            if (same := told if text else line) != last:
                                news.append(told)
                            last = same
                position = file.tell()
        yield news
