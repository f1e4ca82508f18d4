from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torchvision
import yaml
from snakemake.utils import update_config

from fedxray.core.errors import UserError
from fedxray.core.files import write_json
from fedxray.core.parameters import save_model
from fedxray.experiment.check import check_config, check_files, check_names, check_predecessor, typed
from fedxray.experiment.experiment import Experiment
from fedxray.experiment.given import given_of
from fedxray.experiment.start import WEIGHTS

BASE, SCHEMA = (yaml.safe_load(Path("config", name).read_text()) for name in ("config.yaml", "schema.yaml"))


def on(kind, site, share=0.4):
    """A section `trouble`."""
    return {"kind": kind, "site": site, "share": share}


def point(kind, site, share=0.4):
    """The same in a point of a sweep."""
    return {f"trouble.{key}": value for key, value in on(kind, site, share).items()}


def changed(key, value):
    made = deepcopy(BASE)
    *parents, last = key.split(".")
    section = made
    for parent in parents:
        section = section[parent]
    section[last] = value
    return made


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("training.lr", "1e-3", r"training\.lr: '1e-3' is not a number; write it as 0\.001"),
        ("training.learning_rate", 0.1, r"training\.learning_rate: unknown key; known here: .*lr"),
        ("trainig", {}, r"trainig: unknown key; did you mean training\?"),
        ("sites", ["us", "Europe"], r"sites\.1: 'Europe'"),
        ("model.name", "resnet81", r"model\.name: 'resnet81' is not known; did you mean resnet18\?"),
        ("model.name", "demo", r"image_size: the demo's network takes 224 pixels, not 64"),
        ("image_size", 8, r"image_size: 8 is less than the minimum of 16"),
        ("split.validation_fraction", 0.8, r"split: test_fraction and validation_fraction leave nothing"),
        ("dataset.source", "folder", r"dataset\.folder: empty"),
        ("sweep.grid", {"training.lr": [0.1, -1]}, r"sweep\.grid\.training\.lr: training\.lr: -1 is less"),
        ("sweep.grid", {"sites": [4]}, r"sweep\.grid\.sites: 4 is not a number of sites from 1 to 3"),
        ("sweep.points", [{"training.momentun": 1}], r"sweep\.points: training\.momentun cannot be swept"),
        ("sweep.grid", {"training.lr": []}, r"sweep\.grid\.training\.lr"),
        (
            "trouble.site",
            "asia",
            r"trouble\.site: asia, but trouble\.kind is none; say what its trouble is, or leave it",
        ),
        ("trouble.kind", "labels", r"trouble\.site: empty, but labels needs one of `sites`; take us or europe or asia"),
        (
            "trouble",
            on("noise", "mars"),
            r"trouble\.site: mars, but noise needs one of `sites`; take us or europe or asia",
        ),
        (
            "trouble",
            on("clipped", "us", 0.5),
            r"trouble\.share: 0\.5 of the greys at each end leaves none; clipped needs",
        ),
        ("federation.waves", 2, r"federation\.waves: 2, but federation\.where is here, .*; set it to 1"),
        ("federation.waves", 0, r"federation\.waves: 0 is less than the minimum of 1"),
        ("dataset.waves", [20240101], r"dataset\.waves\.0: 20240101 is not text; put it in quotes"),
        ("dataset.phantom.second", {"pneumonia": 0}, r"dataset\.phantom\.second\.pneumonia: 0 is less than the min"),
        ("dataset.sources", [{"nih": {}, "wave": 0}], r"dataset\.sources\.0\.wave: 0 is less than the minimum of 1"),
        ("trouble.share", 0, r"trouble\.share: 0 is less than or equal to the minimum of 0"),
        ("trouble.kind", "label", r"trouble\.kind: 'label' is not known; did you mean labels\?"),
        ("sweep.grid", {"trouble.kind": ["none", "noise"]}, r"trouble\.site: empty, but noise needs one of `sites`"),
        (
            "sweep.grid",
            {"trouble.site": ["us"]},
            r"sweep: trouble\.site: trouble\.kind: none does not use it; leave it",
        ),
        (
            "sweep.points",
            [point("labels", "asia") | {"sites": 2}],
            r"trouble\.site: asia, but labels needs .* us or europe$",
        ),
        ("sweep.points", [point("clipped", "us", 0.6)], r"trouble\.share: 0\.6 of the greys at each end leaves none"),
        ("federation.where", "remote", r"federation\.admin_kit: empty"),
        ("federation.min_sites", 4, r"federation\.min_sites: 4 of 3 sites"),
        ("federation.absent", "drop", r"federation: absent: drop goes with min_sites from 1 to 2"),
        ("federation.min_sites", 2, r"federation: absent: drop goes with min_sites"),
        # A float is no whole number: 2.0 is another stream of random numbers than 2, and names another folder.
        ("training.batch_size", 16.0, r"training\.batch_size: 16\.0 is not a whole number; write it as 16$"),
        ("training.epochs", 2.5, r"training\.epochs: 2\.5 is not a whole number; give digits alone"),
        ("federation.round", 0.3, r"federation\.round: 0\.3 of an epoch does not divide it; take 0\.2 or 0\.25"),
        (
            "federation.round",
            3,
            r"federation\.round: 3 does not divide the budget of 40 epochs; take 2 or 4, or another",
        ),
        ("federation.round", 1.5, r"federation\.round: 1\.5 does not divide the budget of 40 epochs; take 1 or 2"),
        ("algorithm.finetune", 40, r"algorithm\.finetune: 40 of 40 epochs leaves none for the federation"),
        (
            "sweep.points",
            [{"algorithm.finetune": 3, "federation.round": 2}],
            r"budget of 37 epochs \(training\.epochs less 3",
        ),
        ("algorithm.name", "fedsgd", r"algorithm\.name: 'fedsgd' is not known"),
        ("algorithm.mean", "krum", r"algorithm\.mean: krum with algorithm\.byzantine 1 needs 5 sites, and there are 3"),
        ("sweep.grid", {"algorithm.mean": ["multikrum"]}, r"algorithm\.mean: multikrum .* needs 5 sites"),
        ("sweep.points", [{"algorithm.mean": "median", "sites": 2}], r"the median of 2 sites is their mean"),
        (
            "sweep.points",
            [{"algorithm.mean": "trimmed", "algorithm.trim": 0.1}],
            r"algorithm\.trim: 0\.1 of 3 sites leaves",
        ),
        ("sweep.points", [{"algorithm.mean": "screened", "algorithm.name": "fednova"}], r"which fednova does not send"),
        (
            "sweep.points",
            [{"algorithm.mu": 0.1}],
            r"sweep\.points: algorithm\.mu: fedavg\+averaged does not use it; .* fedprox",
        ),
        (
            "sweep.grid",
            {"algorithm.tau": [0.1]},
            r"sweep\.grid\.algorithm\.tau: no method here uses it; .* fedadam, fedyogi",
        ),
        ("image_size", 32.0, r"image_size: 32\.0 is not a whole number"),
        ("seeds", [2, 1.0], r"seeds\.1: 1\.0 is not a whole number; write it as 1$"),
        ("seeds", [True], r"seeds\.0: true is not a whole number"),
        ("sweep.grid", {"training.batch_size": [8.0]}, r"sweep\.grid\.training\.batch_size: .*8\.0 is not a whole"),
        ("sweep.points", [{"training.epochs": 2.0}], r"sweep\.points: training\.epochs: 2\.0 is not a whole"),
        ("sweep.exclude", [{"training.batch_size": 8.0}], r"sweep\.exclude: training\.batch_size: 8\.0 is not a whole"),
        ("sweep.grid", {"sites": [2.0]}, r"sweep\.grid\.sites: 2\.0 is not a number of sites from 1 to 3"),
        ("sweep.grid", {"sites": [True, 2]}, r"sweep\.grid\.sites: true is not a number of sites from 1 to 3"),
        ("training.lr", float("nan"), r"training\.lr: nan is not a number; give a finite one"),
        ("training.lr", float("inf"), r"training\.lr: inf is not a number"),
        ("split.power", -float("inf"), r"split\.power: -inf is not a number"),
        (
            "evaluation.reference",
            "fedavg",
            r"evaluation\.reference: 'fedavg' has no global model .*; take central or alone",
        ),
        ("evaluation.margin", float("nan"), r"evaluation\.margin: nan is not a number"),
        ("sweep.grid", {"split.alpha": [float("nan")]}, r"sweep\.grid\.split\.alpha: .*nan is not a number"),
        ("seeds", [10**30], r"seeds\.0: a whole number of 100 bits"),
        (
            "training.threads",
            [16**5000],
            r"training\.threads\.0: a whole number of 20001 bits",
        ),  # Python writes it nowhere
        ("sites", [False, "de"], r"sites\.0: false is not text; YAML takes yes, no, on and off for true or false"),
        ("sites", "us", r"sites: 'us' is not a list; write it as \[\.\.\., \.\.\.\]"),
        ("sites", ["us\n"], r"sites\.0: 'us\\n' has the character '\\n'"),
        ("training", 3, r"training: 3 is not a section of keys; give it as epochs: \.\.\., lr: \.\.\."),
        (
            "dataset.sources",
            [{"phantom": 3}],
            r"dataset\.sources\.0\.phantom: 3 is not a section of keys or nothing; give",
        ),
        ("dataset.labels", {"a": 1.0}, r"dataset\.labels\.a: 1\.0 is not a whole number or text; write it as 1$"),
        ("sweep", None, r"sweep: nothing is not a section of keys; give it as grid: \.\.\."),
        ("training.lr", None, r"training\.lr: nothing is not a number; give a value, or leave the key out"),
        ("split", {True: 1}, r"split: the key true is not text; YAML takes"),
        ("sweep.points", [{1: 2}], r"sweep\.points\.0: the key 1 is not text; put it in quotes"),
        ("experiment", 2024, r"experiment: 2024 is not text; put it in quotes"),
        ("experiment", "x" * 101, r"experiment: 101 letters; at most 100"),
        ("experiment", "README.md", r"experiment: 'README\.md' is the name of something else"),
        ("dataset.folder", "/br{a}ce", r"dataset\.folder: '/br\{a\}ce' has braces"),
        ("federation.admin_kit", "kit\udce9", r"federation\.admin_kit: 'kit\\udce9' has the character '\\udce9'"),
    ],
)
def test_each_fault_is_a_line_that_names_its_key(key, value, said):
    with pytest.raises(UserError, match=said) as error:
        check_config(changed(key, value), SCHEMA)
    assert all(line.startswith("config: ") for line in str(error.value).splitlines())


