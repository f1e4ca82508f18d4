"""Points, cohorts and runs of an experiment, from its configuration alone."""

import json
from argparse import ArgumentParser
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml

from fedxray.core.errors import UserError
from fedxray.experiment import method, settings
from fedxray.experiment.experiment import Experiment, coalitions
from fedxray.experiment.folder import Folder

TRAINED = ("federated", "central", "alone")
BASE = yaml.safe_load((Path(__file__).parents[2] / "config" / "config.yaml").read_text())


def experiment(**changes):
    config = deepcopy(BASE)
    config["sweep"] |= {key: changes.pop(key) for key in ("grid", "points", "exclude") if key in changes}
    return Experiment.from_config(config | changes)


def paths(made):
    return [run.path for run in made.runs]


def test_without_a_sweep_there_is_one_point():
    made = experiment()
    assert paths(made) == [
        "federated/fedavg+averaged/lr=0.002,epochs=40,round=0.25,seed=1",
        "central/lr=0.002,epochs=40,seed=1",
        *(f"alone/lr=0.002,epochs=40,seed=1/{site}" for site in ("us", "europe", "asia")),
    ]
    assert made.jobs == made.runs
    assert {run.model.method for run in made.runs} == {""}
    assert [run.job for run in made.runs if run.model.mode == "alone"] == ["lr=0.002,epochs=40,seed=1"] * 3
    assert [cohort.name for cohort in made.cohorts] == [""]
    assert not made.is_swept


def test_what_is_not_given_of_a_start_is_in_no_command_and_no_key_and_the_rest_is_swept():
    (plain, *_), made = (
        experiment().runs,
        experiment(grid={"training.freeze": ["none", "stem.*"], "training.body_lr": [1, 0.1]}),
    )
    settings = experiment().settings(plain)
    assert not {"initial", "norms", "standardise", "freeze", "body_lr"} & set(settings.content)
    assert not {"--norms", "--standardise", "--freeze", "--body-lr"} & set(settings.options())
    of_points = [made.settings(run) for run in made.runs if run.model.mode == "central"]
    assert [(each.freeze, each.body_lr) for each in of_points] == [
        ("none", 1.0),
        ("none", 0.1),
        ("stem.*", 1.0),
        ("stem.*", 0.1),
    ]
    assert of_points[3].content == settings.content | {"freeze": "stem.*", "body_lr": 0.1}
    assert of_points[3].without_start == settings


def test_a_strategy_is_a_cohort_whose_runs_go_on_from_those_of_keep():
    made = experiment(grid={"update.strategy": ["all", "keep", "new", "anew"], "training.lr": [0.1, 0.2]})
    assert [cohort.waves for cohort in made.cohorts] == [(1, 2), (1,), (2,), (1, 2)]
    begun = {(run.model.mode, run.job): run.goes_on_from for run in made.jobs}
    for mode, job in begun:
        strategy = job.partition("/")[0].removeprefix("strategy=")
        wanted = job.replace(f"strategy={strategy}", "strategy=keep") if strategy in ("all", "new") else ""
        assert begun[mode, job] == wanted
        assert not wanted or (mode, wanted) in begun
    assert made.is_updated
    assert not experiment(grid={"training.lr": [0.1, 0.2]}).is_updated


def test_a_grid_is_crossed_with_seeds_and_modes_and_budgets_are_equal():
    made = experiment(grid={"training.lr": [0.001, 0.01], "training.epochs": [2, 5]}, seeds=[1, 2])
    assert len(made.runs) == 4 * 2 * (1 + 1 + 3)
    budgets = {mode: {run.point["epochs"] for run in made.runs if run.model.mode == mode} for mode in TRAINED}
    assert budgets["federated"] == budgets["central"] == budgets["alone"] == {2, 5}
    assert {made.settings(run).epochs for run in made.runs} == {2, 5}
    assert made.is_swept


def test_one_budget_in_several_rounds_is_one_central_point():
    made = experiment(grid={"federation.round": [1, 2, 0.5], "federation.steps": [0, 7]})
    assert [sum(run.model.mode == mode for run in made.runs) for mode in TRAINED] == [6, 1, 3]
    assert "federated/fedavg+averaged/lr=0.002,epochs=40,round=1.0,steps=7,seed=1" in paths(made)
    assert made.is_swept


