"""The predictions of the chosen models, which evaluation reads, and the threshold that each model takes from them."""

from collections.abc import Iterable, Sequence

import pandas as pd

from fedxray.analysis.choice import OWN, own_validation
from fedxray.data.site import SiteData, load_site
from fedxray.experiment.cohorts import Cohort
from fedxray.experiment.folder import Folder
from fedxray.training.metrics import choose_threshold
from fedxray.training.models import restore
from fedxray.training.trainer import predict

COLUMNS = ["path", "set", "image", "patient", "hospital", "label", "aetiology", "probability"]


def predict_chosen(
    points: pd.DataFrame, folder: Folder, cohorts: dict[str, Cohort], external: Iterable[str] = ()
) -> pd.DataFrame:
    """Probabilities of the chosen runs of `points` for the shared validation set and each test set.

    `cohorts` has the experiment's by name, and `external` names the test sets after those of the sites. A personal
    model predicts no other hospital's test set than its own. Each model predicts as it was trained (settings of its
    record). Returns the columns of `predictions.csv`; where there are waves of patients, each image's `wave` too.
    """
    tables, others = [], [load_site(folder.external(name).site) for name in external]
    for name, chosen in points[points["chosen"]].groupby("cohort", sort=False):
        sites = [load_site(folder.site(cohorts[name], site)) for site in cohorts[name].sites]
        validation, tests = _validation(sites), [_test(site, site.name) for site in sites]
        outside = [_test(site, "") for site in others]
        for path, mode, owner in zip(chosen["path"], chosen["mode"], chosen["site"], strict=True):
            run = folder.run(path)
            settings = run.settings()
            model = restore(settings, run.parameters())
            fewer = {"personal": [part for part in tests if part[0] == owner], "coalition": tests}
            asked = fewer.get(mode, [*tests, *outside])
            for set_name, rows, images in [validation, *asked]:
                probability = predict(model, images, settings.compute)
                tables.append(rows.assign(path=path, set=set_name, probability=probability))
    table = pd.concat(tables)
    return table[COLUMNS].assign(wave=table["wave"].astype("Int64")) if "wave" in table else table[COLUMNS]


def _validation(sites: Sequence[SiteData]) -> tuple:
    """(name, rows, images) of the validation set, which all sites share; each has marked whose patients are its own."""
    first = sites[0]
    rows = first.table[first.table["split"] == "validation"].assign(hospital="")
    for site in sites:
        own = site.table["image"][(site.table["split"] == "validation") & site.table["own"]]
        rows.loc[rows["image"].isin(own), "hospital"] = site.name
    return "validation", rows, first.part("validation")[0]


def _test(site: SiteData, hospital: str) -> tuple:
    """(name, rows, images) of a test set, of patients of the `hospital`."""
    return site.name, site.table[site.table["split"] == "test"].assign(hospital=hospital), site.part("test")[0]


def thresholds_of(predictions: pd.DataFrame, chosen: pd.DataFrame) -> dict[str, float]:
    """The threshold of each run of `chosen`, by its path, that its predictions of validation choose (Youden's).

    A model that belongs to one hospital has that of its own patients in the validation set. A run without predictions
    of the validation set has none.
    """
    parts = dict(list(predictions[predictions["set"] == "validation"].groupby("path", sort=False)))
    thresholds = {}
    for path, mode, site in zip(chosen["path"], chosen["mode"], chosen["site"], strict=True):
        if path in parts:
            rows = own_validation(parts[path], site) if mode in OWN else parts[path]
            thresholds[path] = choose_threshold(rows["label"].to_numpy(float), rows["probability"].to_numpy())
    return thresholds
