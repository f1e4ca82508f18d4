"""The methods of federations in words, with the paper of each."""

from collections.abc import Mapping
from typing import Any

from fedxray.experiment.method import Method

ALGORITHMS = {
    "fedavg": "the mean of the hospitals' models, weighted by their images (McMahan et al. 2017)",
    "fedprox": "each hospital's model is drawn to the server's (Li et al. 2020)",
    "fedavgm": "momentum at the server (Hsu et al. 2019)",
    "fedadam": "Adam at the server (Reddi et al. 2021)",
    "fedyogi": "Yogi at the server (Reddi et al. 2021)",
    "scaffold": "each hospital's gradients are corrected by how they differ (Karimireddy et al. 2020)",
    "fednova": "updates are normalised by the hospitals' steps (Wang et al. 2020)",
    "fedbn": "each hospital keeps its own normalisation, and so has its own model (Li et al. 2021, FedBN)",
    "ditto": "each hospital also trains a model of its own, drawn to the server's (Li et al. 2021, Ditto)",
}
MEANS = {
    "median": "the median of each weight (Yin et al. 2018) in place of the mean",
    "trimmed": "a mean without the highest and lowest values of each weight (Yin et al. 2018)",
    "krum": "the model with the nearest neighbours (Blanchard et al. 2017) in place of the mean",
    "multikrum": "the mean of the models with the nearest neighbours (Blanchard et al. 2017)",
    "screened": "a mean without the models of the highest loss on the shared validation set (after Xie et al. 2019)",
}
MOMENTS = {
    "kept": "each hospital's optimizer goes on from round to round",
    "averaged": "the moments of the hospitals' optimizers are averaged as the models are",
}
PRIVATE = {
    "sites": "each hospital adds noise to its own steps, and the mean of their models is taken",
    "sum": "all hospitals take each step together, and the noise is in the sum of their gradients",
}


def described(method: Method, privacy: Mapping[str, Any]) -> str:
    """What a federated method does, in words; `privacy` is that of a run's record, empty without noise."""
    parts = [ALGORITHMS[method.name], MEANS.get(method.mean, ""), MOMENTS.get(method.moments, "")]
    if privacy:  # it allows no other algorithm and mean
        spent = f"epsilon at most {privacy['epsilon']:.3g} for each {privacy['unit']}"
        moments = MOMENTS.get(method.moments, "") if privacy["dp"] == "sites" else ""
        parts = [f"{PRIVATE[privacy['dp']]} (DP-SGD, Abadi et al. 2016): {spent}", moments]
    if method.finetune:
        parts.append(
            f"the last {method.finetune} epochs are trained by each hospital by itself, which so has its own model"
        )
        parts[-1] += ", the best of them by its own validation" * (method.finetune_stop == "validation")
    if method.precision == "float16":
        parts.append("the model's weights travel in half precision (float16)")
    if method.secure_aggregation:
        parts.append(
            "the server learns the sum of the hospitals' answers alone (secure aggregation, Bonawitz et al. 2017)"
        )
    return "; ".join(part for part in parts if part)


def scheduled(schedule: Mapping[str, Any]) -> str:
    """When the models of a federation are averaged, of the fields of a run's schedule."""
    if schedule.get("steps"):
        return f"{schedule['rounds']} rounds of {schedule['steps']} local steps"
    return f"{schedule['rounds']} rounds of {schedule['round']:.4g} local epoch{'s' * (schedule['round'] > 1)}"
