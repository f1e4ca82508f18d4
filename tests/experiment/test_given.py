"""What the user gave and nothing uses, and what counts as given."""

from copy import deepcopy
from pathlib import Path

import pytest
import yaml
from snakemake.utils import update_config

from fedxray.core.errors import UserError
from fedxray.experiment.check import check_config
from fedxray.experiment.given import given_of, unlike

BASE, SCHEMA = (yaml.safe_load(Path("config", name).read_text()) for name in ("config.yaml", "schema.yaml"))
REMOTE = "federation: {where: remote, admin_kit: kit}"
SUM = "privacy: {dp: sum, secure_aggregation: true}"


def check(*texts):
    """Check the defaults below a user's files, of which the last one counts most."""
    given, made = {}, deepcopy(BASE)
    for text in texts:
        update_config(given, yaml.safe_load(text))
    update_config(made, given)
    check_config(made, SCHEMA, given_of(given, BASE))


FAULTS = [
    ("algorithm: {mu: 0.1}", r"algorithm\.mu: no method here uses it; it is a number of fedprox: remove it, or choose"),
    ("algorithm: {name: fedprox, trim: 0.4}", r"algorithm\.trim: no method here uses it; it is a number of trimmed"),
    ("algorithm: {finetune_stop: validation}", r"algorithm\.finetune_stop: .* it is a number of finetune"),
    ("privacy: {epsilon: 1}", r"privacy\.epsilon: nothing is private while privacy\.dp is none; set it to sites"),
    ("privacy: {noise: seeded}", r"privacy\.noise: nothing is private while privacy\.dp is none"),
    ("privacy: {dp: sites, colluders: 0}", r"privacy\.colluders: only privacy\.dp: sum shares its noise out; remove"),
    ("sweep: {grid: {privacy.epsilon: [1, 3]}}", r"sweep\.grid: privacy\.epsilon: nothing is private"),
    ("sweep: {points: [{privacy.dp: sites}, {privacy.clip: 1}]}", r"sweep\.points: privacy\.clip: nothing is private"),
    (
        "dataset: {phantom: {second: {pneumonia: 0.3}}}",
        r"dataset\.phantom\.second\.pneumonia: this wave has no patients; give some, or remove it",
    ),
    (
        "dataset: {sources: [{kermany: {}, site: us}, {phantom: {second: {pneumonia: 0.3}}}]}",
        r"dataset\.sources\.1\.phantom\.second\.pneumonia: this wave has no patients",
    ),
    *(
        (
            f"dataset: {{{source}, phantom: {{second: {second}}}}}",
            r"dataset\.phantom\.second: hospitals train on no phantom; remove it, or take dataset\.source: phantom",
        )
        for source, second in (
            ("source: kermany", "{patients: 40}"),
            ("source: folder, folder: images", "{patients: 40, pneumonia: 0.3}"),
            ("sources: [{kermany: {}}, {nih: {}}]", "{patients: 40}"),
            ("source: nih, external: [{phantom: {}}]", "{pneumonia: 0.3}"),
        )
    ),
    ("split: {alpha: 0.1}", r"split\.alpha: only split\.partition: dirichlet uses it; remove it, or change that"),
    ("split: {partition: dirichlet, power: 2}", r"split\.power: only split\.partition: quantity uses it"),
    ("sweep: {grid: {split.alpha: [0.1, 1]}}", r"sweep: split\.alpha: only split\.partition: dirichlet uses it"),
    (
        "sweep: {points: [{split.viral_share: 0.5}]}",
        r"sweep: split\.viral_share: only split\.partition: aetiology uses",
    ),
    (
        "split: {conflicts: merge}",
        r"split\.conflicts: only split\.partition: acquisition and split\.test: official can",
    ),
    ("federation: {patience_s: 5}", r"federation\.patience_s: only federation\.where: remote uses it; remove it"),
    *(
        (
            f"{REMOTE}\nevaluation: {{{key}: {value}}}",
            rf"evaluation\.{key}: hospitals elsewhere send no predictions, so no",
        )
        for key, value in (("confidence", 0.9), ("seed", 2), ("margin", 0.1))
    ),
    ("split: {test: official, test_fraction: 0.3}", r"split\.test_fraction: split\.test: official has its own test se"),
    ("trouble: {share: 0.2}", r"trouble\.share: only trouble\.kind: labels and clipped use it"),
    ("trouble: {kind: noise, site: us, share: 0.2}", r"trouble\.share: only trouble\.kind: labels and clipped"),
    ("training: {momentum: 0.5}", r"training\.momentum: only training\.optimizer: sgd uses it"),
    ("sweep: {grid: {training.momentum: [0, 0.9]}}", r"sweep: training\.momentum: only training\.optimizer: sgd uses"),
    *(
        (
            f"privacy: {{dp: sites}}\ntraining: {{{given}}}",
            rf"training\.{key}: with privacy\.dp nothing uses it, and pr",
        )
        for given, key in (
            ("lr: 0.1", "lr"),
            ("epochs: 5", "epochs"),
            ("augmentation: {flip: true}", r"augmentation\.flip"),
            ("compile: true", "compile"),
        )
    ),
    ("privacy: {dp: sites}\nsweep: {grid: {training.lr: [0.1, 1]}}", r"sweep: training\.lr: with privacy\.dp nothing"),
    (f"{SUM}\nfederation: {{round: 0.5}}", r"federation\.round: with privacy\.dp: sum each round is one step"),
    (f"{SUM}\nfederation: {{steps: 4}}", r"federation\.steps: with privacy\.dp: sum each round is one step"),
    (f"{SUM}\nalgorithm: {{moments: fresh}}", r"algorithm\.moments: with privacy\.dp: sum each round is one step"),
    ("federation: {round: 0.5, steps: 4}", r"federation\.round: federation\.steps is in its place"),
    ("federation: {admin_kit: kit}", r"federation\.admin_kit: only federation\.where: remote uses it"),
    (
        "federation: {engine: inprocess, absent: drop, min_sites: 2}",
        r"federation\.absent: nobody is absent in federation\.engine: inprocess",
    ),
    *(
        (
            f"promotion: {{{given}}}",
            rf"promotion\.{given[:6]}\w*: there is no gate while promotion\.predecessor is empty",
        )
        for given in ("margin: 0.05", "calibration: 0.2", "epsilon: 3")
    ),
    *(
        (
            f"promotion: {{predecessor: models/1, epsilon: 3}}{private}",
            r"promotion\.epsilon: without privacy\.dp and noise: secret nothing bounds what training spends",
        )
        for private in ("", "\nprivacy: {dp: sites}")
    ),
    (
        "sweep: {grid: {training.lr: [0.1, 1]}, exclude: [{training.epochs: 2}]}",
        r"sweep\.exclude: training\.epochs: is not swept, so no point is left out; sweep it, or remove it",
    ),
    (
        f"{REMOTE}\ndataset: {{source: kermany}}",
        r"dataset\.source: hospitals elsewhere have the data that they have; r",
    ),
    (
        f"{REMOTE}\ndataset: {{phantom: {{second: {{patients: 9}}}}}}",
        r"dataset\.phantom\.second\.patients: hospitals elsewhere have the data that they have; remove it",
    ),
    (f"{REMOTE}\nsplit: {{seed: 2, test_fraction: 0.3}}", r"split\.seed: hospitals elsewhere have the data that they"),
    (
        f"{REMOTE}\nsplit: {{balance: undersample}}",
        r"split\.balance: undersample is for data that are split here; take",
    ),
    (f"{REMOTE}\nevaluation: {{contributions: true}}", r"evaluation\.contributions: is measured on images, which are"),
    (
        f"{REMOTE}\nevaluation: {{reference: alone}}",
        r"evaluation\.reference: hospitals elsewhere are compared with the",
    ),
    (
        "sites: [us, asia]\nevaluation: {contributions: true}",
        r"evaluation\.contributions: has no coalition to train of",
    ),
]


