import pytest
from helpers.analysis import DRAW, SITES, chosen_models

from fedxray.analysis import comparison as evaluation
from fedxray.analysis.at_sites import across_sites, agreement, means_at_sites
from fedxray.core.errors import UserError
from fedxray.training.metrics import METRICS


@pytest.fixture
def experiment():
    return chosen_models()


def test_a_metric_that_a_site_computes_otherwise_is_an_error(experiment):
    comparison = evaluation.compare(*experiment, *DRAW)
    federated = comparison[comparison["mode"] == "federated"].set_index(["seed", "test_set"])
    found = {
        "": {
            f"seed={seed}": {site: federated.loc[(seed, site), list(METRICS)].to_dict() for site in SITES}
            for seed in (1, 2)
        }
    }
    table = agreement(found, comparison, 0.0)
    assert len(table) == 2 * 2 * len(METRICS)
    found[""]["seed=2"]["asia"]["brier"] += 1e-9
    with pytest.raises(UserError, match="brier of seed 2 at asia"):
        agreement(found, comparison, 0.0)
    agreement(found, comparison, 1e-5)


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
