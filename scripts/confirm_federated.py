"""Repeat each chosen federated run by a real federation, and check that its model is the same to the last bit."""

import json
from pathlib import Path

import pandas as pd

from fedxray import cli
from fedxray.federation.job import Policy
from fedxray.federation.onemachine import LocalFederation
from fedxray.federation.training import confirm
from fedxray.files import read_table, write_table
from fedxray.sweep import sites_of


def main(options):
    """Write one row per chosen run: its path, and the SHA-256 that both engines' models have."""
    experiment, points = json.loads(options.experiment), read_table(options.points)
    chosen, rows = points[points["chosen"] & (points["mode"] == "federated")], []
    for path, cohort in zip(chosen["path"], chosen["cohort"], strict=True):
        print(f"{path} ({len(rows) + 1} of {len(chosen)})")
        folder = options.sites / cohort
        federation = LocalFederation(
            kits=options.kits.parent,
            folders={site: folder / site for site in sites_of(cohort, experiment)},
            shared=folder / "shared",
            start_timeout_s=options.start_timeout_s,
            policy=Policy(options.round_timeout_s),
        )
        same = confirm(federation, options.runs / path, options.output.parent / "workspace")
        rows.append({"path": path, "sha256": same})
    write_table(options.output, pd.DataFrame(rows))
    print(f"{len(rows)} models are the same by a federation and in one process")


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument(
        "--experiment", required=True, help="the configuration as JSON: its sites, seeds, sweep, ..."
    )
    arguments.add_argument("--kits", type=Path, required=True, help="kits.json of provision_federation")
    arguments.add_argument("--points", type=Path, required=True, help="points.csv")
    arguments.add_argument("--runs", type=Path, required=True, help="the folder of all runs")
    arguments.add_argument("--sites", type=Path, required=True, help="the folder of all sites' data")
    arguments.add_argument("--start-timeout-s", type=int, default=120, help="for all sites to register")
    arguments.add_argument("--round-timeout-s", type=int, default=3600, help="for all sites to finish a round")
    arguments.add_argument("--output", type=Path, required=True, help="confirmed.csv")
    cli.run(main, arguments)
