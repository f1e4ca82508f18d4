"""The differences between models: one family of comparisons for each question that is asked."""

import math
from collections.abc import Collection, Iterator

import numpy as np
import pandas as pd
from scipy import stats

from fedxray.analysis.choice import FEDERATED, alone_of, best_method, without_coalitions
from fedxray.analysis.comparison import ModelsOnTestSet, Name, columns_of, on_each_test_set
from fedxray.analysis.sentences import sentence
from fedxray.analysis.statistics import PRIMARY, Difference, holm, noninferior
from fedxray.experiment.experiment import POOLED, model_name
from fedxray.training.metrics import METRICS

# reference: each federated model minus the reference of the configuration, on the pooled test set. alone: the federated
# model of the method that validation chose minus each hospital's alone, there. joining: at each hospital, on its own
# test set, each federated or personal model minus its own alone. methods: each method minus the plain one. external:
# as reference and alone, on external tests.
QUESTIONS = ("reference", "alone", "joining", "methods", "external")
PLAIN = "fedavg"
VERDICTS = ("gains", "not harmed", "harmed", "not shown")


def contrast(
    chosen: pd.DataFrame,
    predictions: pd.DataFrame,
    replicates: int,
    confidence: float,
    seed: int,
    margin: float,
    reference: str,
    external: Collection[str] = (),
) -> pd.DataFrame:
    """One row per question (`QUESTIONS`), comparison and metric, paired over patients and seeds, pooled over seeds.

    `reference` is a mode (`central`, `alone`) or the slug of a method. A hospital alone is that of the same budget. p
    values are adjusted (Holm) over the comparisons of a question and metric. The AUROC is the primary metric: against
    the reference it has non-inferiority within `margin`, and of joining also a verdict and the patients that it needs.
    """
    found: dict[str, list] = {question: [] for question in QUESTIONS}
    compared = without_coalitions(chosen)
    for cohort, on_set in on_each_test_set(compared, predictions, replicates, seed, external):
        best = best_method(compared[compared["cohort"] == cohort], "federated")
        for question, a, b in _pairs(on_set, best, reference, external):
            values = on_set.difference(a, b, confidence).values()
            found[question] += [(cohort, a, b, on_set, value) for value in values]
    rows = [row for question, family in found.items() for row in _adjusted(question, family, margin)]
    return pd.DataFrame(rows).astype({"patients_needed": "Int64"})


def _pairs(
    on_set: ModelsOnTestSet, best: str | None, reference: str, external: Collection[str]
) -> Iterator[tuple[str, Name, Name]]:
    """(question, model, other model) of each comparison on a test set; `best` is the method that validation chose."""
    models = list(on_set.models)
    federated = [model for model in models if model[0] in FEDERATED]
    leads: list[Name] = [("federated", best, POOLED)] if best is not None else []
    central, alone = ([model for model in models if model[0] == mode] for mode in ("central", "alone"))
    central = [model for model in central if not model[1]]  # without noise, if some are private

    def peers(model: Name) -> list[Name]:
        """The hospitals alone that had its budget."""
        budget = alone_of(model[1], {method for _, method, _ in alone})
        return [other for other in alone if other[1] == budget]

    if on_set.test_set in external:
        yield from (("external", lead, other) for lead in leads for other in central + peers(lead))
        return
    if on_set.test_set == POOLED:
        for model in federated:
            against = {"central": central, "alone": peers(model)}
            same = [other for other in federated if other[1] == reference != model[1]]
            yield from (("reference", model, other) for other in against.get(reference, same))
        if reference != "alone":
            yield from (("alone", lead, other) for lead in leads for other in peers(lead))
    else:
        for model in federated:
            yield from (("joining", model, other) for other in peers(model) if other[2] == on_set.test_set)
    plain = [*(model for model in federated if model[1] == PLAIN), *federated][:1]
    yield from (("methods", model, other) for other in plain for model in federated if model != other)


def _adjusted(question: str, family: list[tuple], margin: float) -> Iterator[dict]:
    """The rows of one question: p values adjusted over each metric's."""
    for metric in METRICS:
        of_metric = [entry for entry in family if entry[-1].metric == metric]
        adjusted = holm(np.array([value.p for *_, value in of_metric]))
        for (cohort, a, b, on_set, value), p in zip(of_metric, adjusted, strict=True):
            limit = margin if metric == PRIMARY and question in ("reference", "joining") else None
            joins, patients = metric == PRIMARY and question == "joining", len(np.unique(on_set.patients))
            where = f"the {on_set.test_set} test set"
            if question == "external":
                where = f"{on_set.test_set} (external, no hospital trained on it)"
            row = {"cohort": cohort, "question": question, "mode": a[0], "method": a[1]}
            row |= dict(zip(("against", "against_method", "site"), b, strict=True))
            row |= {"test_set": on_set.test_set, "metric": metric, **columns_of(value), "p_adjusted": p}
            row["noninferior"] = "" if limit is None else str(noninferior(value, limit)).lower()
            row |= {"verdict": verdict(value, p, margin) if joins else "", "patients": patients}
            row["patients_needed"] = patients_needed(value, patients, margin) if joins else None
            yield row | {"sentence": sentence(value, model_name(*a), model_name(*b), p, limit, where)}


def verdict(difference: Difference, adjusted_p: float, margin: float) -> str:
    """What joining does to a hospital, one of `VERDICTS`: gains or harmed if the AUROC is shown to be higher or lower.

    Not harmed is a loss of less than `margin` at most (non-inferior). A loss that is shown is harm, however small.
    """
    if adjusted_p < 1 - difference.confidence and difference.estimate != 0:
        return "gains" if difference.estimate > 0 else "harmed"
    return "not harmed" if noninferior(difference, margin) else "not shown"


def patients_needed(difference: Difference, patients: int, margin: float) -> int | None:
    """How many test patients would exclude a loss of `margin`, if estimate, spread and seeds stayed; None if none do.

    The standard error between patients falls with the root of their number, that between seeds stays, and the
    quantile of Student's t is that of the difference's degrees of freedom.
    """
    if np.isnan(difference.low) or difference.estimate <= -margin:
        return None
    if difference.se == 0:
        return patients
    quantile = stats.t.ppf((1 + difference.confidence) / 2, difference.df)
    within = ((difference.estimate + margin) / quantile) ** 2 - difference.se_between**2
    return None if within <= 0 else math.floor(patients * difference.se_within**2 / within) + 1
