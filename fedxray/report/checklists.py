"""Two published checklists: which items the page answers from the records, where, and which are left to the author.

The topics are in our words. TRIPOD+AI: Collins et al. 2024. CLAIM: Mongan, Moy and Kahn 2020.
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
    "Collins GS et al. TRIPOD+AI statement. BMJ 2024;385:e078378, doi:10.1136/bmj-2023-078378",
    (
        Item("1", "title: development or evaluation of a prediction model, population and outcome"),
        Item("2", "abstract"),
        Item("3a", "background: healthcare context and rationale"),
        Item("3b", "background: target population and intended use", "model_card"),
        Item("3c", "background: known health inequalities"),
        Item("4", "objectives", "question"),
        Item("5a", "data: sources, why they were used, representativeness", "datasheet"),
        Item("5b", "data: dates of collection"),
        Item("6a", "participants: setting and centres", "datasheet"),
        Item("6b", "participants: eligibility", "datasheet"),
        Item("6c", "participants: treatments received"),
        Item("7", "data preparation", "datasheet"),
        Item("8a", "outcome: definition, and how it was assessed", "datasheet"),
        Item("8b", "outcome: qualification of the assessors"),
        Item("8c", "outcome: blinding of its assessment"),
        Item("9a", "predictors: which, and how they were chosen", "datasheet"),
        Item("9b", "predictors: definition and measurement", "datasheet"),
        Item("9c", "predictors: qualification of the assessors, if they need interpretation"),
        Item("10", "sample size, and how it was arrived at"),
        Item("11", "missing data", "methods"),
        Item("12a", "analysis: how data were used, and partitioned", "methods"),
        Item("12b", "analysis: how predictors were handled", "datasheet"),
        Item("12c", "analysis: type of model, building, tuning, internal validation", "methods"),
        Item("12d", "analysis: heterogeneity between clusters", "hospitals"),
        Item("12e", "analysis: measures of performance, and why", "methods"),
        Item("12f", "analysis: model updating", "conclusions"),
        Item("12g", "analysis: how predictions were calculated", "model_card"),
        Item("13", "class imbalance", "methods"),
        Item("14", "fairness: approaches to address it", "conclusions"),
        Item("15", "model output: probability, classes, thresholds", "model_card"),
        Item("16", "differences between data of development and evaluation", "datasheet"),
        Item("17", "ethical approval"),
        Item("18a", "open science: funding"),
        Item("18b", "open science: conflicts of interest"),
        Item("18c", "open science: protocol"),
        Item("18d", "open science: registration"),
        Item("18e", "open science: availability of data", "data"),
        Item("18f", "open science: availability of code", "repeat"),
        Item("19", "patient and public involvement"),
        Item("20a", "results: flow of participants", "methods"),
        Item("20b", "results: characteristics, by data source", "datasheet"),
        Item("20c", "results: development against evaluation data", "datasheet"),
        Item("21", "results: participants and events in each analysis", "datasheet"),
        Item("22", "results: the full model, for predictions in new patients", "model_card"),
        Item("23a", "results: performance with intervals, key subgroups included", "conclusions"),
        Item("23b", "results: heterogeneity of performance between clusters", "hospitals"),
        Item("24", "results: model updating", "conclusions"),
        Item("25", "discussion: interpretation, fairness included"),
        Item("26", "discussion: limitations", "limits"),
        Item("27a", "usability: poor or missing input data"),
        Item("27b", "usability: interaction with users and their expertise"),
        Item("27c", "usability: next steps for research"),
    ),
)
CLAIM = Checklist(
    "CLAIM",
    "Mongan J, Moy L, Kahn CE. Checklist for Artificial Intelligence in Medical Imaging. Radiology: Artificial "
    "Intelligence 2020;2(2):e200029, doi:10.1148/ryai.2020200029",
    (
        Item("1", "title or abstract: identified as a study of AI, with the technology"),
        Item("2", "structured abstract"),
        Item("3", "background, intended use and clinical role", "model_card"),
        Item("4", "objectives and hypotheses", "question"),
        Item("5", "prospective or retrospective"),
        Item("6", "study goal", "question"),
        Item("7", "data sources", "data"),
        Item("8", "eligibility: how, where and when patients were identified", "datasheet"),
        Item("9", "preprocessing", "datasheet"),
        Item("10", "selection of subsets", "methods"),
        Item("11", "definitions of data elements", "datasheet"),
        Item("12", "de-identification"),
        Item("13", "how missing data were handled", "methods"),
        Item("14", "definition of the reference standard", "datasheet"),
        Item("15", "why this reference standard"),
        Item("16", "source of annotations, and qualification of annotators", "datasheet"),
        Item("17", "annotation tools"),
        Item("18", "variability between and within readers"),
        Item("19", "intended sample size"),
        Item("20", "how data were assigned to partitions", "methods"),
        Item("21", "level at which partitions are disjoint", "methods"),
        Item("22", "description of the model, inputs and outputs", "model_card"),
        Item("23", "software libraries, frameworks and packages", "environment"),
        Item("24", "how parameters were initialised", "repeat"),
        Item("25", "training: augmentation, hyper-parameters, number of models", "methods"),
        Item("26", "how the final model was selected", "methods"),
        Item("27", "ensembles"),
        Item("28", "metrics", "methods"),
        Item("29", "significance and uncertainty", "methods"),
        Item("30", "robustness and sensitivity analysis", "conclusions"),
        Item("31", "explainability", "figures"),
        Item("32", "test on external data", "external"),
        Item("33", "flow of patients", "methods"),
        Item("34", "characteristics of each partition", "datasheet"),
        Item("35", "performance on all partitions", "conclusions"),
        Item("36", "estimates and their precision", "conclusions"),
        Item("37", "failure analysis", "figures"),
        Item("38", "limitations", "limits"),
        Item("39", "implications for practice"),
        Item("40", "registration"),
        Item("41", "where the protocol is"),
        Item("42", "funding"),
    ),
)
