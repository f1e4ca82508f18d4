"""The phantom: synthetic radiographs, drawn by fedxray.data.drawing so that the whole experiment runs anywhere."""

from fedxray.data.datasets.contract import Dataset

DATASET = Dataset(
    name="phantom",
    title="synthetic phantom radiographs",
    licence="Apache-2.0, as this project",
    citation="",
    about=(
        "These are synthetic chest radiographs, drawn by this project's generator so that the whole experiment runs "
        "anywhere. No person was imaged. They are no model of disease: nothing about hospitals, patients or the "
        "difficulty of the task follows from them."
    ),
    synthetic=True,
    model_limits=("It was trained on synthetic phantoms: on real radiographs it means nothing.",),
    rule="draw_phantom",
    reading={"patient": "kermany"},
)
