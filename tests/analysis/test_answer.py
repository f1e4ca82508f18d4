"""What is said to all and to each hospital: it follows from intervals, and its numbers are in the file's cells."""

import pandas as pd
import pytest
from helpers.analysis import DRAW, METHODS, SITES, chosen_models
from helpers.cited import check

from fedxray.analysis.answer import Cited, advices, answers, answers_at_sites, console, plain
from fedxray.analysis.comparison import summarise
from fedxray.analysis.contrasts import contrast
from fedxray.analysis.methods import table_of_methods
from fedxray.core.files import read_table, write_json, write_table
from fedxray.experiment.experiment import POOLED

# Mode and metric: what of updates.csv is not told, and then what is.
OF_UPDATES = ("central", "auroc"), ("federated", "brier"), ("federated", "auroc")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with methods.csv of several methods, and the margin in config.json."""
    folder = tmp_path_factory.mktemp("answer")
    chosen, predictions = chosen_models(kinds=METHODS)
    summary, contrasts = summarise(chosen, predictions, *DRAW), contrast(chosen, predictions, *DRAW, 0.02, "central")
    write_table(folder / "methods.csv", table_of_methods(chosen, predictions, summary, contrasts))
    write_json(folder / "config.json", {"evaluation": {"margin": 0.02}})
    return folder


@pytest.fixture
def table(folder):
    return read_table(folder / "methods.csv")


def overall(table, **values):
    """The first sentence, of a table whose shared model has other values."""
    chosen = (table["hospital"] == "pooled") & table["chosen"]
    for name, value in values.items():
        table[name] = table[name].astype(object)
        table.loc[chosen, name] = value
    ((_, sentence, _),) = answers(table, 0.02, 0.95)
    return plain(sentence)


def joining(table, **verdicts):
    """The second sentence, of a table in which the models that hospitals choose have other verdicts."""
    for hospital, verdict in verdicts.items():
        table.loc[(table["hospital"] == hospital) & table["chosen"], "verdict"] = verdict
    ((_, _, sentence),) = answers(table, 0.02, 0.95)
    return plain(sentence).split("chooses: ")[1]


def test_each_number_is_in_the_cells_that_it_names(folder, table):
    sentences = [sentence for _, *both in answers(table, 0.02, 0.95) for sentence in both]
    sentences += [sentence for advice in advices(table) for sentence in advice.sentences]
    numbers = [part for sentence in sentences for part in sentence if isinstance(part, Cited)]
    assert len(numbers) >= 2 + len(SITES)
    for number in numbers:
        check(folder, *number)
    assert not any(letter.isdigit() for s in sentences for part in s if isinstance(part, str) for letter in part)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"gain": 0.1, "p_adjusted": 0.01, "noninferior": "true"}, "it is better."),
        ({"gain": -0.1, "p_adjusted": 0.01, "noninferior": "false"}, "it is worse."),
        ({"gain": -0.01, "p_adjusted": 0.01, "noninferior": "true"}, "it is worse, by less than the margin of 0.02."),
        ({"gain": 0.0, "p_adjusted": 0.6, "noninferior": "true"}, "a loss of the margin of 0.02 is excluded."),
        ({"gain": -0.4, "p_adjusted": 0.6, "noninferior": "false"}, "cannot tell whether it is as good"),
        ({"gain": 0.4, "p_adjusted": float("nan"), "noninferior": "false"}, "cannot tell whether it is as good"),
    ],
)
def test_the_shared_model_is_judged_by_interval_and_margin_and_not_by_its_estimate(table, values, said):
    assert said in overall(table, **values)


def test_hospitals_are_named_by_their_verdicts(table):
    assert joining(table, us="gains", asia="gains") == "us and asia gain."
    assert joining(table, us="gains", asia="not harmed") == "us gains; asia is not harmed."
    assert joining(table, us="harmed", asia="not shown") == "us is harmed; for asia it cannot be told."
    pooled, itself = table["hospital"] == "pooled", (table["mode"] == "alone") & (table["method"] == "")
    alone = table.assign(chosen=table["chosen"].where(pooled, itself))
    assert joining(alone) == "us and asia need not join, by their own validation."


def test_a_hospital_hears_of_the_model_that_its_validation_chooses_and_of_the_shared_one(table):
    best = table[(table["hospital"] == "asia") & table["chosen"]].iloc[0]
    asia = next(advice for advice in advices(table) if advice.hospital == "asia")
    own, shared = map(plain, asia.sentences)
    lead = "Of all models that asia could use, its own validation chooses ditto of asia; "
    assert own.startswith(f"{lead}on its own test patients the AUROC changes by {best['gain']:+.3f} [")
    assert "against asia alone: " in own
    shared_one = table[(table["hospital"] == "pooled") & table["chosen"]].iloc[0]["method"]
    assert shared.startswith(f"With {shared_one}, which validation chooses for all hospitals together, the AUROC")
    cautious = table.assign(verdict="not shown", patients_needed=321.0)
    sentence = plain(next(iter(advices(cautious))).sentences[0])
    assert sentence.endswith("cannot be told (about 321 test patients would show that joining does not harm).")
    harmed = plain(next(iter(advices(cautious.assign(verdict="harmed")))).sentences[0])
    assert harmed.endswith("against us alone: harmed.")  # more patients only show it better


def test_a_hospital_that_does_best_alone_is_told_so(table):
    alone = table.assign(chosen=table["chosen"] & (table["hospital"] == "pooled"))
    alone.loc[(alone["hospital"] == "us") & (alone["mode"] == "alone") & (alone["method"] == ""), "chosen"] = True
    (us,) = advices(alone)
    assert us.verdict == "stays alone"
    assert plain(us.sentences[0]).endswith("its own validation chooses us alone, so it need not join.")
    assert len(us.sentences) == 2  # the shared model's is the second


def test_the_one_method_of_an_experiment_needs_no_name(table):
    one = table[table["method"].isin(["fedavg", ""]) & (table["mode"] != "personal")].replace(
        {"method": {"fedavg": ""}}
    )
    pooled, federated = one["hospital"] == "pooled", one["mode"] == "federated"
    us, asia = advices(one.assign(chosen=federated & (pooled | (one["hospital"] == "us")) | (one["mode"] == "alone")))
    assert "its own validation chooses the federated model; on its own" in plain(us.sentences[0])
    assert plain(asia.sentences[1]).startswith("With the federated model the AUROC changes by ")


def test_without_a_shared_model_there_is_none_to_compare(table):
    personal = table[table["mode"] != "federated"]
    ((_, sentence, _),) = answers(personal, 0.02, 0.95)
    assert (
        plain(sentence)
        == "Each hospital has a model of its own, so there is no one model to compare on all test patients."
    )


@pytest.mark.parametrize("reference", ["fedavg", "fedavg+sites+epsilon=8", "central"])
def test_a_sweep_of_privacy_says_what_noise_leaves_at_each_epsilon(tmp_path, table, reference):
    # validation prefers noise at each hospital at 8, and in the sum at 1; what the test patients say is the other way
    private = {"fedavg+sum+epsilon=8": (0.7, 0.8), "fedavg+sites+epsilon=8": (0.75, 0.78)}
    private |= {"fedavg+sum+epsilon=1": (0.66, 0.61), "fedavg+sites+epsilon=1": (0.65, 0.7)}
    base = table[(table["hospital"] == "pooled") & (table["method"] == "fedavg")].assign(chosen=True)
    against = {"against": reference, "gain": -0.12, "gain_low": -0.2, "gain_high": -0.04}
    rows = [base.assign(**({"against": ""} if reference == "fedavg" else against))]
    for method, (validation, auroc) in private.items():
        values = {"method": method, "validation_auroc": validation, "chosen": False}
        values |= {"auroc": auroc, "auroc_low": auroc - 0.1, "auroc_high": auroc + 0.1}
        rows.append(base.assign(**values, **against))
    swept = pd.concat(rows, ignore_index=True)
    write_table(tmp_path / "methods.csv", swept)
    write_json(tmp_path / "config.json", {"evaluation": {"margin": 0.02}})
    ((_, sentence, _),) = answers(read_table(tmp_path / "methods.csv"), 0.02, 0.95)
    for number in (part for part in sentence if isinstance(part, Cited)):
        check(tmp_path, *number)
    assert "the federated model (fedavg, without noise) has" in plain(sentence)
    cost = ", a change of -0.120 [-0.200, -0.040]" * (reference == "fedavg")
    assert plain(sentence).endswith(
        f"epsilon: 0.780 [0.680, 0.880] at epsilon=8{cost} (noise at each hospital); "
        f"0.610 [0.510, 0.710] at epsilon=1{cost} (noise in the sum of all hospitals)."
    )
    named = {"central": "central training", "fedavg+sites+epsilon=8": "fedavg+sites+epsilon=8 (noise at each hospital)"}
    assert (f" from {named.get(reference)}: " in plain(sentence)) == (reference != "fedavg")


def test_hospitals_elsewhere_have_values_but_no_verdict(tmp_path):
    rows = [(mode, site, auroc) for mode in ("federated", "alone") for site, auroc in (("us", 0.9), ("asia", 0.7))]
    once = pd.DataFrame(rows, columns=["mode", "test_set", "auroc"]).assign(cohort="")
    table = pd.concat([once, once.assign(auroc=once["auroc"] + 0.05)], ignore_index=True)  # of two seeds
    write_table(tmp_path / "at_sites.csv", table)
    ((_, values, verdict),) = answers_at_sites(table)
    assert plain(values).endswith("its own test patients: 0.925 at us, 0.725 at asia.")
    for number in (part for part in values if isinstance(part, Cited)):
        assert number.rows in ((2, 6), (3, 7))
        check(tmp_path, *number)
    assert "cannot be told" in plain(verdict)


def test_a_terminal_has_a_line_for_each_cohort(table):
    both = pd.concat([table.assign(cohort=name) for name in ("alpha=0.1", "alpha=1")], ignore_index=True)
    first, second = console(answers(both, 0.02, 0.95))
    assert first.startswith("alpha=0.1: On the test patients of all hospitals ")
    assert second.startswith("alpha=1: ")


def test_strategies_come_first_and_what_is_shown_follows_from_adjusted_p_values(folder, table):
    rows = [
        {
            "cohort": "",
            "question": question,
            "mode": mode,
            "method": "",
            "strategy": strategy,
            "test_set": test_set,
            "metric": metric,
        }
        | {"estimate": value, "low": value - 0.01, "high": value + 0.01, "p_adjusted": p}
        for test_set, mode, metric in (("us", "federated", "auroc"), *((POOLED, *each) for each in OF_UPDATES))
        for question, strategy, value, p in (
            ("new", "all", 0.125, 0.01),
            ("new", "anew", 0.25, 0.06),
            ("old", "all", -0.125, 0.04),
            ("old", "anew", 0.03, 0.9),
        )
    ]
    write_table(folder / "updates.csv", pd.DataFrame(rows))
    (name, numbers, shown), *others = answers(table, 0.02, 0.95, read_table(folder / "updates.csv"))
    assert plain(numbers).startswith("Against keeping the federated model its AUROC")
    assert (name, len(others)) == ("update.strategy", len(list(answers(table, 0.02, 0.95))))
    assert "(all), +0.125 [0.115, 0.135] on new patients and -0.125 [-0.135, -0.115] on old ones; " in plain(numbers)
    for part in numbers:
        if isinstance(part, Cited):
            check(folder, *part)
    told = "a gain on new patients (all) and a loss on old patients (all); the other changes may be chance."
    assert plain(shown).endswith(told)
    both = pd.concat([pd.DataFrame(rows).assign(cohort=name) for name in ("alpha=0.1", "alpha=1")], ignore_index=True)
    write_table(folder / "updates.csv", both)
    first, second, *_ = answers(table, 0.02, 0.95, read_table(folder / "updates.csv"))
    assert (first[0], second[0]) == ("update.strategy, alpha=0.1", "update.strategy, alpha=1")
    assert plain(first[1]) == plain(numbers) == plain(second[1])
    for few in rows:
        few["p_adjusted"] = 0.5
    _, numbers, shown = next(answers(table, 0.02, 0.95, pd.DataFrame(rows).assign(method="fedavg")))
    assert plain(numbers).startswith("Against keeping fedavg its AUROC")
    assert plain(shown).endswith("none of it is shown.")
