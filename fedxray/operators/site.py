"""The hospital's command, `fedxray-site`: makes the data set, checks, takes part, says what jobs spent, and watches."""

import argparse
import logging
import math
import os
import sys
from dataclasses import replace
from importlib import metadata
from pathlib import Path

from fedxray import __version__
from fedxray.core import cli
from fedxray.core.errors import UserError
from fedxray.core.files import read_json, write_json, write_table, write_text
from fedxray.data import reading
from fedxray.data.datasets import DATASETS
from fedxray.flare.budget import Budget, statement
from fedxray.flare.own import OwnFile, card_of
from fedxray.flare.tasks import PROTOCOL
from fedxray.operators.archive import read_about
from fedxray.operators.process import OUTPUT, address, owner, run_kit

log = logging.getLogger(__name__)


def prepare(options) -> None:
    """Make the data set of `options.images`, and tell the kit where it lies."""
    from fedxray.operators.preparation import extend_site, prepare_site

    about, own_file = read_about(options.folder), OwnFile(options.folder / "kit")
    given = {name: vars(options)[name] for name in ("seed", "test_fraction", "shared", "own_validation")}
    given = {name: value for name, value in given.items() if value is not None}
    how = {
        "reading": reading.from_options(options, DATASETS[options.dataset].reading),
        "fit": about["fit"],
        "salt": options.folder / "salt",
        "processes": os.cpu_count() or 1,
    }
    if options.add:
        if "shared" in given:
            raise UserError(
                "--shared: the validation set stays that of before; leave it out, or prepare all images again with "
                "this one, without --add"
            )
        if given:
            raise UserError(f"--{min(given).replace('_', '-')}: new patients are split as before; leave it out")
        old = own_file.data
        output = options.output or _next(old)
        extend_site(options.images, about["image_size"], old, output, **how)
    else:
        output = options.output or options.folder / "data"
        prepare_site(options.images, about["site"], about["image_size"], output, **given, **how)
    own_file.write(data=output)
    for wave, splits in read_json(output / "card.json").get("waves", {}).items():
        counts = [f"{of['images']} {split} ({of['again']} patients again)" for split, of in splits.items()]
        print(f"wave {wave:<5} {', '.join(counts)}")
    for split, facts in read_json(output / "card.json")["splits"].items():
        share = f"{facts['prevalence']:.0%} pneumonia"
        print(f"{split:<10} {facts['images']:>7} images of {facts['patients']} patients, {share}")
    print(f"{output / 'card.json'}: what the organiser may know of it: counts, grey levels and checksums")
    if options.add:
        print(f"{output}: what the next job gets; tell the organiser that there is a further wave")


def _next(old: Path) -> Path:
    """Where the next version of a data set goes: data-2 beside data, then data-3."""
    name, _, number = old.name.rpartition("-")
    return old.with_name(f"{name}-{int(number) + 1}" if name and number.isdigit() else f"{old.name}-2")


def check(options) -> None:
    """Print each check; raises UserError at the end if one failed."""
    from fedxray.operators.checks import check_site

    failed = 0
    for result in check_site(options.folder):
        print(result)
        failed += not result.passed
    if failed:
        raise UserError(f"{failed} of the checks failed: see above")


def budget(options) -> None:
    """Set what the operator allows, if anything is given, and print it with what every job has spent.

    Raises UserError for limits that mean nothing.
    """
    kit = options.folder / "kit"
    owner(kit)
    of_site = Budget(kit)
    limits = of_site.limits
    if (options.epsilon is None) != (options.delta is None):
        raise UserError("a budget is an epsilon at a delta; give both, such as --epsilon 8 --delta 1e-5")
    if options.epsilon is not None:
        _check_bound(options.epsilon, options.delta, OwnFile(kit))
        limits = replace(limits, epsilon=options.epsilon, delta=options.delta)
    if options.unlimited:
        limits = replace(limits, epsilon=None, delta=None)
    if options.only_masked is not None:
        limits = replace(limits, only_masked=options.only_masked)
    if limits != of_site.limits:
        of_site.limits = limits
    print("\n".join(statement(limits, of_site.spent)))


def start(options) -> None:
    """Run the site until interrupted. Its versions go to the server, which shows them to the organiser, and asks no
    site of another protocol.
    """
    from fedxray.operators.checks import check_certificate

    kit = options.folder / "kit"
    site, (host, port) = owner(kit)[0], address(kit)
    if not OwnFile(kit).exists():
        raise UserError(f"{OwnFile(kit).path}: missing; run fedxray-site prepare first")
    path = kit / "local" / "resources.json"
    versions = {"fedxray": __version__, "protocol": PROTOCOL, "python": sys.version.split()[0]}
    versions |= {name: metadata.version(name) for name in ("nvflare", "torch")}
    write_json(path, read_json(path) | {"versions": versions})
    log.info(f"certificate: {check_certificate(kit)}")
    log.info(f"site {site}, server {host}:{port}; log: {kit / OUTPUT}")
    run_kit(kit)


