"""NIH ChestX-ray14: radiographs of mostly adults, with labels that were mined from their reports."""

from fedxray.data.datasets.contract import Dataset

OTHER_FINDINGS = (
    *("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Effusion", "Emphysema", "Fibrosis", "Hernia"),
    *("Infiltration", "Mass", "Nodule", "Pleural_Thickening", "Pneumothorax"),
)
DATASET = Dataset(
    name="nih",
    title="NIH ChestX-ray14, radiographs of mostly adults",
    licence=(
        "use is unrestricted; name the NIH Clinical Center, link to its download site "
        "(nihcc.app.box.com/v/ChestXray-NIHCC) and cite the paper"
    ),
    citation=(
        "Wang, Peng et al. 2017, ChestX-ray8: Hospital-scale Chest X-ray Database and Benchmarks on Weakly-Supervised "
        "Classification and Localization of Common Thorax Diseases, CVPR 2017, arXiv:1705.02315"
    ),
    about=(
        "These are frontal chest radiographs of patients of the NIH Clinical Center, a research hospital in Bethesda; "
        "most are adults. The whole set has 112,120 images of 30,805 patients, published as 1024 x 1024 PNG without "
        "the reports. A program mined the labels from the radiologists' reports: any of 14 findings, or No Finding. "
        "Here an image with the finding Pneumonia, alone or among others, is pneumonia; one with No Finding is "
        "normal; one with other findings only is left out, unless the configuration says otherwise. Patients are told "
        "apart by the table's column Patient ID, which is also the number at the beginning of a file's name."
    ),
    limits=(
        "The labels come from words in reports, not from a second look at the images. Radiologists who looked again "
        "agreed less often than the authors expected (Oakden-Rayner 2020, Academic Radiology 27:106): part of every "
        "error measured here is an error of the labels.",
        "No Finding means that none of the 14 findings is mentioned as certain. It does not mean a healthy chest.",
        "Pneumonia is a decision from the whole case, and looks like the findings Infiltration and Consolidation, "
        "which are left out here: the task is easier than in a clinic.",
        "Few images have the finding: 1,431 of the whole set, against 60,361 with No Finding.",
    ),
    model_limits=(
        "The images of the NIH are of one research hospital, with labels that a program mined from reports: what it "
        "learnt from them as pneumonia is what such a report calls pneumonia.",
    ),
    rule="fetch_kaggle",
    path_key="archive",
    handle="nih-chest-xrays/data",
    reading={
        "table": "Data_Entry*.csv",
        "anywhere": True,
        "columns": {"image": "Image Index", "label": "Finding Labels", "patient": "Patient ID"},
        "labels": {"No Finding": 0, "Pneumonia": 1, **dict.fromkeys(OTHER_FINDINGS, "drop")},
        "multiple": "any",
        "known": ("BBox_List*.csv", "test_list*.txt", "train_val_list*.txt", "*.pdf"),
    },
)
