"""The RSNA Pneumonia Detection Challenge on Kaggle: DICOM radiographs of mostly adults, labelled by radiologists."""

from fedxray.data.datasets.contract import Dataset

DATASET = Dataset(
    name="rsna",
    title="RSNA Pneumonia Detection Challenge, radiographs of mostly adults",
    licence=(
        "the rules of the competition, which each user accepts on Kaggle; the RSNA's own terms allow research, "
        "education and other use with attribution"
    ),
    citation=(
        "Shih, Wu et al. 2019, Augmenting the National Institutes of Health Chest Radiograph Dataset with Expert "
        "Annotations of Possible Pneumonia, Radiology: Artificial Intelligence 1:e180041, "
        "doi:10.1148/ryai.2019180041; and the paper of the images, Wang, Peng et al. 2017, ChestX-ray8, "
        "arXiv:1705.02315"
    ),
    about=(
        "These are frontal chest radiographs that the Radiological Society of North America chose from NIH "
        "ChestX-ray14 (one research hospital in Bethesda; most patients are adults) and published as DICOM. "
        "Radiologists looked at the images and labelled them anew: Lung Opacity where they saw an opacity that may be "
        "pneumonia, Normal, or No Lung Opacity / Not Normal. Here the first is pneumonia, the second is normal, and "
        "the third is left out, unless the configuration says otherwise. Kaggle's second stage has 26,684 labelled "
        "images; its 3,000 test images have no labels and are not used. The identifier patientId, which is also the "
        "file's name, stands for one image."
    ),
    limits=(
        "An identifier stands for an image and not for a person: no two images have the same, though NIH "
        "ChestX-ray14, which the images are from, has many persons with several. So a person may be in training and "
        "test, and figures may be too good; intervals, which treat patients as independent, are too narrow. The "
        "RSNA's own page has a list of each image's name at the NIH, from which a manifest with the column patient "
        "can be made.",
        "Every image is also in NIH ChestX-ray14, under another name and compressed anew, so no duplicate is found. "
        "With a model that was trained on one of them, the other is no external test: it has the same persons.",
        "Lung Opacity is what is seen in an image, without the patient's history. An opacity may have other causes, "
        "and most images were labelled by one reader.",
        "Abnormal images without an opacity are left out: the task is easier than in a clinic.",
    ),
    model_limits=(
        "The images of the RSNA are of one research hospital. What it learnt from them as pneumonia is an opacity of "
        "the lung, which may have other causes.",
    ),
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
        "known": (
            *("stage_2_test_images/*", "stage_2_train_labels.csv", "stage_2_sample_submission.csv"),
            "GCP Credits Request Link*",
        ),
    },
)
