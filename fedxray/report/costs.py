"""What training has cost in energy: by the machine's counters where they were read, else by a model that is stated.

The model is Green Algorithms' of a processor (Lannelongue et al. 2021, doi:10.1002/advs.202100707) without cooling: the
seconds of a core that computes, times its watts. It knows nothing of a GPU.
"""

from collections.abc import Mapping, Sequence

import pandas as pd

from fedxray.analysis.choice import without_coalitions
from fedxray.data.labels import SHARED
from fedxray.experiment.experiment import mode_name
from fedxray.experiment.folder import Folder

HOUR_S = 3600.0
UNKNOWN = "-"


def table_of(points: pd.DataFrame, registry: pd.DataFrame, folder: Folder, watts: float) -> list[dict[str, str]]:
    """A row for each cohort, mode and method: its runs, core seconds and watt-hours, and those at each hospital.

    `points` has every run and `registry` the training images of each site; `watts` is of a core. All runs count, those
    too that were not chosen. What is not known is `-`: of a GPU without counters, or where Snakemake measured no job.
    """
    runs = without_coalitions(points)
    registry = registry[registry["site"] != SHARED]
    sites = list(dict.fromkeys(registry["site"]))
    named = [mode_name(*key) for key in runs[["mode", "method"]].itertuples(index=False)]
    rows = []
    for (cohort, name), group in runs.assign(named=named).groupby(["cohort", "named"], sort=False):
        own = registry[registry["cohort"] == cohort].set_index("site")["train_images"]
        seconds, joules, spread = 0.0, 0.0, dict.fromkeys(sites, 0.0)
        measured = True
        jobs = [_job(*row) for row in group[["path", "mode"]].itertuples(index=False)]
        for job, models in group.assign(job=jobs).groupby("job", sort=False):
            records = [folder.run(path).read_record() for path in models["path"]]
            of_job = _core_seconds(folder, str(job))
            counted = [record["energy_j"] for record in records]
            is_alone = models["mode"].iloc[0] == "alone"
            if None not in counted:  # a site's own model has the record of its federation
                of_all = sum(counted) if is_alone else counted[0]
            else:
                measured = False
                of_all = of_job * watts if all(record["device"] == "cpu" for record in records) else float("nan")
            shares = dict(zip(models["site"], models["seconds"], strict=True)) if is_alone else own.to_dict()
            for site, share in shares.items():
                spread[site] += of_all * share / sum(shares.values())
            seconds, joules = seconds + of_job, joules + of_all
        at = spread if group["mode"].iloc[0] != "central" else {}
        row = {"cohort": str(cohort)} if registry["cohort"].nunique() > 1 else {}
        row |= {
            "model": name,
            "runs": str(group["path"].map(trained_with).nunique()),
            "core seconds": _said(seconds, 0),
        }
        row |= {"Wh": _said(joules / HOUR_S, 2), "by": "counters" if measured else "estimate"}
        rows.append(row | {f"Wh at {site}": _said(at.get(site, float("nan")) / HOUR_S, 2) for site in sites})
    return rows


def trained_with(path: str) -> str:
    """The run with which a run was trained: of a site's own model its federation's, else itself."""
    return path.partition("/personal/")[0]


def seconds_of(points: pd.DataFrame) -> float:
    """The seconds of all trainings of `points`, each once."""
    return float(points["seconds"][~points["path"].map(trained_with).duplicated()].sum())


def _job(path: str, mode: str) -> str:
    """The job that has trained a run, below `train/`: that of a site alone trains each, a federation its own models."""
    return path.rpartition("/")[0] if mode == "alone" else trained_with(path)


def _core_seconds(folder: Folder, job: str) -> float:
    """Seconds of a core that a job took with all its processes, by Snakemake; NaN where it has not measured it."""
    path = folder.benchmark(f"train/{job}")
    if not path.exists():
        return float("nan")
    return float(pd.to_numeric(pd.read_csv(path, sep="\t")["cpu_time"], errors="coerce").iloc[-1])


def _said(value: float, digits: int) -> str:
    return UNKNOWN if pd.isna(value) else f"{value:.{digits}f}"


def words_of(watts: float, rows: Sequence[Mapping[str, str]]) -> str:
    """What the table's watt-hours are."""
    kinds = {row["by"] for row in rows}
    said = "Energy of all runs, also of those that were not chosen. "
    if "counters" in kinds:
        said += "Counters are those of the machine's processor and GPU; they include whatever else it did at the time. "
    if "estimate" in kinds:
        said += (
            f"An estimate is the seconds of a core that a training job took, times {watts:g} watts (evaluation.watts; "
            "Lannelongue et al. 2021), without memory and cooling; on a GPU there is none. Snakemake looks at a job "
            "each half second, after a quarter of a minute each half minute; what follows its last look is missing. "
        )
    return said + (
        "A federation's are divided among hospitals by their training images, those of training alone by seconds; "
        "what the server and the start of processes take is in them."
    )
