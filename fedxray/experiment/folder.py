"""The folder of an experiment: the one place where its paths are made. They are parsed nowhere.

results/<experiment>/
    data/[<source>/] external/<source>/    catalogue and pixels of each source; of an external one, its test set
    cohort/ sites/ federation/             who is where, what each site holds, startup kits
    runs/<mode>/[<cohort>/][<method>/]<point>/   a run: model, curves, record; of mode alone below it for each site
    live/                                  curves of the runs as they are trained, for TensorBoard
    *.csv model/ figures/ report/ tensorboard/
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NotRequired, TypedDict

from fedxray.core.files import read_json, read_table, write_json, write_table
from fedxray.core.parameters import Parameters, load_model, save_model
from fedxray.experiment.cohorts import Cohort
from fedxray.experiment.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

CURVE_COLUMNS = [
    *("epoch", "series", "train_loss", "validation_loss", "validation_accuracy", "validation_auroc", "seconds"),
]


class RunRecord(TypedDict):
    """What a run was trained with and what it cost, beside its `settings` and its engine's `checks`."""

    mode: str  # federated | central | alone | personal | coalition
    engine: str  # nvflare if a federation of separate processes trained, else inprocess
    site: str  # pooled, or the site whose model it is; of a coalition its sites, joined by +
    lr: float
    epochs: int  # passes over the data, of the mean site
    schedule: dict  # the fields of `federation.policy.Schedule`
    method: dict | None  # of a federation: the fields of `experiment.method.Method`
    seed: int
    sites: list[str]
    train_images: int
    parameters: int
    bytes_sent: int  # of a federation, to all sites and back: counted from what travelled
    seconds: float
    energy_j: float | None  # joules; None where they cannot be read
    device: str
    machine: dict[str, str]
    secure_aggregation: bool  # whether the server got masked answers; not in one process, which has nobody to hide from
    partners: dict[str, str]  # of a secure aggregation: {site: SHA-256 of its certificate}
    rounds_at_sites: list[dict]  # of a federation: how far each site's answer was from the others', by round
    privacy: NotRequired[dict]  # of private training: `training.mechanism.Mechanism.about`


class RunFolder:
    """The folder of one run."""

    def __init__(self, folder: str | Path):
        self.path = Path(folder)
        self.model = self.path / "model.safetensors"
        self.curves = self.path / "metrics.csv"
        self.record = self.path / "record.json"

    def personal(self, site: str) -> "RunFolder":
        """The folder of a site's own model, of a run whose method is personal."""
        return RunFolder(self.path / "personal" / site)

    def write(
        self, parameters: Parameters | None, curves: "pd.DataFrame", record: RunRecord, settings: Settings, checks: dict
    ) -> None:
        """Write the run's files (docs/architecture.md has their columns); the model last: it means a whole run.

        A model that stays at its site is None, and there is no file of it, nor one from before.
        """
        if parameters is None:
            self.model.unlink(missing_ok=True)
        write_table(self.curves, curves[CURVE_COLUMNS])
        write_json(self.record, {**record, "settings": settings.content, "checks": checks})
        if parameters is not None:
            save_model(self.model, parameters)

    def read_record(self) -> dict:
        """The record (`RunRecord`), with `settings` and `checks`."""
        return read_json(self.record)

    def read_curves(self) -> "pd.DataFrame":
        """The rows of `metrics.csv`: one per epoch of data seen and series (`global`, or a site).

        What was not measured is NaN, also where it never was, as the loss of epochs of one batch in rounds of less.
        """
        return read_table(self.curves)

    def settings(self) -> Settings:
        """The settings that the run was trained with."""
        return Settings(**self.read_record()["settings"])

    def parameters(self) -> Parameters:
        """The trained model."""
        return load_model(self.model)


class DataFolder:
    """The folder of one source: its images, if they were made here, their catalogue and their pixels."""

    def __init__(self, folder: str | Path):
        self.path = Path(folder)
        self.images = self.path / "images.zip"
        self.archive_record = self.path / "images.json"  # of a download
        self.catalogue = self.path / "catalogue.csv"
        self.summary = self.path / "catalogue.json"
        self.account = self.path / "account.csv"  # a row for each file
        self.page = self.path / "account.html"
        self.pixels = self.path / "pixels.npy"


