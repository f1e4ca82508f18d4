"""The answer of an experiment: two sentences for all, and one for each hospital. Each number knows where it is from."""

import re
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import NamedTuple

import pandas as pd

from fedxray.analysis.choice import FEDERATED
from fedxray.analysis.sentences import with_interval
from fedxray.analysis.statistics import PRIMARY
from fedxray.experiment.experiment import POOLED, model_name

# Files, as seen from the experiment's folder.
METHODS, UPDATES, AT_SITES, CONFIG = "methods.csv", "updates.csv", "at_sites.csv", "config.json"
VERDICTS = {"gains": "gains", "not harmed": "not harmed", "harmed": "harmed", "not shown": "cannot be told"}  # in words
ALONE = "stays alone"  # the verdict on a hospital whose own validation chooses its model alone
REFERENCES = {"central": "central training"}
NOISE = re.compile(r"\+(?P<place>sum|sites)\+(?P<epsilon>epsilon=[^+]+)")  # in the name of a method, by `Privacy.slug`
STRATEGIES = {
    "all": "trained further on all images (all)",
    "new": "trained further on the new ones alone (new)",
    "anew": "trained from the beginning on all (anew)",
}
PLACES = {"sum": "in the sum of all hospitals", "sites": "at each hospital"}


class Cited(NamedTuple):
    """A number in a sentence, and the cells of a file that it is from; of several rows it is their mean."""

    text: str
    file: str  # a table or a JSON file, as seen from the experiment's folder
    rows: tuple[int | str, ...]  # lines of a table, of which the header is the first; or dotted keys of a JSON file
    columns: tuple[str, ...] = ()  # of a table, in the order of the text
    scale: float = 1.0  # how many times larger the cells are than the text, such as 1e6 for bytes as megabytes


Sentence = list[str | Cited]


class Advice(NamedTuple):
    """What is said to one hospital: the verdict in words, and sentences of the model that it is of."""

    cohort: str
    hospital: str
    verdict: str  # a value of `VERDICTS`, or `ALONE`
    sentences: list[Sentence]


def plain(sentence: Sentence) -> str:
    """A sentence as text."""
    return "".join(part if isinstance(part, str) else part.text for part in sentence)


def interval(row: dict, line: Hashable, file: str, names: Sequence[str], sign: str = "") -> Cited:
    """The estimate of a row with its interval, to three decimals; `line` is the row's index as the table was read.

    `names` are the columns of estimate, low and high, or of an estimate alone; `sign` is "+" for a difference.
    """
    estimate, low, high = (*(row[name] for name in names), None, None)[:3]
    columns = names[:1] if pd.isna(low) else names
    return Cited(with_interval(estimate, low, high, sign), file, (line_of(line),), tuple(columns))


def line_of(index: Hashable) -> int:
    """The line of a file's row, by its index as the table was read; the header is line 1."""
    return int(str(index)) + 2


def answers(
    table: pd.DataFrame, margin: float, confidence: float, updates: pd.DataFrame | None = None
) -> Iterator[tuple[str, Sentence, Sentence]]:
    """(cohort, sentence, sentence): whether the shared model is as good as the reference, and who should join.

    In a sweep of privacy the first also says what noise leaves. `table` is methods.csv, with the index of its file.
    With `updates` (updates.csv) the strategies for a second wave come first, under the name of their key and cohort.
    What is called better, worse, gain or harm follows from the interval, adjusted p and `margin`, never from an
    estimate.
    """
    if updates is not None:
        for cohort, rows in updates.groupby("cohort", sort=False):
            name = ", ".join(filter(None, ["update.strategy", str(cohort)]))
            yield name, *_of_strategies(rows, confidence)
    for cohort, rows in table.groupby("cohort", sort=False):
        of_hospitals = list(advices(rows))
        yield str(cohort), [*_overall(rows, margin, confidence), *_of_noise(rows)], _joining(of_hospitals)


def answers_at_sites(table: pd.DataFrame) -> Iterator[tuple[str, Sentence, Sentence]]:
    """The same of a federation on other machines: `table` has the rows of at_sites.csv of the method that leads."""
    for cohort, rows in table.groupby("cohort", sort=False):
        parts: Sentence = ["Each hospital computed the AUROC of the federation's model on its own test patients:"]
        models = rows[rows["mode"].isin(FEDERATED)]
        for number, (hospital, tested) in enumerate(models.groupby("test_set", sort=False)):
            value = with_interval(tested["auroc"].mean())
            lines = tuple(line_of(index) for index in tested.index)
            parts += [", " if number else " ", Cited(value, AT_SITES, lines, ("auroc",)), f" at {hospital}"]
        told = "No prediction leaves a hospital: these numbers have no intervals, and it cannot be told who is to join."
        yield str(cohort), [*parts, "."], [told]


