"""Repeat each chosen federated run by a real federation, and check that its model is the same to the last bit."""

from pathlib import Path

import pandas as pd
from fedxray.federation.training import confirm

from fedxray.core import cli
from fedxray.core.files import read_table, write_table
from fedxray.flare.one_host import add_options, of_cohort


def main(options):
    """Write one row per chosen run: its path, and the SHA-256 that both engines' models have."""
    points = read_table(options.points)
    chosen, rows = points[points["chosen"] & (points["mode"] == "federated")], []
    for path, cohort in zip(chosen["path"], chosen["cohort"], strict=True):
        print(f"{path} ({len(rows) + 1} of {len(chosen)})")
        federation = of_cohort(cohort, options)
        same = confirm(federation, options.runs / path, options.output.parent / "workspace")
        rows.append({"path": path, "sha256": same})
    write_table(options.output, pd.DataFrame(rows))
    print(f"{len(rows)} models are the same by a federation and in one process")


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    add_options(arguments)
    arguments.add_argument("--points", type=Path, required=True, help="points.csv")
    arguments.add_argument("--runs", type=Path, required=True, help="the folder of all runs")
    arguments.add_argument("--output", type=Path, required=True, help="confirmed.csv")
    cli.run(main, arguments)