STARTS = {
    "no such weights": (
        {"initial": "torchvision:ResNet18_Weights.NIX", "name": "resnet18", "standardise": "imagenet"},
        r"model\.initial: torchvision:ResNet18_Weights\.NIX: torchvision has no weights NIX; take one of DEFAULT",
    ),
    "no such file": ({"initial": "runs/x"}, r"model\.initial: runs/x: no such file; give a run's model\.safetensors"),
    "no safetensors": ({"initial": "config/config.yaml"}, r"model\.initial: config/config\.yaml: no safetensors"),
    "weights of another network": (
        {"initial": "torchvision:ResNet34_Weights.DEFAULT", "name": "resnet18", "standardise": "imagenet"},
        r"model\.initial: torchvision:ResNet34_Weights\.DEFAULT is of resnet34, and model\.name is resnet18",
    ),
    "weights of no network of theirs": (
        {"initial": "torchvision:ResNet18_Weights.DEFAULT"},
        r"model\.initial: .* is of a network of torchvision's; set model\.name to it",
    ),
    "their greys": (
        {"initial": "torchvision:ResNet18_Weights.DEFAULT", "name": "resnet18"},
        r"model\.standardise: image, but torchvision's weights expect greys as imagenet; set it to that",
    ),
    "no file of theirs": (
        {"initial": "torchvision:/no/such.pth", "name": "resnet18", "standardise": "imagenet"},
        r"model\.initial: /no/such\.pth: no such file; give one, or a name: torchvision:ResNet18_Weights",
    ),
    "norms of nothing": (
        {"norms": "frozen", "name": "resnet18"},
        r"model\.norms: frozen norms of random weights normalise nothing; give model\.initial or take group",
    ),
    "a form of another network": (
        {"norms": "batch"},
        r"model\.norms: batch, but compact is no network of torchvision's",
    ),
}