def console(found: Iterable[tuple[str, Sentence, Sentence]]) -> Iterator[str]:
    """The answers as lines for a terminal."""
    for cohort, *sentences in found:
        yield (f"{cohort}: " if cohort else "") + " ".join(map(plain, sentences))


def advices(table: pd.DataFrame) -> Iterator[Advice]:
    """For each cohort and hospital of methods.csv: whether it should join, by the model that validation chose for it.

    If that is another than the shared model, a second sentence says what the shared one would change.
    """
    for (cohort, hospital), rows in table.groupby(["cohort", "hospital"], sort=False):
        if hospital == POOLED or not rows["chosen"].any():
            continue
        best = rows[rows["chosen"]].iloc[0]
        shared = _shared(table[table["cohort"] == cohort])
        name = _named(best["mode"], best["method"], best["site"])
        lead: Sentence = [f"Of all models that {hospital} could use, its own validation chooses {name}"]
        if best["mode"] == "alone":
            sentences = [[*lead, ", so it need not join."]]
        else:
            sentences = [[*lead, "; on its own test patients ", *_changes(best)]]
        if shared is not None and (best["mode"], best["method"]) != ("federated", shared["method"]):
            same = rows[(rows["mode"] == "federated") & (rows["method"] == shared["method"])]
            by_choice = ", which validation chooses for all hospitals together," if shared["method"] else ""
            named = _named("federated", shared["method"], POOLED)
            sentences += [[f"With {named}{by_choice} ", *_changes(same.iloc[0])]]
        verdict = ALONE if best["mode"] == "alone" else VERDICTS[best["verdict"]]
        yield Advice(str(cohort), str(hospital), verdict, sentences)


def _named(mode: str, method: str, site: str) -> str:
    """A model in a sentence; where there is one method, its federation's has no name."""
    return "the federated model" if (mode, method) == ("federated", "") else model_name(mode, method, site)


def _shared(rows: pd.DataFrame) -> pd.Series | None:
    """The row of the shared model that validation chose, on all test patients; None if there is none."""
    found = rows[(rows["hospital"] == POOLED) & rows["chosen"]]
    return None if found.empty else found.iloc[0]


def _changes(row: pd.Series) -> Sentence:
    """What joining by a model changes at a hospital."""
    gain = interval(row.to_dict(), row.name, METHODS, ("gain", "gain_low", "gain_high"), "+")
    text: Sentence = ["the AUROC changes by ", gain, f" against {row['against']}: {VERDICTS[row['verdict']]}"]
    if row["verdict"] == "not shown" and not pd.isna(row["patients_needed"]):
        needed = Cited(f"{row['patients_needed']:.0f}", METHODS, (line_of(row.name),), ("patients_needed",))
        text += [" (about ", needed, " test patients would show that joining does not harm)"]
    return [*text, "."]


def _overall(rows: pd.DataFrame, margin: float, confidence: float) -> Sentence:
    """How good the shared model is on all test patients, and whether the reference is better."""
    best = _shared(rows)
    if best is None:
        return ["Each hospital has a model of its own, so there is no one model to compare on all test patients."]
    value = interval(best.to_dict(), best.name, METHODS, ("auroc", "auroc_low", "auroc_high"))
    noise, of_reference = (_noise_of(model, rows) for model in (best["method"], best["against"]))
    name = f" ({best['method']}{noise and f', {noise}'})" if best["method"] else ""
    text: Sentence = [f"On the test patients of all hospitals the federated model{name} has an AUROC of ", value]
    if not best["against"]:
        return [*text, "."]
    gain = interval(best.to_dict(), best.name, METHODS, ("gain", "gain_low", "gain_high"), "+")
    reference = REFERENCES.get(best["against"], best["against"] + (of_reference and f" ({of_reference})"))
    limit = Cited(f"{margin:g}", CONFIG, ("evaluation.margin",))
    within = best["noninferior"] == "true"
    shown = best["p_adjusted"] < 1 - confidence and best["gain"] != 0
    said: Sentence = ["these patients cannot tell whether it is as good, within the margin of ", limit]
    if shown and best["gain"] > 0:
        said = ["it is better"]
    elif shown:
        said = ["it is worse, by less than the margin of ", limit] if within else ["it is worse"]
    elif within:
        said = ["a loss of the margin of ", limit, " is excluded"]
    return [*text, ", a difference of ", gain, f" from {reference}: ", *said, "."]


