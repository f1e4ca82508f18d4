"""Repeat the chosen runs of the best method by a real federation, and check that the models are equal to the last bit.

Of several methods it is the one that validation chooses; of personal ones, the one that does.
"""

from dataclasses import replace
from pathlib import Path

import pandas as pd

from fedxray.analysis.choice import FEDERATED, leading
from fedxray.core import cli
from fedxray.core.files import read_table, write_table
from fedxray.experiment.experiment import Experiment
from fedxray.experiment.folder import Folder
from fedxray.flare.options import add_one_host_of_cohorts, one_host_of_cohort
from fedxray.runs import confirm
from fedxray.training.mechanism import mechanism_at


def main(options):
    """Write one row per chosen run: its path, and the SHA-256 that both engines' models have."""
    jobs = {run.path: run for run in Experiment.read(options.experiment).jobs}
    results, points = Folder(options.results), read_table(options.points)
    # Each hospital's own model lies below the run that it was trained with, which is repeated once.
    best, rows = leading(points[points["chosen"]]), []
    chosen = best[best["mode"].isin(FEDERATED)]
    paths = list(dict.fromkeys(chosen["path"].str.split("/personal/").str[0]))
    for path in paths:
        print(f"{path} ({len(rows) + 1} of {len(paths)})")
        engine = one_host_of_cohort(jobs[path].model.cohort, options)
        noise = mechanism_at(jobs[path].privacy, engine.folders.values())
        initial = results.initial if results.run(path).settings().initial else None
        if before := jobs[path].goes_on_from:
            initial = results.run(f"federated/{before}").model
        same = confirm(
            replace(engine, noise=noise, initial=initial), results.run(path).path, options.output.parent / "workspace"
        )
        rows.append({"path": path, "sha256": same})
    write_table(options.output, pd.DataFrame(rows, columns=["path", "sha256"]))
    print(f"{len(rows)} models are the same by a federation and in one process")


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    add_one_host_of_cohorts(arguments)
    arguments.add_argument("--points", type=Path, required=True, help="points.csv")
    arguments.add_argument("--output", type=Path, required=True, help="confirmed.csv")
    cli.run(main, arguments)