@pytest.mark.parametrize(("model", "said"), STARTS.values(), ids=STARTS)
def test_a_start_that_cannot_be_is_a_line_in_the_plan(model, said):
    with pytest.raises(UserError, match=rf"^config: {said}") as error:
        check_config(changed("model", BASE["model"] | model), SCHEMA)
    assert "\n" not in str(error.value)


def test_what_lies_beside_a_model_says_whether_it_fits(tmp_path):
    save_model(tmp_path / "model.safetensors", {"a": np.zeros(2, np.float32)})
    given = BASE["model"] | {"initial": str(tmp_path / "model.safetensors")}
    check_config(changed("model", given), SCHEMA)  # nothing beside it
    said = r"^config: model\.initial: .* is no run's model of resnet18; if torchvision's own .* write torchvision:/"
    with pytest.raises(UserError, match=said):
        check_config(changed("model", given | {"name": "resnet18"}), SCHEMA)
    settings = {"model": "resnet18", "norms": "batch"}
    for name, content in (("config.json", settings), ("record.json", {"settings": settings})):
        write_json(tmp_path / name, content)
        with pytest.raises(UserError) as error:
            check_config(changed("model", given), SCHEMA)
        assert str(error.value).splitlines() == [
            "config: model.name: compact, but the model of model.initial has resnet18; set it to that",
            "config: model.norms: group, but the model of model.initial has batch; set it to that",
        ]
    swept = changed("model", given | {"name": "resnet18", "norms": "batch"})
    check_config(swept, SCHEMA)
    swept["sweep"]["grid"] = {"model.name": ["resnet18", "resnet34"]}
    with pytest.raises(UserError, match=r"sweep: model\.name cannot be swept with model\.initial"):
        check_config(swept, SCHEMA)