def _of_strategies(table: pd.DataFrame, confidence: float) -> tuple[Sentence, Sentence]:
    """What each strategy changes against keeping the federated model, and of which changes chance is no explanation.

    Of several methods it is the first.
    """
    rows = table[(table["mode"] == "federated") & (table["test_set"] == POOLED) & (table["metric"] == PRIMARY)]
    method = rows["method"].iloc[0]
    rows = rows[rows["method"] == method]
    numbers: Sentence = []
    shown: dict[str, list[str]] = {"gain": [], "loss": []}
    for strategy, of_both in rows.groupby("strategy", sort=False):
        numbers += ["; " if numbers else " ", f"{STRATEGIES[str(strategy)]}, "]
        for index, row in of_both.iterrows():
            value = interval(row.to_dict(), index, UPDATES, ("estimate", "low", "high"), "+")
            numbers += [value, " on new patients and " if row["question"] == "new" else " on old ones"]
            if row["p_adjusted"] < 1 - confidence and row["estimate"] != 0:
                kind = "gain" if row["estimate"] > 0 else "loss"
                shown[kind].append(f"on {row['question']} patients ({strategy})")
    lead = f"Against keeping {_named('federated', method, POOLED)} its AUROC changes by, on the test patients of all "
    lead += "hospitals:"
    said = [f"a {kind} {_listed(which)}" for kind, which in shown.items() if which]
    rest = "; the other changes may be chance." if sum(map(len, shown.values())) < len(rows) else "."
    told = f"Allowing for the number of comparisons, what is shown is {' and '.join(said)}{rest}"
    return [lead, *numbers, "."], [told if said else "Allowing for the number of comparisons, none of it is shown."]


def _of_noise(table: pd.DataFrame) -> Sentence:
    """What noise leaves of the AUROC, of the method that validation prefers at each epsilon; nothing if none is named.

    What the noise takes is said too, if the reference is the federation without it.
    """
    rows = table[(table["hospital"] == POOLED) & (table["mode"] == "federated")]
    epsilons = rows["method"].str.extract(NOISE)["epsilon"]
    rows = rows.assign(epsilon=epsilons, plain=rows["method"].str.replace(NOISE, "", regex=True))
    noisy = rows[rows["epsilon"].notna()].sort_values("validation_auroc", ascending=False, kind="stable")
    said: Sentence = []
    for epsilon in epsilons.dropna().unique():
        best = noisy[noisy["epsilon"] == epsilon].iloc[0]
        value = interval(best.to_dict(), best.name, METHODS, ("auroc", "auroc_low", "auroc_high"))
        said += ["; " if said else " ", value, f" at {epsilon}"]
        if best["against"] == best["plain"]:
            cost = interval(best.to_dict(), best.name, METHODS, ("gain", "gain_low", "gain_high"), "+")
            said += [", a change of ", cost]
        said += [f" ({_noise_of(best['method'], table)})"]
    lead = " Training with noise that hides each patient (differential privacy; a smaller epsilon hides more) leaves, "
    lead += "by the method that validation chooses at each epsilon:"
    return [lead, *said, "."] if said else []


def _noise_of(model: str, table: pd.DataFrame) -> str:
    """Where the noise of a model is, by its name in methods.csv; empty if no model of the table has noise."""
    if found := NOISE.search(model):
        return f"noise {PLACES[found['place']]}"
    return "without noise" if any(map(NOISE.search, table["method"])) else ""


def _joining(of_hospitals: Sequence[Advice]) -> Sentence:
    """Which hospitals gain, which are harmed, and of which it cannot be told."""
    if not of_hospitals:
        return ["No hospital was trained alone, so none can be compared with itself alone."]
    groups: dict[str, list[str]] = {verdict: [] for verdict in (*VERDICTS.values(), ALONE)}
    for advice in of_hospitals:
        groups[advice.verdict].append(advice.hospital)
    phrases = {
        "gains": "{who} gain{s}",
        "not harmed": "{who} {is_} not harmed",
        "harmed": "{who} {is_} harmed",
        "cannot be told": "for {who} it cannot be told",
        ALONE: "{who} need not join, by {its} own validation",
    }
    said = []
    for verdict, who in groups.items():
        if who:
            one = {"s": "s", "is_": "is", "its": "its"} if len(who) == 1 else {"s": "", "is_": "are", "its": "their"}
            said.append(phrases[verdict].format(who=_listed(who), **one))
    lead = "Against training alone, each on its own test patients and with the model that its own validation chooses: "
    return [lead + "; ".join(said) + "."]


def _listed(names: Sequence[str]) -> str:
    """`names` in a sentence."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
