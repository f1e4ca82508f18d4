# Federated against central and local training for pneumonia in chest X-rays.
# Read from the top: the configuration, one file of rules for each stage, and the one target.

from snakemake.utils import min_version

min_version("9.0")


configfile: "config/config.yaml"


include: "rules/common.smk"  # checks the configuration against config/schema.yaml first


report: "report/workflow.rst"


container: "container/fedxray.sif"  # used by --sdm apptainer alone; docs/hpc.md says how to make it


include: "rules/analysis.smk"
include: "rules/failures.smk"


if config["federation"]["where"] == "here":

    include: "rules/data.smk"
    include: "rules/federation.smk"
    include: "rules/training.smk"

    rule all:
        default_target: True
        input:
            registry=f"{OUT}/sites/registry.csv",
            comparison=f"{OUT}/comparison.csv",
            figures=expand(
                f"{OUT}/figures/{{figure}}.{{format}}",
                figure=FIGURES,
                format=["svg", "png"],
            ),
            tensorboard=f"{OUT}/tensorboard",
            model=f"{OUT}/model/model.safetensors",
            pages=expand(f"{OUT}/report/{{page}}.html", page=PAGES),
        localrule: True

else:  # the data stay at the sites, and so does training

    include: "rules/remote.smk"

    rule all:
        default_target: True
        input:
            registry=REGISTRY,
            points=f"{OUT}/points.csv",
            metrics=f"{OUT}/cross_site.csv",
            figures=expand(
                f"{OUT}/figures/{{figure}}.{{format}}",
                figure=REMOTE_FIGURES,
                format=["svg", "png"],
            ),
            tensorboard=f"{OUT}/tensorboard",
            model=f"{OUT}/model/model.safetensors",
        localrule: True