def test_a_model_to_begin_with_is_of_another_experiment(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for experiment in ("phantom", "before"):
        path = tmp_path / "results" / experiment / "model"
        path.mkdir(parents=True)
        save_model(path / "model.safetensors", {"a": np.zeros(2, np.float32)})
    check_config(changed("model", BASE["model"] | {"initial": "results/before/model"}), SCHEMA)
    said = (
        r"^config: model\.initial: results/phantom/model/model\.safetensors is of this experiment, .*; take a new `exp"
    )
    with pytest.raises(UserError, match=said):
        check_config(changed("model", BASE["model"] | {"initial": "results/phantom/model"}), SCHEMA)


def updated(strategies, **changes):
    made = changed("sweep.grid", {"update.strategy": strategies})
    made["dataset"]["phantom"]["second"] = made["dataset"]["phantom"]["second"] | {"patients": 50}
    for key, value in changes.items():
        made[key] = made[key] | value
    return made


UPDATES = {
    "no model to keep": (["all", "anew"], {}, r"sweep: update\.strategy: keep is what others go on from"),
    "nothing to compare": (["keep"], {}, r"sweep: update\.strategy: keep is what others go on from"),
    "a model for each hospital": (
        ["keep", "all"],
        {"algorithm": {"name": "ditto"}},
        "only a model of all hospitals goes on; leave personal methods out",
    ),
    "noise": (
        ["keep", "all"],
        {"privacy": {"dp": "sites"}},
        r"privacy\.dp: .* the epsilon of both is not counted; set it to none",
    ),
    "attacks": (
        ["keep", "all"],
        {"privacy": {"audit": True}},
        r"privacy\.audit: with update\.strategy its attacks would .*; set it to false",
    ),
    "contributions": (
        ["keep", "all"],
        {"evaluation": {"contributions": True}},
        r"evaluation\.contributions: not there yet where update\.strategy is swept; set it to false",
    ),
    "one value": (
        ["keep", "all"],
        {"update": {"strategy": "all"}},
        r"update\.strategy: its values are compared; leave it",
    ),
    "another strategy": (["keep", "some"], {}, r"sweep\.grid\.update\.strategy: update\.strategy: 'some' is not known"),
}


@pytest.mark.parametrize(("strategies", "changes", "said"), UPDATES.values(), ids=UPDATES)
def test_strategies_that_cannot_be_compared_are_a_line_in_the_plan(strategies, changes, said):
    check_config(updated(["keep", "all", "new", "anew"]), SCHEMA)
    with pytest.raises(UserError, match=said):
        check_config(updated(strategies, **changes), SCHEMA)


def test_a_phantom_without_a_second_wave_and_a_point_without_its_predecessor():
    made = changed("sweep.grid", {"update.strategy": ["keep", "all"]})
    with pytest.raises(
        UserError, match=r"dataset\.phantom\.second: no second wave for update\.strategy; give its patients"
    ):
        check_config(made, SCHEMA)
    made = updated(["keep"])
    made["sweep"]["points"] = [{"update.strategy": "all", "training.lr": 0.5}]
    with pytest.raises(
        UserError, match=r"sweep: update\.strategy: a point goes on from that of keep, which is not among"
    ):
        check_config(made, SCHEMA)


def test_what_privacy_and_a_start_do_not_do_together(tmp_path):
    private = changed("privacy", BASE["privacy"] | {"dp": "sum", "secure_aggregation": True})
    private["model"] = BASE["model"] | {"name": "resnet18", "norms": "batch"}
    private["training"] = BASE["training"] | {"body_lr": 0.1}
    with pytest.raises(UserError) as error:
        check_config(private, SCHEMA)
    assert "model.norms: batch mixes patients" in str(error.value)
    assert "training.body_lr: privacy.dp sum takes its steps at the server" in str(error.value)


def test_robust_means_need_as_many_sites_as_must_answer():
    made = changed("algorithm.mean", "krum") | {"sites": ["a", "b", "c", "d", "e"]}
    check_config(made, SCHEMA)
    made["federation"] |= {"absent": "drop", "min_sites": 4}
    with pytest.raises(UserError, match=r"krum with algorithm\.byzantine 1 needs 5 sites, and there are 4; take fewer"):
        check_config(made, SCHEMA)


@pytest.mark.parametrize("name", ["fedavgm", "fedadam", "fedyogi", "fednova"])
def test_what_steps_at_the_server_moves_no_running_variances(name):
    made = changed("algorithm.name", name)
    made["model"] = BASE["model"] | {"name": "resnet18", "norms": "batch"}
    with pytest.raises(UserError, match=rf"algorithm\.name: {name}, but with model\.norms: batch .*set model\.norms"):
        check_config(made, SCHEMA)


def test_what_cannot_go_together_is_said_before_anything_is_trained():
    made = changed("algorithm.name", "scaffold")
    made["federation"] |= {"absent": "drop", "min_sites": 2}
    with pytest.raises(UserError, match=r"algorithm\.name: scaffold, but .* set federation\.absent: fail"):
        check_config(made, SCHEMA)
    made = changed("privacy.audit", True)
    made["model"] = BASE["model"] | {"name": "resnet18", "norms": "batch"}
    with pytest.raises(UserError, match=r"privacy\.audit: trains on random halves, and model\.norms: batch"):
        check_config(made, SCHEMA)


def test_trouble_is_checked_in_each_point_of_a_sweep():
    check_config(changed("trouble", on("clipped", "asia", 0.49)), SCHEMA)
    check_config(changed("trouble", on("labels", "asia", 1)), SCHEMA)
    check_config(
        changed("sweep.points", [point("none", ""), point("labels", "us", 0.9), point("clipped", "us", 0.1)]), SCHEMA
    )
    made = changed("trouble.site", "asia")
    made["sweep"]["grid"] = {"trouble.kind": ["none", "labels", "noise"]}
    check_config(made, SCHEMA)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("phantom", {"patients": 800, "seed": 1, "second": {"patients": 40, "pneumonia": 0.4}}),
        ("waves", ["2024-01-01"]),
        ("sources", [{"nih": {}}, {"kermany": {}, "wave": 2}]),
    ],
)
def test_trouble_is_not_made_in_waves(key, value):
    made = changed(f"dataset.{key}", value)
    check_config(made, SCHEMA)
    with pytest.raises(
        UserError, match=r"trouble\.kind: noise, but trouble on purpose is not made in data of several w"
    ):
        check_config(made | {"trouble": on("noise", "us")}, SCHEMA)