def test_methods_are_compared_and_their_numbers_are_points():
    made = experiment(grid={"algorithm.name": ["fedavg", "fedprox"], "algorithm.mu": [0.1, 1.0]})
    assert [run.path for run in made.runs if run.model.mode == "federated"] == [
        f"federated/{method}/lr=0.002,epochs=40,round=0.25,seed=1"
        for method in ("fedavg+averaged", "fedprox+averaged+mu=0.1", "fedprox+averaged+mu=1.0")
    ]
    assert {run.model.name for run in made.runs} == {
        *("fedavg+averaged", "fedprox+averaged", "central", "us alone", "europe alone", "asia alone"),
    }
    assert made.is_swept
    assert not experiment(grid={"algorithm.name": ["fedavg", "scaffold"]}).is_swept
    assert experiment(grid={"algorithm.precision": ["float32", "float16"]}).methods == [
        "fedavg+averaged",
        "fedavg+averaged+half",
    ]


def test_a_personal_method_is_one_job_and_a_model_for_each_hospital():
    made = experiment(points=[{"algorithm.name": "ditto"}, {"algorithm.finetune": 3}])
    federated = [run for run in made.jobs if run.model.mode == "federated"]
    assert len(federated) == 2
    personal = [run for run in made.runs if run.trained_as == "federated"]
    assert {run.model.mode for run in personal} == {"personal"}
    assert {run.path for run in personal} == {
        f"federated/{run.job}/personal/{site}" for run in federated for site in ("us", "europe", "asia")
    }
    assert personal[0].model.name == "ditto+averaged of us"


def test_equal_steps_are_another_method_for_all_but_central_training():
    made = experiment(grid={"federation.budget": ["passes", "steps"]})
    models = {(run.model.mode, run.model.method) for run in made.runs}
    assert models == {
        *(("federated", "fedavg+averaged"), ("federated", "fedavg+averaged+steps"), ("central", "")),
        *(("alone", ""), ("alone", "steps")),
    }


def test_coalitions_are_what_is_between_one_hospital_and_all():
    assert coalitions("abc") == ["a+b", "a+c", "b+c"]
    assert len(coalitions("abcd")) == 10
    assert coalitions("ab") == coalitions("abcde") == []
    made = experiment(evaluation=BASE["evaluation"] | {"contributions": True})
    assert sum(run.model.mode == "coalition" for run in made.jobs) == 3
    assert "coalition/fedavg+averaged/lr=0.002,epochs=40,round=0.25,seed=1/us+asia" in paths(made)
    assert (
        "coalition" not in experiment(evaluation=BASE["evaluation"] | {"contributions": True}, sites=["a", "b"]).modes
    )


def test_several_seeds_or_cohorts_alone_leave_nothing_to_choose():
    assert not experiment(seeds=[1, 2]).is_swept
    assert not experiment(points=[{"split.partition": "iid"}, {"split.partition": "quantity"}]).is_swept


def test_points_are_added_and_exclusions_taken_away():
    made = experiment(
        grid={"training.lr": [0.001, 0.003]},
        points=[{"training.lr": 0.1}, {"training.batch_size": 64}],
        exclude=[{"training.lr": 0.001}],
    )
    assert [(point["training.lr"], point["training.batch_size"]) for point in made.points] == [
        (0.003, 16),
        (0.1, 16),
        (0.002, 64),
    ]
    assert "central/lr=0.002,epochs=40,batch_size=64,seed=1" in paths(made)
    with pytest.raises(UserError, match="leaves no point"):
        experiment(exclude=[{"training.lr": 0.003}], grid={"training.lr": [0.003]}).points  # noqa: B018


def test_a_whole_number_and_its_fraction_are_one_point():
    assert len(experiment(grid={"training.weight_decay": [0, 0.0, 0.1]}).points) == 2


def test_cohorts_come_before_the_point_and_share_what_their_partition_does_not_use():
    listed = [{"split.partition": "iid"}, {"split.partition": "dirichlet", "split.alpha": 0.1}]
    made = experiment(points=[*listed, {"split.partition": "iid", "split.alpha": 0.7}])
    iid, dirichlet = made.cohorts
    assert (iid.name, dirichlet.name) == ("partition=iid", "partition=dirichlet,alpha=0.1")
    assert dirichlet.split == BASE["split"] | {"partition": "dirichlet", "alpha": 0.1}
    assert iid.split == BASE["split"]
    assert "federated/partition=dirichlet+alpha=0.1/fedavg+averaged/lr=0.002,epochs=40,round=0.25,seed=1" in paths(made)


