import pandas as pd

from fedxray.analysis.cohorts import cohorts_of
from fedxray.core.files import write_json, write_table
from fedxray.experiment.cohorts import Cohort
from fedxray.experiment.folder import Folder


def test_cohorts_have_their_sites_in_the_order_of_the_configuration(tmp_path):
    folder = Folder(tmp_path)
    for name, sites in (("sites=2", ["us", "asia"]), ("sites=3", ["us", "europe", "asia"])):
        write_json(folder.cohort(Cohort(name, (), {})).heterogeneity, {"sites": {site: {} for site in sites}})
    rows = [("asia", "sites=2"), ("shared", "sites=2"), ("us", "sites=2"), ("asia", "sites=3")]  # as it is sorted
    write_table(folder.registry, pd.DataFrame(rows, columns=["site", "cohort"]))
    assert [(name, cohort.sites) for name, cohort in cohorts_of(folder).items()] == [
        ("sites=2", ("us", "asia")),
        ("sites=3", ("us", "europe", "asia")),
    ]


def test_the_one_cohort_of_an_experiment_that_sweeps_none_has_no_name(tmp_path):
    folder = Folder(tmp_path)
    write_json(folder.cohort(Cohort("", (), {})).heterogeneity, {"sites": {"us": {}}})
    write_table(folder.registry, pd.DataFrame({"site": ["us"], "cohort": [""]}))
    assert cohorts_of(folder) == {"": Cohort("", ("us",), {})}