def test_secure_aggregation_needs_three_sites_and_the_weighted_mean():
    secure = changed("privacy.secure_aggregation", True)
    check_config(secure, SCHEMA)
    check_config(secure | {"federation": secure["federation"] | {"where": "remote", "admin_kit": "kit"}}, SCHEMA)
    for change, said in (
        ({"sites": ["us", "europe"]}, "2 sites are too few.*at least 3 sites"),
        ({"sweep": {"grid": {"sites": [2, 3]}, "points": [], "exclude": []}}, "2 sites are too few"),
        (
            {"algorithm": secure["algorithm"] | {"mean": "median"}},
            "median needs each hospital's answer.*mean: weighted",
        ),
    ):
        with pytest.raises(UserError, match=rf"^config: .*privacy\.secure_aggregation: .*{said}"):
            check_config(secure | change, SCHEMA)
        check_config(secure | change | {"privacy": secure["privacy"] | {"secure_aggregation": False}}, SCHEMA)


@pytest.mark.parametrize(
    ("sites", "min_sites", "said"),
    [
        (
            3,
            2,
            r"federation\.absent: drop, but .* 3 of 3 sites must answer in each round, .*at least 4 sites, or set it",
        ),
        (4, 2, r"federation\.min_sites: 2 of 4 sites, .* at least 3 in each round, .*; set it to 3$"),
        (7, 4, r"federation\.min_sites: 4 of 7 sites, .* at least 5 in each round.*; set it to 6, or down to 5$"),
        (4, 3, ""),
        (7, 5, ""),
        (7, 6, ""),
    ],
)
def test_more_than_two_thirds_of_the_sites_answer_each_round_of_a_secure_aggregation(sites, min_sites, said):
    drop = changed("federation.absent", "drop") | {"sites": [f"site{number}" for number in range(sites)]}
    drop["federation"]["min_sites"] = min_sites
    secure = drop | {"privacy": drop["privacy"] | {"secure_aggregation": True}}
    check_config(drop, SCHEMA)
    if said:
        with pytest.raises(UserError, match=rf"^config: {said}"):
            check_config(secure, SCHEMA)
        return
    check_config(secure, SCHEMA)
    secure["sweep"] = {"grid": {"sites": [3, sites]}, "points": [], "exclude": []}
    with pytest.raises(UserError, match=r"absent: drop, but .* 3 of 3 sites must answer"):
        check_config(secure, SCHEMA)


