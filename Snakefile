# Federated, central and alone: training for pneumonia in chest X-rays, compared.
# Read from the top: the configuration, one file of rules for each stage, and the one target.

from snakemake.utils import min_version

min_version("9.0")


include: "rules/common.smk"  # reads config/config.yaml below the user's configuration, and checks it


report: "report/workflow.rst"


container: "container/fedxray.sif"  # used by --sdm apptainer alone; docs/hpc.md says how to make it


include: "rules/config.smk"


if INITIAL:

    include: "rules/start.smk"


include: "rules/gate.smk"


if HERE:

    # Server and sites are processes of this machine, and all their data are made here.
    include: "rules/data.smk"
    include: "rules/external.smk"
    include: "rules/federation.smk"
    include: "rules/training.smk"
    include: "rules/analysis.smk"

else:

    # The data stay at the sites, and so does training.
    include: "rules/remote.smk"


include: "rules/report.smk"
include: "rules/progress.smk"


CODE.remember()


rule all:
    default_target: True
    input:
        registry=AT.registry,
        records=RECORDS,
        table=AT.comparison if HERE else AT.at_sites,
        figures=EVERY_FIGURE,
        tensorboard=AT.tensorboard,
        model=EXPORTED,
        gate=[AT.gate] * GATED,
        page=AT.page("index"),
    localrule: True
