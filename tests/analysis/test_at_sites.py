import pytest
from helpers.analysis import DRAW, METHODS, SITES, chosen_models
from helpers.data import points_of

from fedxray.analysis import comparison as evaluation
from fedxray.analysis.at_sites import across_sites, agreement, means_at_sites, thresholds_at
from fedxray.core.errors import UserError
from fedxray.training.metrics import METRICS


@pytest.fixture
def experiment():
    return chosen_models()


def test_a_metric_that_a_site_computes_otherwise_is_an_error():
    chosen, predictions = chosen_models(kinds=METHODS)
    comparison = evaluation.compare(chosen, predictions, *DRAW)
    federated = comparison[comparison["mode"] == "federated"].set_index(["method", "seed", "test_set"])
    of_federation = chosen[chosen["mode"] == "federated"]
    found = {
        path: {site: federated.loc[(method, seed, site), list(METRICS)].to_dict() for site in SITES}
        for path, method, seed in zip(*(of_federation[name] for name in ("path", "method", "seed")), strict=True)
    }
    table = agreement(found, chosen, comparison, 0.0)
    assert len(table) == 3 * 2 * 2 * len(METRICS)
    last = of_federation["path"].iloc[-1]
    found[last]["asia"]["brier"] += 1e-9
    with pytest.raises(UserError, match="brier of seed 2 at asia"):
        agreement(found, chosen, comparison, 0.0)
    agreement(found, chosen, comparison, 1e-5)
    assert agreement({}, chosen, comparison, 0.0).empty  # of personal methods alone


def test_of_a_personal_model_its_sites_own_metrics_and_threshold_are_a_row():
    rows = [("federated", "pooled", 0.1, 1, 0.8, "fedavg"), ("personal", "us", 0.1, 1, 0.9, "ditto")]
    chosen = points_of(*rows, ("personal", "asia", 0.1, 1, 0.7, "ditto"))
    found = {path: {site: dict.fromkeys(METRICS, 0.5) for site in SITES} for path in chosen["path"]}
    found["1"] = {"us": dict.fromkeys(METRICS, 0.9) | {"threshold": 0.25}}
    found["2"]["asia"]["threshold"] = found["2"]["us"]["threshold"] = 0.75
    thresholds = thresholds_at(found, {"0": 0.4})
    table = across_sites(chosen, found, thresholds)
    columns = [table[name] for name in ("mode", "site", "test_set", "threshold", "auroc")]
    assert list(zip(*columns, strict=True)) == [
        *(("federated", "pooled", site, 0.4, 0.5) for site in SITES),
        *(("personal", "us", "us", 0.25, 0.9), ("personal", "asia", "asia", 0.75, 0.5)),
    ]
    means = means_at_sites(table)
    assert set(zip(means["mode"], means["method"], strict=True)) == {("federated", "fedavg"), ("personal", "ditto")}


def test_metrics_of_the_sites_are_a_row_for_each_run_and_site_and_a_mean_over_seeds(experiment):
    chosen = experiment[0]
    numbers = dict(zip(chosen["path"], range(len(chosen)), strict=True))
    found = {path: {site: dict.fromkeys(METRICS, n / 10) for site in SITES} for path, n in numbers.items()}
    table = across_sites(chosen, found, {path: n / 100 for path, n in numbers.items()})
    assert len(table) == len(chosen) * len(SITES)
    assert list(table["threshold"]) == [n / 100 for n in numbers.values() for _ in SITES]
    assert "chosen" not in table  # as in comparison.csv
    means = means_at_sites(table)
    assert len(means) == 4 * len(SITES) * len(METRICS)
    federated = means[(means["mode"] == "federated") & (means["metric"] == "auroc")]
    assert federated["estimate"].tolist() == [pytest.approx(0.05)] * len(SITES)  # of seeds 0.0 and 0.1
