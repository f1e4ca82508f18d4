"""The user's own images: a directory with folders NORMAL and PNEUMONIA, or with a manifest.csv."""

from fedxray.data.datasets.contract import Dataset

DATASET = Dataset(
    name="folder",
    title="the user's own images",
    licence="for the user to say",
    citation="",
    synthetic=False,
    path_key="folder",
)