@pytest.mark.parametrize(
    ("fewest", "said"),
    [
        (1, r"a point with sites: 1, where nobody could be absent; sweep sites from 5"),
        (3, r"a point with sites: 3, where nobody could be absent; set it to at most 2, or sweep sites from 5"),
        (4, r"a point with sites: 4, where nobody could be absent; set it to at most 3, or sweep sites from 5"),
        (5, ""),
    ],
)
def test_a_site_may_be_absent_at_each_point_of_a_sweep(fewest, said):
    made = changed("federation.absent", "drop") | {"sites": [f"site{number}" for number in range(6)]}
    made["federation"]["min_sites"] = 4
    made["sweep"] = made["sweep"] | {"grid": {"sites": [6, fewest]}}
    if said:
        with pytest.raises(UserError, match=rf"^config: federation\.min_sites: 4, but the sweep has {said}$"):
            check_config(made, SCHEMA)
    else:
        check_config(made, SCHEMA)


def test_hospitals_elsewhere_have_the_data_that_they_have():
    made = changed("trouble", on("labels", "asia"))
    made["federation"] |= {"where": "remote", "admin_kit": "kit"}
    said = r"^config: trouble\.kind: labels, but hospitals elsewhere have the data that they have; set it to none$"
    with pytest.raises(UserError, match=said):
        check_config(made, SCHEMA)
    made["trouble"], made["sweep"]["points"] = BASE["trouble"], [point("labels", "asia")]
    with pytest.raises(UserError, match=r"sweep: trouble\.kind cannot be swept in a remote federation"):
        check_config(made, SCHEMA)


@pytest.mark.parametrize("swept", [True, False])
def test_what_to_do_about_new_patients_elsewhere_is_told(swept):
    made = changed("update.strategy", "" if swept else "all")
    made["federation"] |= {"where": "remote", "admin_kit": "kit"}
    made["sweep"]["grid"] = {"update.strategy": ["keep", "all"]} if swept else {}
    said = (
        r"^config: update\.strategy: .*; leave it out, and for a second wave set federation\.waves to 2, model\.initial"
    )
    with pytest.raises(UserError, match=said) as error:
        check_config(made, SCHEMA)
    assert len(str(error.value).splitlines()) == 1


def test_hospitals_elsewhere_are_not_attacked():
    made = changed("privacy.audit", True)
    check_config(made, SCHEMA)
    made["federation"] |= {"where": "remote", "admin_kit": "kit"}
    with pytest.raises(UserError, match=r"privacy\.audit: attacks need the hospitals' images, .*; set it to false"):
        check_config(made, SCHEMA)


def test_every_fault_is_told_at_once():
    made = changed("training.lr", -1)
    made["image_size"] = 8
    with pytest.raises(UserError) as error:
        check_config(made, SCHEMA)
    assert len(str(error.value).splitlines()) == 2


def test_braces_that_are_in_no_path_are_taken():
    check_config(changed("dataset.patient", r"/p(\d{3})-"), SCHEMA)


def test_a_grid_has_at_most_ten_thousand_points():
    tenths, hundredths = [n / 10 for n in range(1, 101)], [n / 200 for n in range(100)]
    grid = {"training.lr": tenths, "training.weight_decay": hundredths}
    check_config(changed("sweep.grid", grid), SCHEMA)
    with pytest.raises(UserError, match=r"sweep\.grid: 10100 points; at most 10000"):
        check_config(changed("sweep.grid", grid | {"training.lr": [*tenths, 0.05]}), SCHEMA)


def test_the_folder_of_every_run_that_is_accepted_can_be_made(tmp_path):
    """With its log, whose name is the longest that is made of it."""
    axes = ["lr", "weight_decay", "momentum", "augmentation.shift", "augmentation.scale", "augmentation.contrast"]
    point = {f"training.{axis}": 0.1234567890123456 for axis in axes} | {"training.schedule": "constant"}
    made = Experiment.from_config(changed("sweep.points", [point | {"training.augmentation.rotate": 5}]))
    check_names(made)
    name = max((run.job for run in made.runs), key=len)
    assert len(name) > 200
    (tmp_path / name).parent.mkdir(parents=True)
    (tmp_path / f"{name}.log").touch()
    long = Experiment.from_config(
        changed(
            "sweep.points", [point | {"training.augmentation.rotate": 1.234567890123456, "training.batch_size": 4096}]
        )
    )
    with pytest.raises(UserError, match=r"config: sweep: the folder lr=0\.12.* would have a name of 2\d\d letters"):
        check_names(long)