def test_a_cohort_has_of_its_trouble_what_the_kind_uses():
    kinds = ["none", "labels", "inverted", "clipped", "noise"]
    made = experiment(grid={"trouble.kind": kinds, "trouble.site": ["us"], "trouble.share": [0.1, 0.4]})
    assert [(cohort.name, cohort.trouble) for cohort in made.cohorts] == [
        ("trouble=none", {}),
        ("trouble=labels,site=us,share=0.1", {"kind": "labels", "site": "us", "share": 0.1}),
        ("trouble=labels,site=us,share=0.4", {"kind": "labels", "site": "us", "share": 0.4}),
        ("trouble=inverted,site=us", {"kind": "inverted", "site": "us"}),
        ("trouble=clipped,site=us,share=0.1", {"kind": "clipped", "site": "us", "share": 0.1}),
        ("trouble=clipped,site=us,share=0.4", {"kind": "clipped", "site": "us", "share": 0.4}),
        ("trouble=noise,site=us", {"kind": "noise", "site": "us"}),
    ]
    assert all(cohort.split == BASE["split"] for cohort in made.cohorts)  # the same patients are at the same hospitals
    assert len(made.runs) == 7 * (1 + 1 + 3)
    (cohort,) = experiment(trouble={"kind": "noise", "site": "asia", "share": 0.4}).cohorts
    assert (cohort.name, cohort.trouble) == ("", {"kind": "noise", "site": "asia"})
    (cohort,) = experiment().cohorts
    assert cohort.trouble == {}


def test_sites_are_the_first_of_those_named():
    made = experiment(sites=list("abcde"), grid={"sites": [2, 5]})
    two, five = made.cohorts
    assert (two.name, two.sites, five.sites) == ("sites=2", ("a", "b"), tuple("abcde"))
    assert sum(run.model.mode == "alone" for run in made.runs) == 2 + 5


def test_what_cannot_be_swept_is_named():
    for part, value in (("grid", {"image_size": [32]}), ("points", [{"seeds": 1}]), ("exclude", [{"x": 1}])):
        with pytest.raises(UserError, match=rf"sweep\.{part}: \w+ cannot be swept; these can: sites, model\.name"):
            experiment(**{part: value}).points  # noqa: B018


def test_the_settings_of_a_run_are_the_configurations_with_its_point():
    grid = {"training.lr": [0.0001, 1], "training.augmentation.flip": [True, False], "model.name": ["compact", "demo"]}
    made = experiment(grid=grid, split=BASE["split"] | {"balance": "weighted_loss"}, seeds=[7])
    run = next(
        run for run in made.runs if "lr=1.0," in run.path and "flip=True" in run.path and "model=demo" in run.path
    )
    own = made.settings(run)
    assert (own.lr, own.model, own.flip, own.epochs, own.seed, own.class_weights) == (1.0, "demo", True, 40, 7, True)
    assert (own.shift, own.rotate, own.optimizer) == (0.05, 5.0, "adamw")
    assert all(type(value) in (int, float, str, bool) for value in asdict(own).values())


def test_settings_go_through_the_command_line_unchanged():
    made = experiment(grid={"training.lr": [1e-05, 0.1 + 0.2], "training.augmentation.flip": [True, False]})
    parser = ArgumentParser()
    settings.add_options(parser)
    for run in made.runs:
        own = made.settings(run)
        assert settings.from_options(parser.parse_args(own.options())) == own


@pytest.mark.parametrize(
    "grid",
    [
        {},
        {"algorithm.name": ["fedavg", "ditto", "fedprox"], "training.lr": [0.1, 0.2]},
        {"algorithm.name": ["fedbn", "ditto"]},
        {"federation.budget": ["passes", "steps"], "algorithm.finetune": [0, 2]},
    ],
)
def test_global_methods_are_those_of_the_federated_models_that_have_a_name(grid):
    made = experiment(grid=grid)
    named = [run.model.method for run in made.runs if run.model.mode == "federated" and run.model.method]
    assert made.global_methods == list(dict.fromkeys(named))


def test_methods_go_through_the_command_line_unchanged():
    parser = ArgumentParser()
    method.add_options(parser)
    for run in experiment(grid={"algorithm.name": ["fedadam", "ditto"], "algorithm.tau": [1e-05, 0.3]}).jobs:
        assert method.from_options(parser.parse_args(run.method.options())) == run.method


def test_a_new_value_adds_runs_and_moves_none():
    one, more = (experiment(grid={"training.lr": values}) for values in ([0.001, 0.01], [0.001, 0.003, 0.01]))
    assert set(paths(one)) < set(paths(more))