@pytest.mark.parametrize(("given", "said"), FAULTS, ids=[given for given, _ in FAULTS])
def test_what_is_given_and_used_by_nothing_is_told_in_one_line(given, said):
    with pytest.raises(UserError, match=rf"^config: {said}") as error:
        check(given)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    "given",
    [
        "dataset: {phantom: {second: {pneumonia: 0.3, patients: 40}}}",
        "dataset: {source: kermany, phantom: {patients: 90, second: {patients: 0}}}",
        "dataset: {phantom: {patients: 90, seed: 2}, sources: [{kermany: {}}, {phantom: {}}]}",
        "dataset: {phantom: {second: {pneumonia: 0.3}}, sources: [{phantom: {second: {patients: 40}}}]}",
        "dataset: {phantom: {second: {patients: 40}}, sources: [{kermany: {}}, {phantom: {}}]}",
        "split: {partition: dirichlet, alpha: 0.1}",
        "sweep: {points: [{split.partition: iid}, {split.partition: quantity, split.power: 2}]}",
        "sweep: {grid: {training.optimizer: [adamw, sgd], training.momentum: [0, 0.9]}}",
        "trouble: {kind: labels, site: us, share: 0.2}",
        "privacy: {dp: sites}\ntraining: {momentum: 0.5, batch_size: 8}\nfederation: {round: 0.5}",
        "training: {lr: 0.1, epochs: 8}\nsweep: {points: [{privacy.dp: none}, {privacy.dp: sites}]}",
        "federation: {engine: inprocess, absent: fail, min_sites: 0, admin_kit: ''}",
        "promotion: {predecessor: models/1, margin: 0.05, epsilon: 0}",
        "promotion: {predecessor: models/1, epsilon: 3}\nprivacy: {dp: sites, noise: secret}",
        "sweep: {grid: {training.lr: [0.1, 1]}, exclude: [{training.lr: 3}]}",
        f"{REMOTE}\nsplit: {{balance: weighted_loss}}\nevaluation: {{reference: central}}",
        f"{REMOTE}\ndataset: {{source: phantom, phantom: {{patients: 90}}}}",
        "split: {partition: acquisition, conflicts: first}",
        "split: {conflicts: merge}\nsweep: {grid: {split.partition: [iid, acquisition]}}",
        f"{REMOTE}\npromotion: {{predecessor: models/1}}\nevaluation: {{replicates: 50, confidence: 0.9, seed: 2}}",
        "federation: {where: remote, admin_kit: kit, patience_s: 5}",
        f"{REMOTE}\nevaluation: {{replicates: 50}}",  # as config/smoke.yaml has it, beside whatever data and place
        "evaluation: {contributions: true}",
    ],
)
def test_what_one_point_uses_is_taken(given):
    check(given)


