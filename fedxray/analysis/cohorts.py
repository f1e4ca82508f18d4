"""The cohorts of an experiment as its data tell, for steps that a change of the sweep or of training must not rerun."""

from fedxray.core.files import read_json, read_table
from fedxray.experiment.cohorts import Cohort
from fedxray.experiment.folder import Folder


def cohorts_of(folder: Folder) -> dict[str, Cohort]:
    """The cohorts that the registry of sites names, by name: their sites in the order of the configuration, no `split`.

    The registry is sorted by site; the order is that of the file that says how unlike the sites are.
    """
    cohorts = {}
    for name in dict.fromkeys(read_table(folder.registry, ("cohort",))["cohort"]):
        unlike = read_json(folder.cohort(Cohort(name, (), {})).heterogeneity)
        cohorts[name] = Cohort(name, tuple(unlike["sites"]), {})
    return cohorts
