"""The command-line options of the scripts that use a federation, and the engines that they make of them."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from fedxray.data.labels import SHARED
from fedxray.data.registry import read_checksums
from fedxray.experiment.cohorts import Cohort
from fedxray.experiment.folder import Folder
from fedxray.federation.policy import Policy
from fedxray.flare.one_host import OneHost
from fedxray.flare.remote import POLL_S, Remote


def add_waits(parser: ArgumentParser) -> None:
    """Let a script take how long to wait for sites; every site must answer."""
    parser.add_argument("--start-timeout-s", type=int, required=True, help="seconds for all sites to register")
    parser.add_argument("--round-timeout-s", type=int, required=True, help="seconds for all sites to finish a round")
    parser.set_defaults(absent="fail", min_sites=0)


def add_absence(parser: ArgumentParser) -> None:
    """Let a script take what becomes of a round in which a site does not answer."""
    parser.add_argument("--absent", choices=["fail", "drop"], required=True, help="what becomes of a round without it")
    parser.add_argument("--min-sites", type=int, required=True, help="of drop: how many must answer; 0: all")


def policy_of(options: Namespace) -> Policy:
    """The policy of `add_waits`, and of `add_absence` if that was called."""
    return Policy(options.round_timeout_s, options.absent, options.min_sites)


def add_one_host(parser: ArgumentParser) -> None:
    """Let a script take one federation on this machine."""
    parser.add_argument("--kits", type=Path, required=True, help="kits.json of provision_federation")
    parser.add_argument("--sites", type=Path, nargs="+", required=True, help="card.json of each site's directory")
    parser.add_argument("--shared", type=Path, required=True, help="card.json of the shared validation set")
    parser.add_argument("--live", type=Path, required=True, help="folder where scalars arrive while it trains")
    add_waits(parser)
    add_absence(parser)


def one_host_of(options: Namespace) -> OneHost:
    """The engine of `add_one_host`."""
    return OneHost(
        kits=options.kits.parent,
        folders={card.parent.name: card.parent for card in options.sites},
        shared=options.shared.parent,
        live=options.live,
        start_timeout_s=options.start_timeout_s,
        policy=policy_of(options),
    )


def add_one_host_of_cohorts(parser: ArgumentParser) -> None:
    """Let a script take the federations on this machine of an experiment, one for each cohort."""
    parser.add_argument("--experiment", type=Path, required=True, help="experiment.json: which runs there are")
    parser.add_argument("--results", type=Path, required=True, help="the experiment's folder, results/<experiment>")
    parser.add_argument("--kits", type=Path, required=True, help="kits.json of provision_federation")
    add_waits(parser)


def one_host_of_cohort(cohort: Cohort, options: Namespace) -> OneHost:
    """The engine of `add_one_host_of_cohorts` whose sites have the data of `cohort`."""
    results = Folder(options.results)
    return OneHost(
        kits=options.kits.parent,
        folders={site: results.site(cohort, site) for site in cohort.sites},
        shared=results.site(cohort, SHARED),
        start_timeout_s=options.start_timeout_s,
        policy=policy_of(options),
    )


def add_remote(parser: ArgumentParser) -> None:
    """Let a script take a federation of other machines, whatever data its sites have."""
    parser.add_argument("--admin-kit", type=Path, required=True, help="folder of the admin's startup kit")
    parser.add_argument("--sites", nargs="+", required=True, help="names of the sites that take part")
    add_waits(parser)
    parser.add_argument("--patience-s", type=int, required=True, help="seconds for the server to answer again")
    parser.add_argument("--poll-s", type=float, default=POLL_S, help="seconds between questions to the server")
    parser.set_defaults(registry=None)


def add_registered(parser: ArgumentParser) -> None:
    """Let a script take a federation of other machines whose sites have the data of a registry."""
    add_remote(parser)
    parser.add_argument(
        "--registry", type=Path, required=True, help="registry.csv: a site whose data differ from it refuses"
    )


def remote_of(options: Namespace, live: str = "") -> Remote:
    """The engine of `add_remote` or `add_registered`. Raises UserError if a site is not in the registry."""
    return Remote(
        admin_kit=options.admin_kit,
        sites=options.sites,
        checksums=read_checksums(options.registry, options.sites) if options.registry else {},
        start_timeout_s=options.start_timeout_s,
        patience_s=options.patience_s,
        policy=policy_of(options),
        poll_s=options.poll_s,
        live=live,
    )
