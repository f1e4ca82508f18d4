"""What becomes of a model when a second wave of patients has come: each strategy against keeping the old model.

Two questions on the same models: `new` is what a strategy gains on the test patients of wave 2, `old` what it loses on
those of wave 1 (forgetting). The models of one mode, method and site are compared with one another, each trained by a
strategy (`experiment.sweep.STRATEGIES`), paired over patients and seeds.
"""

from collections.abc import Collection, Iterable

import numpy as np
import pandas as pd

from fedxray.analysis.comparison import ModelsOnTestSet, columns_of
from fedxray.analysis.external import apart
from fedxray.analysis.sentences import sentence
from fedxray.analysis.statistics import holm
from fedxray.experiment.cohorts import Cohort
from fedxray.experiment.experiment import POOLED, model_name
from fedxray.training.metrics import METRICS

QUESTIONS = {"new": 2, "old": 1}  # {question: the wave of the test patients}
KEEP = "keep"


def update(
    chosen: pd.DataFrame,
    predictions: pd.DataFrame,
    cohorts: Iterable[Cohort],
    replicates: int,
    confidence: float,
    seed: int,
    external: Collection[str] = (),
) -> pd.DataFrame:
    """One row per question, model, strategy, test set (`pooled` and the hospitals') and metric.

    `value` and `kept` are those of the strategy's model and of the old one, and the difference has its interval and p,
    adjusted (Holm) over the rows of a question and metric. A hospital's model alone is tested on its own patients. The
    thresholds are those of the validation set, which has patients of both waves.
    """
    strategies = {cohort.name: cohort for cohort in cohorts}
    tests, found = apart(predictions[predictions["set"] != "validation"], external)[0], []
    for question, wave in QUESTIONS.items():
        of_wave = tests[tests["wave"] == wave]
        for kept in dict.fromkeys(cohort.kept for cohort in strategies.values()):
            runs = chosen[[strategies[name].kept == kept for name in chosen["cohort"]]]
            # The strategy is told by the method, so that the models of all strategies are of one test set.
            named = [
                f"{strategies[name].strategy}|{method}"
                for name, method in zip(runs["cohort"], runs["method"], strict=True)
            ]
            runs = runs.assign(method=named)
            part = of_wave[of_wave["path"].isin(runs["path"])]
            for test_set in (POOLED, *part["set"].unique()):
                on_set = ModelsOnTestSet(runs, part, test_set, replicates, seed)
                for mode, name, site in on_set.models:
                    strategy, _, method = name.partition("|")
                    if strategy == KEEP or (mode == "alone" and site != test_set):
                        continue
                    old = (mode, f"{KEEP}|{method}", site)
                    both = [on_set.estimate(each, confidence) for each in ((mode, name, site), old)]
                    row = {"cohort": kept, "question": question, "mode": mode, "method": method, "site": site}
                    row |= {"strategy": strategy, "test_set": test_set}
                    for metric, value in on_set.difference((mode, name, site), old, confidence).items():
                        values = {"value": both[0][metric].estimate, "kept": both[1][metric].estimate}
                        found.append((row | {"metric": metric} | values, value, len(np.unique(on_set.patients))))
    return pd.DataFrame([row for question in QUESTIONS for row in _adjusted(question, found)])


def _adjusted(question: str, found: list[tuple]) -> list[dict]:
    """The rows of one question, with the p values adjusted over each metric's, and a sentence."""
    rows = []
    for metric in METRICS:
        family = [each for each in found if each[0]["question"] == question and each[0]["metric"] == metric]
        adjusted = holm(np.array([value.p for _, value, _ in family]))
        for (row, value, patients), p in zip(family, adjusted, strict=True):
            name = model_name(row["mode"], row["method"], row["site"])
            where = f"{question} patients of {'all hospitals' if row['test_set'] == POOLED else row['test_set']}"
            said = sentence(value, f"{name}, {row['strategy']}", f"{name}, {KEEP}", p, None, where)
            rows.append(row | columns_of(value) | {"p_adjusted": p, "patients": patients, "sentence": said})
    return rows