def test_a_key_that_is_twice_in_a_file_is_told_with_its_lines(tmp_path):
    good, twice = tmp_path / "good.yaml", tmp_path / "twice.json"
    good.write_text("a: &a {lr: 1}\nb: {<<: *a, lr: 2}\n")
    twice.write_text('{\n\t"training": {},\n\t"training": {}\n}')
    check_files([good])
    with pytest.raises(UserError) as error:
        check_files([good, twice])
    assert str(error.value) == f"config: training: twice in {twice}, in lines 2 and 3; keep one"


def test_words_that_are_no_yaml_are_told_by_their_key():
    with pytest.raises(UserError, match=r"training\.lr: '\[' is not a number"):
        check_config(typed(changed("training.lr", "["), SCHEMA), SCHEMA)


def test_words_of_the_command_line_become_what_the_schema_wants():
    made = typed(changed("training.lr", "0.01") | {"seeds": ["1", "2"], "experiment": "12"}, SCHEMA)
    assert (made["training"]["lr"], made["seeds"], made["experiment"]) == (0.01, [1, 2], "12")
    assert typed(changed("training.flip", "true"), SCHEMA)["training"]["flip"] is True
    assert typed(changed("sweep.grid", {"training.lr": ["0.1"]}), SCHEMA)["sweep"]["grid"] == {"training.lr": [0.1]}
    assert typed(changed("sweep.grid", {"sites": ["2", 3]}), SCHEMA)["sweep"]["grid"] == {"sites": [2, 3]}


def test_text_of_a_sweep_stays_text_where_its_key_wants_it():
    made = changed("sweep.grid", {"trouble.site": ["no", "se"]}) | {"sites": ["no", "se", "dk"]}
    made["sweep"]["points"], made["trouble"] = [{"trouble.site": "no"}], on("labels", "no")
    assert typed(made, SCHEMA) == made
    check_config(made, SCHEMA)


@pytest.mark.parametrize("path", sorted(Path("config").glob("*.yaml")) + sorted(Path("config/sweeps").glob("*.yaml")))
def test_every_configuration_in_the_repository_is_valid(path):
    if path.name != "schema.yaml":
        made, given = deepcopy(BASE), yaml.safe_load(path.read_text())
        update_config(made, given)
        check_config(made, SCHEMA, given_of(given, BASE))


def leaves(schema, path=""):
    for name, value in schema.get("properties", {}).items():
        if "properties" in value:
            yield from leaves(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", value


@pytest.mark.parametrize(("key", "schema"), list(leaves(SCHEMA)))
def test_every_value_has_a_description_and_a_bound(key, schema):
    assert schema.get("description"), key
    bounds = {
        "number": ("minimum", "exclusiveMinimum"),
        "integer": ("minimum",),
        "array": ("maxItems", "minItems"),
        "object": ("additionalProperties",),
    }
    kind = schema.get("type")
    if "enum" not in schema and kind in bounds:
        assert any(bound in schema for bound in bounds[kind]), key
    if "enum" not in schema and kind in ("number", "integer"):
        assert "maximum" in schema or "exclusiveMaximum" in schema, key


def test_every_name_of_torchvisions_weights_is_known():
    networks = torchvision.models.list_models(module=torchvision.models)
    names = {name for network in networks for name in torchvision.models.get_model_weights(network).__members__}
    assert names == set(WEIGHTS)


def test_the_schema_knows_torchvisions_classifiers():
    known = SCHEMA["properties"]["model"]["properties"]["name"]["enum"]
    assert known == ["compact", "demo", *torchvision.models.list_models(module=torchvision.models)]


PRIVATE = {"federation.engine": "inprocess", "privacy.dp": "sum", "privacy.secure_aggregation": True}


def private(**changes):
    """The default configuration with private training, and with what is changed by its dotted key."""
    config = changed("experiment", "private")
    for key, value in (PRIVATE | changes).items():
        section, _, name = key.partition(".")
        config[section] = config[section] | {name: value} if name else value
    return config


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"privacy.secure_aggregation": False}, r"privacy\.dp: sum needs privacy\.secure_aggregation: true"),
        ({"sites": ["us", "asia"], "privacy.colluders": 0}, r"privacy\.dp: sum of 2 sites shows one the other's"),
        ({"privacy.colluders": 2}, r"privacy\.colluders: 2 of 3 sites; take at most 1"),
        ({"privacy.noise": "secret"}, r"privacy\.noise: secret noise is never drawn again, .* set it to nvflare"),
        ({"algorithm.name": "scaffold"}, r"algorithm\.name: scaffold, but privacy\.dp sum needs fedavg"),
        ({"algorithm.mean": "median"}, r"algorithm\.mean: median, but privacy\.dp sum needs weighted"),
        ({"algorithm.finetune": 4}, r"algorithm\.finetune: 4, but privacy\.dp sum needs 0"),
        ({"algorithm.precision": "float16"}, r"algorithm\.precision: float16, but privacy\.dp sum needs float32"),
        ({"split.balance": "weighted_loss"}, r"split\.balance: weighted_loss looks at all labels without noise"),
        ({"evaluation.contributions": True}, r"evaluation\.contributions: true, but each coalition would spend"),
        ({"federation.budget": "steps"}, r"federation\.budget: steps, but privacy\.steps are the budget"),
        (
            {"privacy.dp": "sites", "privacy.secure_aggregation": False}
            | {"federation.absent": "drop", "federation.min_sites": 2},
            r"federation\.absent: drop, but privacy\.dp sites",
        ),
        ({"privacy.delta": 0}, r"privacy\.delta: 0 is less than the minimum"),
        ({"privacy.delta": None}, r"privacy\.delta: nothing is not a number; give a value"),
        (
            {"sweep": {"grid": {"privacy.epsilon": [1, 3]}, "points": [], "exclude": []}},
            r"sweep: several levels of privacy and none without noise, .* add privacy\.dp: none",
        ),
        (
            {
                "sweep": {"grid": {"privacy.dp": ["none", "sites"]}, "points": [], "exclude": []},
                "split.balance": "undersample",
            },
            r"split\.balance: undersample looks",
        ),
    ],
)
def test_privacy_that_would_not_hold_is_told(changes, said):
    with pytest.raises(UserError, match=said):
        check_config(private(**changes), SCHEMA)


