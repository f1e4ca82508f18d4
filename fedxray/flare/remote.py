"""A federation whose server and sites are other machines, and up already: here is the admin's startup kit alone."""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from fedxray.core.errors import UserError
from fedxray.data.registry import read_checksums
from fedxray.flare.job import Policy, add_policy, policy_of
from fedxray.flare.session import Server

POLL_S = 2.0


@dataclass(frozen=True)
class RemoteFederation:
    """How to reach the server, which sites are wanted, and how long to wait for whom."""

    admin_kit: Path
    sites: list[str]
    registered: dict = field(default_factory=dict)  # {participant: checksums}; a site with other data refuses
    start_timeout_s: int = 120
    patience_s: int = 600  # for a server that does not answer
    policy: Policy = field(default_factory=Policy)
    poll_s: float = POLL_S

    here: ClassVar[bool] = False  # and a scalar that a site streams while it is cut off is gone; its results are not

    @contextmanager
    def open(self, workspace: Path, threads: int, say: Callable[[str], None]) -> Iterator[Server]:
        """Connect to the server. Raises UserError if the kit is none."""
        if not (self.admin_kit / "startup" / "fed_admin.json").exists():
            raise UserError(
                f"federation.admin_kit: {self.admin_kit} is no admin's startup kit (startup/fed_admin.json)"
            )
        with Server(self.admin_kit, self.patience_s, self.poll_s, say, errors=_hint) as server:
            yield server


def add_options(parser: ArgumentParser) -> None:
    """Let a script take a remote federation on its command line."""
    parser.add_argument("--admin-kit", type=Path, required=True, help="folder of the admin's startup kit")
    parser.add_argument("--sites", nargs="+", required=True, help="names of the sites that take part")
    parser.add_argument("--registry", type=Path, help="registry.csv: a site whose data differ from it refuses")
    add_policy(parser)
    parser.add_argument("--patience-s", type=int, default=600, help="for a server that does not answer")
    parser.add_argument("--poll-s", type=float, default=POLL_S, help="between questions to the server")


def from_options(options: Namespace) -> RemoteFederation:
    """The federation of `add_options`. Raises UserError if a site is not in the registry."""
    return RemoteFederation(
        admin_kit=options.admin_kit,
        sites=options.sites,
        registered=read_checksums(options.registry, options.sites) if options.registry else {},
        start_timeout_s=options.start_timeout_s,
        patience_s=options.patience_s,
        policy=policy_of(options),
        poll_s=options.poll_s,
    )


def _hint(names: list[str]) -> str:
    """What to do about sites that are not there, or a job that failed."""
    if names:
        return (
            "start their kits (fedxray-site start); training alone goes on without them, with federation.absent: drop "
            "and min_sites"
        )
    return "see log.txt in the server's kit, and in those of the sites"
