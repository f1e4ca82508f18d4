"""The RSNA Pneumonia Detection Challenge on Kaggle: radiographs of adults as DICOM, labelled by radiologists."""

from fedxray.data.datasets.contract import Dataset

DATASET = Dataset(
    name="rsna",
    title="RSNA Pneumonia Detection Challenge, radiographs of adults",
    licence="the competition's rules, which Kaggle asks to accept",
    citation=(
        "Shih, Wu et al. 2019, Augmenting the National Institutes of Health Chest Radiograph Dataset with Expert "
        "Annotations of Possible Pneumonia, Radiology: Artificial Intelligence 1:e180041, doi:10.1148/ryai.2019180041"
    ),
    about="",
    rule="fetch_kaggle",
    path_key="archive",
    handle="rsna-pneumonia-detection-challenge",
    reading={
        "patient": "rsna",
        "table": "stage_2_detailed_class_info.csv",
        "suffix": ".dcm",
        "anywhere": True,
        "columns": {"image": "patientId", "label": "class"},
        "labels": {"Normal": 0, "Lung Opacity": 1, "No Lung Opacity / Not Normal": "drop"},
        "known": ("stage_2_test_images/*", "stage_2_train_labels.csv", "stage_2_sample_submission.csv"),
    },
)
