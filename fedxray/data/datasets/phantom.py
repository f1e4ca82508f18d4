"""The phantom: synthetic radiographs, drawn by fedxray.data.drawing so that the whole experiment runs anywhere."""

from fedxray.data.datasets.contract import Dataset

DATASET = Dataset(
    name="phantom",
    title="synthetic phantom radiographs",
    licence="Apache-2.0, as this project",
    citation="",
    synthetic=True,
    rule="draw_phantom",
)
