"""The predictions of the chosen models, which evaluation reads, and the threshold that each model takes from them."""

from collections.abc import Iterable

import pandas as pd

from fedxray.data.site import load_site
from fedxray.experiment.cohorts import Cohort
from fedxray.experiment.folder import Folder
from fedxray.training.metrics import choose_threshold
from fedxray.training.models import restore
from fedxray.training.trainer import predict

COLUMNS = ["path", "set", "image", "patient", "label", "aetiology", "probability"]


def predict_chosen(
    points: pd.DataFrame, folder: Folder, cohorts: dict[str, Cohort], external: Iterable[str] = ()
) -> pd.DataFrame:
    """Probabilities of the chosen runs of `points` for the shared validation set and each test set.

    `cohorts` has the experiment's by name, and `external` names the test sets after those of the sites. Each model
    predicts as it was trained (settings of its record). Returns the columns of `predictions.csv`.
    """
    tables, others = [], [load_site(folder.external(name).site) for name in external]
    for name, chosen in points[points["chosen"]].groupby("cohort", sort=False):
        sites = [load_site(folder.site(cohorts[name], site)) for site in cohorts[name].sites]
        sets = [("validation", "validation", sites[0]), *((site.name, "test", site) for site in (*sites, *others))]
        for path in chosen["path"]:
            run = folder.run(path)
            settings = run.settings()
            model = restore(settings, run.parameters())
            for set_name, split, site in sets:
                rows = site.table[site.table["split"] == split]
                probability = predict(model, site.part(split)[0], settings.compute)
                tables.append(rows.assign(path=path, set=set_name, probability=probability))
    return pd.concat(tables)[COLUMNS]


def thresholds_of(predictions: pd.DataFrame) -> dict[str, float]:
    """The threshold of each run, by its path, that its predictions of the validation set choose (Youden's)."""
    validation = predictions[predictions["set"] == "validation"]
    return {
        path: choose_threshold(rows["label"].to_numpy(float), rows["probability"].to_numpy())
        for path, rows in validation.groupby("path", sort=False)
    }
