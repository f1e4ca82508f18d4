"""NIH ChestX-ray14: radiographs of adults, with labels that were mined from their reports."""

from fedxray.data.datasets.contract import Dataset

DATASET = Dataset(
    name="nih",
    title="NIH ChestX-ray14, radiographs of adults",
    licence="without restriction of use; the NIH Clinical Center asks for the citation",
    citation=(
        "Wang, Peng et al. 2017, ChestX-ray8: Hospital-scale Chest X-ray Database and Benchmarks on Weakly-Supervised "
        "Classification and Localization of Common Thorax Diseases, CVPR 2017, arXiv:1705.02315"
    ),
    about="",
    rule="fetch_kaggle",
    path_key="archive",
    handle="nih-chest-xrays/data",
    reading={
        "table": "Data_Entry*.csv",
        "anywhere": True,
        "columns": {"image": "Image Index", "label": "Finding Labels", "patient": "Patient ID"},
        "labels": {
            "No Finding": 0,
            "Pneumonia": 1,
            **dict.fromkeys(
                (
                    *("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Effusion", "Emphysema", "Fibrosis"),
                    *("Hernia", "Infiltration", "Mass", "Nodule", "Pleural_Thickening", "Pneumothorax"),
                ),
                "drop",
            ),
        },
        "multiple": "any",
        "known": ("BBox_List*.csv", "test_list*.txt", "train_val_list*.txt", "*.pdf"),
    },
)