def test_a_copy_of_the_defaults_with_some_other_values_is_taken():
    text = Path("config", "config.yaml").read_text()
    check(text)
    check(text, "training: {optimizer: sgd, momentum: 0.5}\nsites: [us, asia]")
    with pytest.raises(UserError, match=r"^config: training\.momentum: only training\.optimizer: sgd uses it"):
        check(text, "training: {momentum: 0.5}")


def test_a_section_that_is_whole_counts_by_what_is_unlike_the_defaults():
    defaults = {"a": {"x": 1, "y": {"z": 2, "u": 3}}, "b": 0, "c": {}}
    assert given_of({"a": {"x": 1}, "c": {"k": 1}, "d": None}, defaults) == {"a": {"x": 1}, "c": {"k": 1}, "d": None}
    assert given_of({"a": {"x": 1}, "b": 0, "c": {}}, defaults) == {"a": {"x": 1}}
    assert given_of({"a": {"x": 5, "y": {"z": 2, "u": 3}}}, defaults) == {"a": {"x": 5}}
    assert given_of({"a": {"y": {"z": 2, "u": 4}}}, defaults) == {"a": {"y": {"u": 4}}}
    assert given_of(defaults, defaults) == {}
    assert unlike(defaults | {"c": {"k": 1}, "e": {"f": {}}}, defaults) == {"c": {"k": 1}, "e": {"f": {}}}