class CohortFolder:
    """The folder of one cohort: who is in which split, and at which site."""

    def __init__(self, folder: Path):
        self.path = folder
        self.split = folder / "split.csv"
        self.settings = folder / "split.json"  # the settings by which it was drawn
        self.counts = folder / "counts.csv"
        self.heterogeneity = folder / "heterogeneity.json"


class ExternalFolder(DataFolder):
    """The folder of an external test: a source on which no hospital trains."""

    def __init__(self, folder: str | Path):
        super().__init__(folder)
        self.split = self.path / "split.csv"  # all its images, as a test set
        self.site = self.path / "site"  # `data.site.SiteFolder`


class Folder:
    """results/<experiment>. Names in braces, as Snakemake's wildcards are, may stand for a part of a path."""

    def __init__(self, root: str | Path):
        self.root = root = Path(root)
        self.config = root / "config.json"  # every value of the configuration
        self.experiment = root / "experiment.json"  # the part of it that says which runs there are
        self.cohorts = root / "cohort"
        self.sites = root / "sites"
        self.salt = root / "salt"  # the secret that hides the patients of DICOMs; one, so that sources can be compared
        self.registry = root / "sites" / "registry.csv"
        self.project = root / "federation" / "project.yml"
        self.kits = root / "federation" / "kits.json"
        self.initial = root / "initial.safetensors"  # the model that every run begins with, if one is given
        self.runs = root / "runs"
        self.live = root / "live"
        self.points = root / "points.csv"
        self.confirmed = root / "confirmed.csv"
        self.predictions = root / "predictions.csv"
        self.chosen = root / "chosen.csv"
        self.comparison = root / "comparison.csv"
        self.summary = root / "summary.csv"
        self.differences = root / "differences.csv"
        self.methods = root / "methods.csv"
        self.updates = root / "updates.csv"
        self.contributions = root / "contributions.csv"
        self.own_thresholds = root / "own_thresholds.csv"
        self.agreement = root / "agreement.csv"
        self.audit = root / "audit.csv"
        self.at_sites = root / "at_sites.csv"
        self.gate_rules = root / "gate.json"  # written before a test set is read
        self.gate = root / "gate.csv"
        self.model = root / "model"
        self.figures = root / "figures"
        self.pages = root / "report"
        self.tensorboard = root / "tensorboard"

    @property
    def shows_tests(self) -> bool:
        """Whether a file is there that has results on test sets.

        Each of them is looked for, because Snakemake deletes the outputs of a job before it runs again, and no others.
        """
        tables = (self.predictions, self.comparison, self.summary, self.differences, self.methods, self.updates)
        tables += (self.contributions, self.own_thresholds, self.agreement, self.audit, self.at_sites, self.gate)
        return any(path.exists() for path in (*tables, self.page("index")))

    def data(self, source: str) -> DataFolder:
        """The folder of a source, by its place below the experiment's (`data.datasets.Source.folder`)."""
        return DataFolder(self.root / source)

    def cohort(self, cohort: Cohort) -> CohortFolder:
        """The folder of a cohort."""
        return CohortFolder(self.cohorts / cohort.folder)

    def site(self, cohort: Cohort, site: str) -> Path:
        """The folder of a site's data in a cohort (`data.site.SiteFolder`); `shared` is the validation set's."""
        return self.sites / cohort.folder / site

    def external(self, name: str) -> ExternalFolder:
        """The folder of an external test."""
        return ExternalFolder(self.root / "external" / name)

    def run(self, path: str) -> RunFolder:
        """The folder of a run, by its path below `runs/`."""
        return RunFolder(self.runs / path)

    def figure(self, name: str) -> Iterator[tuple[str, Path]]:
        """(format, file) of a figure: an SVG, which the report shows, and a PNG."""
        return ((kind, self.figures / f"{name}.{kind}") for kind in ("svg", "png"))

    def page(self, name: str) -> Path:
        """A page of the report."""
        return self.pages / f"{name}.html"

    def log(self, name: str) -> Path:
        """The log of a job."""
        return self.root / "logs" / f"{name}.log"

    def benchmark(self, name: str) -> Path:
        """The file into which Snakemake writes what a job cost."""
        return self.root / "benchmarks" / f"{name}.tsv"
