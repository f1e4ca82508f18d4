"""The gate: its rules are there before, each hospital counts, and what it lets through is what it says."""

import json
from dataclasses import replace

import numpy as np
import pytest

from fedxray.analysis.gate import (
    BELONGS,
    CALIBRATION,
    DIFFERENCE,
    EPSILON,
    KNOWN,
    Rules,
    Scored,
    data_of,
    earlier_of,
    judge,
    known_of,
    measure,
    read_gate,
    refusals,
)
from fedxray.core.errors import UserError
from fedxray.core.files import read_json, write_json, write_table
from fedxray.training.metrics import auroc, calibration_error

SITES = ("us", "europe", "asia")
RULES = Rules("p" * 64, SITES, 0.05, 0.2, 0.0, 100, 0.95, 1)


def scored(seed, better, patients=150, shift=0.0):
    """Three images of each patient; the candidate's scores tell the classes apart by `better` more deviations."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(rng.permutation(np.arange(patients) % 2), 3).astype(float)
    common, own = rng.normal(size=(2, patients)).repeat(3, axis=1) + 0.5 * rng.normal(size=(2, 3 * patients))
    noise = 0.95 * common + 0.3 * own
    candidate, predecessor = (2 * (2 * labels - 1) * scale + noise for scale in (1 + better / 2, 1.0))
    sigmoid = [1 / (1 + np.exp(-values)) for values in (candidate + shift, predecessor)]
    return Scored(labels, np.array([f"p{n // 3}" for n in range(3 * patients)]), *sigmoid, np.ones(3 * patients, int))


def judged(tested, rules, privacy=None, known=""):
    measured = {site: measure(site, part, rules.seed, rules.replicates) for site, part in tested.items()}
    return judge(measured, rules, privacy or {}, known)


def of(table, hospital, what):
    (row,) = table[(table["hospital"] == hospital) & (table["what"] == what)].to_dict("records")
    return row


def test_values_are_those_of_the_metrics_and_what_holds_follows_from_the_interval_and_the_bounds():
    everywhere = {site: scored(number, 0.3) for number, site in enumerate(SITES)}
    table = judged(everywhere, RULES, known="Nothing is known.")
    assert list(zip(table["hospital"], table["what"], strict=True)) == [
        *((site, what) for site in SITES for what in (DIFFERENCE, CALIBRATION)),
        ("", KNOWN),
    ]
    for site, part in everywhere.items():
        row, error = of(table, site, DIFFERENCE), of(table, site, CALIBRATION)
        apart = auroc(part.labels, part.candidate) - auroc(part.labels, part.predecessor)
        assert row["value"] == pytest.approx(apart, abs=1e-12)
        assert row["low"] < row["value"] < row["high"]
        assert row["bound"] == -0.05
        assert row["holds"] == str(row["low"] > -0.05).lower()
        expected = calibration_error(part.labels, part.candidate, np.ones(len(part.labels)))
        assert error["value"] == pytest.approx(expected, abs=1e-12)
        assert error["holds"] == str(expected <= 0.2).lower()
    assert refusals(table) == []
    assert of(table, "", KNOWN)["holds"] == ""


def test_a_model_that_is_worse_at_one_hospital_is_refused_though_it_is_better_in_the_mean():
    parts = {"us": scored(1, 1.0), "europe": scored(2, 1.0), "asia": scored(3, -1.5)}
    apart = {site: auroc(part[0], part[2]) - auroc(part[0], part[3]) for site, part in parts.items()}
    # The others have more room if their predecessor was at chance.
    for site in ("us", "europe"):
        chance = np.random.default_rng(9).permutation(parts[site].predecessor)
        parts[site] = parts[site]._replace(predecessor=chance)
        apart[site] = auroc(parts[site][0], parts[site][2]) - auroc(parts[site][0], chance)
    assert np.mean(list(apart.values())) > 0.2
    assert apart["asia"] < -0.1
    table = judged(parts, RULES)
    assert of(table, "us", DIFFERENCE)["holds"] == of(table, "europe", DIFFERENCE)["holds"] == "true"
    (why,) = [said for said in refusals(table) if "AUROC" in said]
    assert why.startswith("On the 150 test patients of asia the AUROC is 0.")
    assert "lower than the predecessor's" in why
    assert why.endswith("it is not shown to be not inferior by 0.05.")


def test_where_there_are_waves_each_is_told_and_all_together_are_judged(tmp_path):
    part = scored(7, 0.5)
    part = part._replace(waves=np.repeat([1, 2], [150, 300]))
    rules = replace(RULES, hospitals=("us",))
    table, together = judged({"us": part}, rules), judged({"us": scored(7, 0.5)}, rules)
    of_waves = table[table["what"].str.contains("wave")]
    assert table.drop(index=of_waves.index).reset_index(drop=True).equals(together)
    for wave, row in zip((1, 2), of_waves.to_dict("records"), strict=True):
        images = part.waves == wave
        areas = [auroc(part.labels[images], scores[images]) for scores in (part.candidate, part.predecessor)]
        assert row["what"] == f"AUROC minus predecessor's, wave {wave}"
        assert row["value"] == pytest.approx(areas[0] - areas[1], abs=1e-12)
        assert row["holds"] == ""
        assert f"Of them {50 * wave} are of wave {wave}" in row["sentence"]
    digests = dict(zip(BELONGS, ("c" * 64, rules.predecessor_sha256, rules.sha256), strict=True))
    write_table(tmp_path / "gate.csv", table.assign(**digests))
    assert refusals(read_gate(tmp_path / "gate.csv", rules)) == refusals(together)


def test_a_loss_of_the_margin_passes_at_one_hospital_no_more_often_than_it_may():
    """By simulation: the true AUROC is lower by just the margin; the one-sided test has a level of 0.025."""
    rng, draws, patients = np.random.default_rng(0), 300, 200
    labels = np.arange(patients) % 2.0
    # AUROC of two normal classes apart by d deviations is Phi(d / sqrt 2).
    apart = {0.85: 1.4657, 0.80: 1.1902}
    passed = 0
    rules = replace(RULES, hospitals=("us",), replicates=2)
    people = np.arange(patients).astype(str)
    for _ in range(draws):
        noise = rng.normal(size=patients)
        scores = [labels * apart[area] + 0.8 * noise + 0.6 * rng.normal(size=patients) for area in (0.80, 0.85)]
        part = Scored(labels, people, *(1 / (1 + np.exp(-values)) for values in scores), np.ones(patients, int))
        passed += of(judged({"us": part}, rules), "us", DIFFERENCE)["holds"] == "true"
    assert passed <= 16  # 99.9 % of binomials of 300 at 0.025
    assert passed > 0  # and it is no test that nothing passes


def test_an_uncalibrated_model_is_refused_and_an_equal_one_is_not_inferior():
    part = scored(4, 0.0)
    same = part._replace(candidate=part.predecessor)
    rules = replace(RULES, hospitals=("us",), margin=0.0001)
    row = of(judged({"us": same}, rules), "us", DIFFERENCE)
    assert row["holds"] == "true"
    assert "the AUROC is the predecessor's (0.000 to 0.000); it is not inferior" in row["sentence"]
    off = judged({"us": scored(4, 0.0, shift=3.0)}, rules)
    assert of(off, "us", CALIBRATION)["holds"] == "false"
    assert "that is above 0.2" in of(off, "us", CALIBRATION)["sentence"]


def test_a_hospital_without_one_of_the_classes_lets_nothing_through():
    part = scored(4, 0.0)
    empty = part._replace(labels=np.zeros_like(part.labels))
    row = of(judged({"us": empty}, replace(RULES, hospitals=("us",))), "us", DIFFERENCE)
    assert row["holds"] == "false"
    assert "undefined, because a class is missing" in row["sentence"]


@pytest.mark.parametrize(
    ("privacy", "holds"),
    [
        ({}, "false"),
        ({"epsilon": 2.5, "delta": 1e-5, "simulation": True}, "false"),
        ({"epsilon": 2.5, "delta": 1e-5, "simulation": False}, "true"),
        ({"epsilon": 3.5, "delta": 1e-5, "simulation": False}, "false"),
    ],
)
def test_the_privacy_budget_is_asked_only_if_there_is_one_and_noise_of_a_seed_is_none(privacy, holds):
    parts = {site: scored(5, 0.0) for site in SITES}
    assert EPSILON not in set(judged(parts, RULES, privacy)["what"])
    assert of(judged(parts, replace(RULES, epsilon=3.0), privacy), "", EPSILON)["holds"] == holds


def test_rules_that_were_written_stay_once_test_sets_were_read(tmp_path):
    path = tmp_path / "gate.json"
    with pytest.raises(UserError, match=r"no rules were written when the test sets were read"):
        RULES.write(path, read_before=True)
    assert not path.exists()
    RULES.write(path, read_before=False)
    before = path.read_bytes()
    RULES.write(path, read_before=True)
    assert path.read_bytes() == before
    assert Rules.read(path) == RULES
    with pytest.raises(UserError, match=r"other rules were written .* give the rules back"):
        replace(RULES, margin=0.1).write(path, read_before=True)
    assert path.read_bytes() == before
    replace(RULES, margin=0.1).write(path, read_before=False)
    assert Rules.read(path).margin == 0.1


def test_rules_that_somebody_has_changed_are_refused(tmp_path):
    path = tmp_path / "gate.json"
    RULES.write(path, read_before=False)
    write_json(path, read_json(path) | {"margin": 0.4})
    with pytest.raises(UserError, match=r"changed since it was written \(SHA-256\)"):
        Rules.read(path)
    for text in ("{", "[]", json.dumps({"sha256": "0"})):
        path.write_text(text)
        with pytest.raises(UserError, match="not the rules of a gate"):
            Rules.read(path)
    path.unlink()
    with pytest.raises(UserError, match=r"missing; set promotion\.predecessor"):
        Rules.read(path)


def test_a_gate_is_read_only_if_it_has_all_that_the_rules_ask_for(tmp_path):
    table = judged({site: scored(6, 0.0) for site in SITES}, RULES, known="Known.")
    table = table.assign(**dict(zip(BELONGS, ("c" * 64, RULES.predecessor_sha256, RULES.sha256), strict=True)))
    write_table(tmp_path / "gate.csv", table)
    read = read_gate(tmp_path / "gate.csv", RULES)
    assert read.to_dict("records")[:-1] == table.to_dict("records")[:-1]
    assert refusals(read) == refusals(table)
    for wrong in (table.drop(index=2), table.assign(rules_sha256="0" * 64)):
        write_table(tmp_path / "gate.csv", wrong)
        with pytest.raises(UserError, match="not the gate of the rules beside it"):
            read_gate(tmp_path / "gate.csv", RULES)
    write_table(tmp_path / "gate.csv", table.drop(columns="holds"))
    with pytest.raises(UserError, match="not the table of a gate"):
        read_gate(tmp_path / "gate.csv", RULES)


def test_what_is_known_of_the_predecessors_data_is_said_by_hospital(site_folders):
    from fedxray.data.registry import tabulate

    cards = [read_json(folder / "card.json") for folder in site_folders.values()]
    now = data_of(tabulate(cards), "", SITES)
    assert now["us"] == read_json(site_folders["us"] / "card.json")["sha256"]
    assert known_of({}, now, {}).startswith("Nothing says on which data")
    same = known_of({"data": now}, now, {})
    assert (
        same
        == "The predecessor was trained on the same data and splits at us, europe, asia: it saw no test patient there."
    )
    other = {"images": "0", "table": "0"}
    mixed = known_of({"data": now | {"asia": other}}, now, {})
    assert "at us, europe: it saw no test patient there." in mixed
    assert "at asia were others than now; checksums cannot tell" in mixed
    older = [card["provenance"] | {"earlier": [other, {"images": "1", "table": "1"}]} for card in cards]
    table = tabulate(card | {"provenance": origin} for card, origin in zip(cards, older, strict=True))
    added = known_of({"data": now | {"asia": other}}, now, earlier_of(table))
    assert "at us, europe: it saw no test patient there. At asia the predecessor was trained on an" in added
    assert added.endswith("have kept their splits: it saw no test patient there.")
    assert earlier_of(tabulate(cards)) == {}
