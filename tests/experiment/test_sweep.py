from copy import deepcopy
from pathlib import Path

import pandas as pd
import pytest
import yaml
from snakemake.utils import Paramspace

from fedxray.core.errors import UserError
from fedxray.experiment import sweep

BASE = yaml.safe_load(Path("config/config.yaml").read_text())


def config(**changes):
    made = deepcopy(BASE)
    made["sweep"] |= {key: changes.pop(key) for key in ("grid", "points", "exclude") if key in changes}
    return made | changes


def paths(made):
    return [run.path for run in sweep.runs(made)]


def test_without_a_sweep_there_is_one_point():
    assert paths(config()) == [
        "federated/lr=0.003,rounds=20,local_epochs=1,seed=1",
        "central/lr=0.003,epochs=20,seed=1",
        *(f"alone/lr=0.003,epochs=20,seed=1/{site}" for site in ("us", "europe", "asia")),
    ]
    assert sweep.cohorts(config()) == [""]


def test_a_grid_is_crossed_with_seeds_and_modes_and_budgets_are_equal():
    made = config(grid={"training.lr": [0.001, 0.01], "federation.rounds": [2, 5]}, seeds=[1, 2])
    runs = sweep.runs(made)
    assert len(runs) == 4 * 2 * (1 + 1 + 3)
    budgets = {
        mode: {
            run.values.get("epochs") or run.values["rounds"] * run.values["local_epochs"]
            for run in runs
            if run.mode == mode
        }
        for mode in sweep.MODES
    }
    assert budgets["federated"] == budgets["central"] == budgets["alone"] == {2, 5}


def test_one_budget_in_several_rounds_is_one_central_point():
    rounds = [{"federation.rounds": 20 // n, "federation.local_epochs": n} for n in (1, 2, 4)]
    runs = sweep.runs(config(points=rounds))
    assert [sum(run.mode == mode for run in runs) for mode in sweep.MODES] == [3, 1, 3]


def test_points_are_added_and_exclusions_taken_away():
    made = config(
        grid={"training.lr": [0.001, 0.003]},
        points=[{"training.lr": 0.1}, {"training.batch_size": 64}],
        exclude=[{"training.lr": 0.001}],
    )
    assert [(p["training.lr"], p["training.batch_size"]) for p in sweep.points(made)] == [
        (0.003, 16),
        (0.1, 16),
        (0.003, 64),
    ]
    assert "central/lr=0.003,epochs=20,batch_size=64,seed=1" in paths(made)
    with pytest.raises(UserError, match="leaves no point"):
        sweep.points(config(exclude=[{"training.lr": 0.003}], grid={"training.lr": [0.003]}))


def test_a_whole_number_and_its_fraction_are_one_point():
    assert len(sweep.points(config(grid={"training.weight_decay": [0, 0.0, 0.1]}))) == 2


def test_cohorts_come_before_the_point_and_share_what_their_partition_does_not_use():
    listed = [{"split.partition": "iid"}, {"split.partition": "dirichlet", "split.alpha": 0.1}]
    made = config(points=[*listed, {"split.partition": "iid", "split.alpha": 0.7}])
    assert sweep.cohorts(made) == ["partition=iid/", "partition=dirichlet,alpha=0.1/"]
    assert sweep.cohort_settings("partition=dirichlet,alpha=0.1/", made)["alpha"] == 0.1
    assert sweep.cohort_settings("partition=iid/", made) == BASE["split"]
    assert "federated/partition=dirichlet,alpha=0.1/lr=0.003,rounds=20,local_epochs=1,seed=1" in paths(made)


def test_sites_are_the_first_of_those_named():
    made = config(sites=list("abcde"), grid={"sites": [2, 5]})
    assert sweep.sites_of("sites=2/", made) == ["a", "b"]
    assert sum(run.mode == "alone" for run in sweep.runs(made)) == 2 + 5


def test_what_cannot_be_swept_is_named():
    for part, value in (("grid", {"image_size": [32]}), ("points", [{"seeds": 1}]), ("exclude", [{"x": 1}])):
        with pytest.raises(UserError, match=rf"sweep\.{part}: \w+ cannot be swept; these can: sites, model\.name"):
            sweep.points(config(**{part: value}))


def test_a_paramspace_of_the_points_names_the_same_paths_and_gives_the_settings_back():
    grid = {"training.lr": [0.0001, 1], "training.augmentation.flip": [True, False], "model.name": ["compact", "demo"]}
    made = config(grid=grid)
    for mode in sweep.MODES:
        space = Paramspace(
            pd.DataFrame(sweep.space(mode, sweep.runs(made))), filename_params="*", param_sep="=", filename_sep=","
        )
        names = {run.path.split("/")[1] for run in sweep.runs(made) if run.mode == mode}
        assert set(space.instance_patterns) == names
    row = sweep.space("federated", sweep.runs(made))[0] | {"lr": 0.5, "model": "demo"}
    settings = sweep.settings(row, made)
    assert (settings["lr"], settings["model"], settings["epochs"], settings["shift"]) == (0.5, "demo", 20, 0.05)
    assert "rounds" not in settings


def test_a_new_value_adds_runs_and_moves_none():
    one, more = (config(grid={"training.lr": values}) for values in ([0.001, 0.01], [0.001, 0.003, 0.01]))
    assert set(paths(one)) < set(paths(more))