def test_private_training_that_holds_is_taken():
    check_config(private(), SCHEMA)
    secret = {"federation.engine": "nvflare", "privacy.noise": "secret"}
    check_config(private(**secret), SCHEMA)
    check_config(private(**secret, **{"federation.where": "remote", "federation.admin_kit": "kit"}), SCHEMA)
    check_config(
        private(**{"privacy.dp": "sites", "sites": ["us", "asia"], "privacy.secure_aggregation": False}), SCHEMA
    )
    check_config(
        private(**{"privacy.dp": "none", "federation.engine": "nvflare", "split.balance": "undersample"}), SCHEMA
    )


def test_a_gate_needs_one_model_of_all_hospitals_wherever_they_are():
    made = changed("promotion.predecessor", "models/1")
    check_config(made, SCHEMA)
    with pytest.raises(UserError, match=r"^config: promotion\.predecessor: all methods are personal, .*; add another"):
        check_config(made | {"algorithm": made["algorithm"] | {"name": "ditto"}}, SCHEMA)
    made["federation"] |= {"where": "remote", "admin_kit": "kit"}
    check_config(made, SCHEMA)


def test_a_predecessor_that_takes_other_images_is_refused(tmp_path):
    check_predecessor(BASE)
    made = changed("promotion.predecessor", str(tmp_path))
    (tmp_path / "model.safetensors").touch()
    for text in (None, "{", "[]", '{"image_size": 64}'):
        if text:
            (tmp_path / "config.json").write_text(text)
        with pytest.raises(UserError, match=r"^config: promotion\.predecessor: .* is no exported model"):
            check_predecessor(made)
    write_json(tmp_path / "config.json", {"image_size": 64, "fit": "stretch"})
    check_predecessor(made)
    write_json(tmp_path / "config.json", {"image_size": 32, "fit": "pad"})
    said = r"takes other images: image_size is 32, here 64, fit is pad, here stretch; make them equal$"
    with pytest.raises(UserError, match=said):
        check_predecessor(made)
    write_json(tmp_path / "config.json", {"image_size": 64, "fit": "stretch"})
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"is no exported model \(config\.json, model\.safetensors\); give one"):
        check_predecessor(made)


def test_a_model_is_not_judged_against_what_its_own_experiment_writes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = changed("promotion.predecessor", f"results/{BASE['experiment']}/model")
    for folder in (tmp_path / made["promotion"]["predecessor"], tmp_path / "results" / "before" / "model"):
        folder.mkdir(parents=True)
        write_json(folder / "config.json", {"image_size": 64, "fit": "stretch"})
        (folder / "model.safetensors").touch()
    said = r"^config: promotion\.predecessor: results/\w+/model is of this experiment, which writes it again; take"
    with pytest.raises(UserError, match=said):
        check_predecessor(made)
    check_predecessor(changed("promotion.predecessor", "results/before/model"))