def drift(options) -> None:
    """Compare the scores of `fedxray-predict --log` with those of this site's test patients, by week; sends nothing.

    It exits with 3 if the last week that can be judged drifts, and with 4 if none can be judged.
    """
    from fedxray.operators import drift as of_log

    if not options.threshold > 0 or options.least < 1:
        raise UserError("--threshold and --least: both must be above 0, such as 0.2 and 50")
    data = options.data or OwnFile(options.folder / "kit").data
    table, missed = of_log.watch(options.log, options.model, data, options.labels, options.threshold, options.least)
    print("\n".join(of_log.lines_of(table, options.threshold, options.least, of_log.has_blocks())))
    if missed:
        print(f"{options.labels}: labels of {missed} images that this model has not scored in {options.log}; left out")
    if options.svg:
        write_text(options.svg, of_log.svg_of(table, options.threshold))
    if options.csv:
        write_table(options.csv, table)
    if code := of_log.exit_code(table):
        sys.exit(code)


def _check_bound(epsilon: float, delta: float, own_file: OwnFile) -> None:
    """Raise UserError if no jobs could be bounded so, or if the bound would mean nothing for the site's patients."""
    if not 0 < epsilon < math.inf:
        raise UserError(f"--epsilon {epsilon:g}: not above 0; 1 is strong, 8 is weak")
    if not 1e-9 <= delta < 1:
        raise UserError(f"--delta {delta:g}: not from 1e-9 to 1; take 1e-5, or less than 1 over your patients")
    if own_file.exists():
        patients = card_of(own_file.data)["splits"]["train"]["patients"]
        if delta * patients >= 1:
            raise UserError(f"--delta {delta:g}: not below 1/{patients}, the training patients here; take less")


def main() -> None:
    """Take part in a federation: make this site's data set, check that all is ready, say what jobs may spend, start."""
    arguments = cli.parser(main.__doc__)
    commands = arguments.add_subparsers(dest="command", required=True)

    def command(call, text: str):
        added = commands.add_parser(call.__name__, help=text, description=text)
        added.add_argument("--folder", type=Path, default=Path(), help="the unpacked archive; by default this folder")
        added.set_defaults(call=call)
        return added

    one = command(prepare, "make the site's data set of its own images; nothing is sent")
    one.add_argument("images", type=Path, help="folders NORMAL and PNEUMONIA, a manifest.csv, or a zip")
    one.add_argument("--shared", type=Path, help="the organiser's shared validation set, a directory")
    one.add_argument("--own-validation", type=float, help="or this share of your own patients")
    one.add_argument("--test-fraction", type=float, help="share of the patients kept for testing (0.2)")
    one.add_argument("--seed", type=int, help="of who is in which split (1)")
    added = "add these images to the data set that the kit has, as a further wave of patients"
    one.add_argument("--add", action="store_true", help=added)
    one.add_argument("--dataset", choices=sorted(DATASETS), default="folder", help="how a known data set is read")
    reading.add_options(one)
    one.add_argument("--output", type=Path, help="directory to write; by default data/, with --add data-2/ beside it")
    command(check, "check whether data, certificate, network, versions and machine are in order")
    one = command(budget, "show what jobs have spent of the patients' privacy, and set what they may spend")
    one.add_argument("--epsilon", type=float, help="what all jobs together may spend, at --delta")
    one.add_argument("--delta", type=float, help="the probability with which the bound may fail, below 1/patients")
    one.add_argument("--unlimited", action="store_true", help="remove the budget")
    masked = "refuse federated training without secure aggregation, or answer it too"
    one.add_argument("--only-masked", action=argparse.BooleanOptionalAction, default=None, help=masked)
    one = command(drift, "compare the scores of the model in use with those of your test patients; nothing is sent")
    one.add_argument("log", type=Path, help="the table that fedxray-predict --log wrote")
    one.add_argument("--model", type=Path, required=True, help="directory of the model in use")
    one.add_argument("--data", type=Path, help="directory of the site's data; by default those of the kit")
    one.add_argument("--labels", type=Path, help="a CSV of path and label of images that were scored")
    one.add_argument("--threshold", type=float, default=0.2, help="stability index from which it is drift (0.2)")
    one.add_argument("--least", type=int, default=50, help="images of a week below which it is not judged (50)")
    one.add_argument("--svg", type=Path, help="also write the picture")
    one.add_argument("--csv", type=Path, help="also write the numbers")
    command(start, "take part until Ctrl-C or SIGTERM")
    cli.run(lambda options: options.call(options), arguments)


if __name__ == "__main__":
    main()
