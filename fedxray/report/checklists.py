"""Two published checklists: which items the page answers from the records, where, and which are left to the author.

The topics are in our words; numbers and order are those of the published items. TRIPOD+AI: Collins et al. 2024. CLAIM:
its update of 2024, Tejani et al., which renumbered the items of 2020.
"""

from typing import NamedTuple

AUTHOR = "for the author"


class Item(NamedTuple):
    """An item of a checklist."""

    number: str
    topic: str
    where: str = ""  # the id of the part or section of the page that answers it; empty: the author has to


class Checklist(NamedTuple):
    """A checklist and its source."""

    name: str
    source: str
    items: tuple[Item, ...]


TRIPOD = Checklist(
    "TRIPOD+AI",
    "Edition of 2024: Collins GS et al. TRIPOD+AI statement. BMJ 2024;385:e078378, doi:10.1136/bmj-2023-078378",
    (
        Item("1", "title: development or evaluation of a multivariable prediction model, population and outcome"),
        Item("2", "abstract, by its own checklist (TRIPOD+AI for Abstracts)"),
        Item("3a", "background: healthcare context, diagnostic or prognostic, rationale, existing models"),
        Item("3b", "background: target population, purpose in the care pathway, intended users", "model_card"),
        Item("3c", "background: known health inequalities between groups"),
        Item("4", "objectives, of development, evaluation or both", "question"),
        Item("5a", "data: sources, why they were used, representativeness", "datasheet"),
        Item("5b", "data: dates of collection, follow-up if any"),
        Item("6a", "participants: setting and centres", "datasheet"),
        Item("6b", "participants: eligibility", "datasheet"),
        Item("6c", "participants: treatments received, and how they were handled"),
        Item("7", "data preparation: processing and quality checks, and whether alike across groups", "datasheet"),
        Item("8a", "outcome: definition, time horizon, how and when it was assessed, and why this one", "datasheet"),
        Item("8b", "outcome: who assessed it, if it needs interpretation"),
        Item("8c", "outcome: blinding of its assessment"),
        Item("9a", "predictors: which, and how they were chosen", "datasheet"),
        Item("9b", "predictors: definition, how and when they were measured", "datasheet"),
        Item("9c", "predictors: who assessed them, if they need interpretation"),
        Item("10", "sample size of development and of evaluation, how it was arrived at, whether it suffices"),
        Item("11", "missing data, and reasons for leaving data out", "methods"),
        Item("12a", "analysis: how data were used, and partitioned", "methods"),
        Item("12b", "analysis: how predictors were handled", "datasheet"),
        Item("12c", "analysis: type of model and why, all steps of building, tuning, internal validation", "methods"),
        Item("12d", "analysis: how differences between clusters (hospitals) were handled", "hospitals"),
        Item("12e", "analysis: measures and plots of performance, and why", "methods"),
        Item("12f", "analysis: model updating", "conclusions"),
        Item("12g", "analysis: how predictions were calculated", "model_card"),
        Item("13", "class imbalance: methods, why, recalibration afterwards", "methods"),
        Item("14", "fairness: approaches to address it", "conclusions"),
        Item("15", "model output: probability, classes, thresholds", "model_card"),
        Item(
            "16",
            "differences between data of development and evaluation: setting, eligibility, outcome, predictors",
            "datasheet",
        ),
        Item("17", "ethical approval and informed consent"),
        Item("18a", "open science: funding, and the role of the funders"),
        Item("18b", "open science: conflicts of interest"),
        Item("18c", "open science: protocol"),
        Item("18d", "open science: registration"),
        Item("18e", "open science: availability of data", "data"),
        Item("18f", "open science: availability of code", "repeat"),
        Item("19", "patient and public involvement"),
        Item("20a", "results: flow of participants, with and without the outcome", "methods"),
        Item("20b", "results: characteristics, overall and by data source", "datasheet"),
        Item("20c", "results: development against evaluation data", "datasheet"),
        Item("21", "results: participants and events in development, tuning and evaluation", "datasheet"),
        Item(
            "22", "results: the full model, for predictions in new patients, and restrictions of its use", "model_card"
        ),
        Item("23a", "results: performance with intervals, key subgroups included", "conclusions"),
        Item("23b", "results: differences of performance between clusters (hospitals)", "hospitals"),
        Item("24", "results: model updating, and the performance after it", "conclusions"),
        Item("25", "discussion: interpretation, fairness included"),
        Item("26", "discussion: limitations, and what they do to bias, uncertainty and generality", "limits"),
        Item("27a", "usability: how poor or missing input data are to be handled"),
        Item("27b", "usability: interaction with users and their expertise"),
        Item("27c", "usability: next steps for research"),
    ),
)
CLAIM = Checklist(
    "CLAIM",
    "Edition of 2024: Tejani AS et al. Checklist for Artificial Intelligence in Medical Imaging (CLAIM): 2024 Update. "
    "Radiology: Artificial Intelligence 2024;6(4):e240300, doi:10.1148/ryai.240300",
    (
        Item("1", "identified as a study of AI, with the technology"),
        Item("2", "abstract: design, methods, results, conclusions"),
        Item("3", "background, intended use and role", "model_card"),
        Item("4", "aims, objectives, hypotheses", "question"),
        Item("5", "prospective or retrospective"),
        Item("6", "study goal", "question"),
        Item("7", "data sources", "data"),
        Item("8", "who was included and excluded", "datasheet"),
        Item("9", "preprocessing", "datasheet"),
        Item("10", "selection of subsets of the data", "methods"),
        Item("11", "de-identification"),
        Item("12", "missing data", "methods"),
        Item("13", "how the images were acquired"),
        Item("14", "reference standard: how it was obtained", "datasheet"),
        Item("15", "reference standard: why this one"),
        Item("16", "reference standard: source of the annotations", "datasheet"),
        Item("17", "reference standard: annotation of the test set"),
        Item("18", "reference standard: variability between and within readers"),
        Item("19", "how data were assigned to partitions", "methods"),
        Item("20", "level at which partitions are disjoint", "methods"),
        Item("21", "test data: intended sample size"),
        Item("22", "description of the model", "model_card"),
        Item("23", "software libraries, frameworks and packages", "environment"),
        Item("24", "how parameters were initialised", "repeat"),
        Item("25", "training: augmentation, hyper-parameters, number of models", "methods"),
        Item("26", "how the final model was selected", "methods"),
        Item("27", "ensembles"),
        Item("28", "metrics", "methods"),
        Item("29", "significance and uncertainty", "methods"),
        Item("30", "robustness or sensitivity analysis", "conclusions"),
        Item("31", "explainability", "figures"),
        Item("32", "evaluation on internal data", "conclusions"),
        Item("33", "test on external data", "external"),
        Item("34", "registration of a clinical trial"),
        Item("35", "how many patients or examinations were included and excluded", "methods"),
        Item("36", "demographic and clinical characteristics of each partition", "datasheet"),
        Item("37", "performance and its uncertainty", "conclusions"),
        Item("38", "diagnostic performance and its precision", "conclusions"),
        Item("39", "failure analysis", "figures"),
        Item("40", "limitations", "limits"),
        Item("41", "implications for practice"),
        Item("42", "where the full protocol or further technical details are"),
        Item("43", "availability of software, model and data", "repeat"),
        Item("44", "funding and other support"),
    ),
)
