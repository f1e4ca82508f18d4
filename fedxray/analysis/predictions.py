"""Predictions of the chosen models, which evaluation reads."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from fedxray.core.files import read_json
from fedxray.core.parameters import load_model
from fedxray.data.site import load_site
from fedxray.experiment.settings import Settings
from fedxray.training.models import set_parameters
from fedxray.training.trainer import predict


def predict_chosen(points: pd.DataFrame, runs: Path, sites: Path, names: Callable[[str], list[str]]) -> pd.DataFrame:
    """Probabilities of the chosen runs of `points` for the shared validation set and each site's test set.

    `runs` and `sites` are the folders of all runs and all sites' data, `names(cohort)` the sites of a cohort. Each
    model predicts as it was trained (settings of its record). Columns as of `predictions.csv`.
    """
    tables = []
    for cohort, chosen in points[points["chosen"]].groupby("cohort", sort=False):
        loaded = [load_site(sites / cohort / name) for name in names(cohort)]
        parts = [("validation", "validation", loaded[0]), *((site.name, "test", site) for site in loaded)]
        for path in chosen["path"]:
            settings = Settings(**read_json(runs / path / "record.json")["settings"])
            model = settings.build()
            set_parameters(model, load_model(runs / path / "model.safetensors"))
            for name, part, site in parts:
                rows = site.table[site.table["split"] == part]
                probability = predict(model, site.part(part)[0], settings)
                tables.append(rows.assign(path=path, set=name, probability=probability))
    return pd.concat(tables)[["path", "set", "image", "patient", "label", "aetiology", "probability"]]
