"""The data sets that the workflow knows: a file for each says what it is and how its images come to be here.

A new one is a file beside these with a `DATASET`, which `DATASETS` lists and config/schema.yaml allows as
`dataset.source`. Nothing that computes a result imports this package, so that its words rerun no training, and it
imports no library, because the workflow loads it each time that it plans.
"""

from fedxray.data.datasets import folder, kaggle, phantom
from fedxray.data.datasets.contract import Dataset

DATASETS = {dataset.name: dataset for dataset in (phantom.DATASET, kaggle.DATASET, folder.DATASET)}


def get(source: str) -> Dataset:
    """The data set that `dataset.source` names; raises KeyError for a name that config/schema.yaml does not allow."""
    return DATASETS[source]
