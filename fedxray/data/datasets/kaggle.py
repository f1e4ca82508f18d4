"""The radiographs of Kermany et al. on Kaggle: children of one to five years from one hospital in Guangzhou."""

from fedxray.data.datasets.contract import Dataset

DATASET = Dataset(
    name="kaggle",
    title="Kaggle's paultimothymooney/chest-xray-pneumonia, radiographs of children",
    licence="CC BY 4.0",
    citation=(
        "Kermany, Goldbaum et al. 2018, Identifying Medical Diagnoses and Treatable Diseases by Image-Based Deep "
        "Learning, Cell 172:1122, doi:10.1016/j.cell.2018.02.010"
    ),
    synthetic=False,
    rule="fetch_kaggle",
    path_key="archive",
    handle="paultimothymooney/chest-xray-pneumonia",
)
