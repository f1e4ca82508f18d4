"""The radiographs of Kermany et al. on Kaggle: children of one to five years from one hospital in Guangzhou."""

from fedxray.data.datasets.contract import Dataset

DATASET = Dataset(
    name="kermany",
    title="Kaggle's paultimothymooney/chest-xray-pneumonia, radiographs of children",
    licence="CC BY 4.0",
    citation=(
        "Kermany, Goldbaum et al. 2018, Identifying Medical Diagnoses and Treatable Diseases by Image-Based Deep "
        "Learning, Cell 172:1122, doi:10.1016/j.cell.2018.02.010"
    ),
    about=(
        "These are chest radiographs (anterior-posterior) of children of one to five years, taken in routine care at "
        "Guangzhou Women and Children's Medical Center. Two physicians labelled them, and a third checked the "
        "evaluation set. Patients are told apart by file names: a person's number with the aetiology, or an IM "
        "number. The number alone is not a patient."
    ),
    limits=(
        "All images are of children from one centre: hospitals drawn from it alone differ less than real ones do.",
        "Normal and pneumonia images have names of different forms and may come from different devices or years: a "
        "model can learn these differences. The official test set is a later batch, on which models trained on the "
        "rest do worse.",
    ),
    model_limits=(
        "The children whose images it was trained on are of one centre: on children elsewhere, on adults if no other "
        "source has them, with other devices and other diseases of the chest it is untested. On the official, later "
        "test set such models lose much of their specificity at a threshold chosen on earlier images.",
    ),
    rule="fetch_kaggle",
    path_key="archive",
    handle="paultimothymooney/chest-xray-pneumonia",
    reading={"patient": "kermany"},
)