def test_only_what_changes_the_runs_is_an_experiments(tmp_path):
    whole = deepcopy(BASE)
    whole["evaluation"]["margin"], whole["federation"]["patience_s"] = 0.3, 9
    assert Experiment.from_config(whole).config == experiment().config
    (tmp_path / "experiment.json").write_text(json.dumps(experiment(seeds=[3]).config))
    assert paths(Experiment.read(tmp_path / "experiment.json")) == paths(experiment(seeds=[3]))


def test_other_machines_have_no_central_model():
    made = experiment(federation=BASE["federation"] | {"where": "remote"})
    assert {run.model.mode for run in made.runs} == {"federated", "alone"}


def test_an_unswept_cohort_has_no_folder_of_its_own():
    (cohort,) = experiment().cohorts
    folder = Folder("results/phantom")
    assert folder.cohort(cohort).split == Path("results/phantom/cohort/split.csv")
    assert folder.site(cohort, "us") == Path("results/phantom/sites/us")
    named = experiment(grid={"sites": [2]}, sites=["a", "b"]).cohorts[0]
    assert folder.site(named, "a") == Path("results/phantom/sites/sites=2/a")


def test_privacy_is_part_of_what_a_model_is_and_its_levels_are_compared():
    points = [{"privacy.dp": "none"}, {"privacy.dp": "sum", "privacy.epsilon": 3}, {"privacy.dp": "sites"}]
    made = experiment(points=points, privacy=BASE["privacy"] | {"epsilon": 3.0})
    assert [run.path for run in made.jobs] == [
        "federated/fedavg+averaged/lr=0.002,epochs=40,round=0.25,seed=1",
        "federated/fedavg+averaged+sum+epsilon=3/lr=3.0,epochs=40,round=0.25,seed=1",
        "federated/fedavg+averaged+sites+epsilon=3/lr=3.0,epochs=40,round=0.25,seed=1",
        "central/lr=0.002,epochs=40,epsilon=none,seed=1",
        "central/lr=3.0,epochs=40,epsilon=3,seed=1",
        *(f"alone/lr=0.002,epochs=40,epsilon=none,seed=1/{site}" for site in ("us", "europe", "asia")),
        *(f"alone/lr=3.0,epochs=40,epsilon=3,seed=1/{site}" for site in ("us", "europe", "asia")),
    ]
    assert [run.model.name for run in made.jobs[:5]] == [
        *("fedavg+averaged", "fedavg+averaged+sum+epsilon=3", "fedavg+averaged+sites+epsilon=3"),
        *("central", "central (epsilon=3)"),
    ]
    assert not made.is_swept
    private, plain = made.settings(made.jobs[1]), made.settings(made.jobs[0])
    assert (private.optimizer, private.lr, private.shift, private.weight_decay) == ("sgd", 3.0, 0.0, 0.0)
    assert plain == experiment().settings(experiment().jobs[0])
    assert {run.privacy.dp for run in made.jobs if run.model.mode in ("central", "alone")} == {"none", "sites"}
    alone = experiment(privacy=BASE["privacy"] | {"dp": "sites"})
    assert {run.model.method for run in alone.jobs} == {""}
    assert alone.jobs[1].path == "central/lr=3.0,epochs=40,epsilon=3,seed=1"


def test_numbers_of_private_training_are_swept_for_private_runs_alone():
    points = [{"privacy.dp": "none", "privacy.lr": 2}]  # trained once, whatever else
    points += [{"privacy.dp": "sum", "privacy.lr": lr, "privacy.steps": 50} for lr in (2, 4)]
    made = experiment(points=points, privacy=BASE["privacy"] | {"epsilon": 3.0})
    assert [run.path for run in made.jobs if run.model.mode != "alone"] == [
        "federated/fedavg+averaged/lr=0.002,epochs=40,round=0.25,seed=1",
        "federated/fedavg+averaged+sum+epsilon=3/lr=2.0,epochs=40,round=0.25,private_steps=50,seed=1",
        "federated/fedavg+averaged+sum+epsilon=3/lr=4.0,epochs=40,round=0.25,private_steps=50,seed=1",
        "central/lr=0.002,epochs=40,epsilon=none,seed=1",
        "central/lr=2.0,epochs=40,epsilon=3,private_steps=50,seed=1",
        "central/lr=4.0,epochs=40,epsilon=3,private_steps=50,seed=1",
    ]
    assert made.is_swept
    assert len(made.methods) == 2
    assert {run.privacy.steps for run in made.jobs if run.privacy.dp != "none"} == {50}
