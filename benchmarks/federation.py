"""Rows of federations: against the bare loop, NVFlare's recipe and Flower's simulation; and with secure aggregation."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pandas as pd

from benchmarks.environment import flower
from benchmarks.inputs import BUILD, SITES, default_config, experiment, open_options, random_sites, scratch, settings
from benchmarks.measure import ROOT, NotTheSameWork, at_most, interleave, middle, python, ratio, run, told
from fedxray.core.files import sha256
from fedxray.core.parameters import load_model
from fedxray.data.site import load_site
from fedxray.experiment.method import method_of
from fedxray.experiment.settings import Settings
from fedxray.flare.kits import provision, render_project
from fedxray.training.models import restore
from fedxray.training.trainer import validate

ALTERNATIVES = {"bare loop": "plain", "NVFlare": "nvflare_job", "Flower": "flower_app"}


def federated(quick: bool) -> dict:
    """One run of three sites on each side, from the start of its command to its model."""
    rounds = 2 if quick else 10
    folder = experiment(quick)
    sites, chosen = folder / "sites", settings(folder / "sites" / "shared", rounds)
    with scratch() as work:
        ours = fedxray_command(sites, folder / "federation" / "kits.json", chosen, rounds, work / "fedxray")
        commands = {"fedxray": ours} | {
            side: alternative(side, sites, chosen, rounds, work / f"{module}.safetensors")
            for side, module in ALTERNATIVES.items()
        }
        sides = {side: lambda side=side: run(commands[side]) for side in commands}
        costs = interleave(sides, 1)
        if not quick:  # these two should be close, so they run twice; the others take minutes
            for side in ("bare loop", "fedxray"):
                costs[side].append(sides[side]())
        models = {side: work / f"{module}.safetensors" for side, module in ALTERNATIVES.items()}
        reached = {
            side: auroc(path, sites / "shared", chosen)
            for side, path in ({"fedxray": work / "fedxray" / "model.safetensors"} | models).items()
        }
    if max(reached.values()) - min(reached.values()) > 0.02:
        raise NotTheSameWork(f"validation AUROC of the sides: {reached}")
    seconds = {side: [cost.seconds for cost in values] for side, values in costs.items()}
    memory = {side: [cost.peak_mb for cost in values] for side, values in costs.items()}
    allowed = [1.1 * value + 15 for value in seconds["bare loop"]]
    checks = [at_most("wall time, of 1.1 times the bare loop's and 15 s", ratio(seconds["fedxray"], allowed, "s"), 1.0)]
    for side in ("NVFlare", "Flower"):
        checks.append(at_most(f"wall time, of {side}'s", ratio(seconds["fedxray"], seconds[side], "s"), 1.0))
        checks.append(at_most(f"peak memory, of {side}'s", ratio(memory["fedxray"], memory[side], "MB"), 1.0))
    return {
        "samples": {f"{side}, s": values for side, values in seconds.items()}
        | {f"{side}, MB": values for side, values in memory.items()},
        "checks": checks,
        "notes": {"rounds": rounds, "data": folder.name, "validation AUROC": reached},
    }


def fedxray_command(
    sites: Path,
    manifest: Path,
    chosen: dict,
    rounds: int,
    output: Path,
    names: Sequence[str] = SITES,
    secure: bool = False,
    precision: str = "float32",
) -> list:
    """The command of the rule's script, with one local epoch in each round; `secure`: with secure aggregation."""
    words = ["--kits", manifest, "--sites", *(sites / name / "card.json" for name in names)]
    words += ["--shared", sites / "shared" / "card.json"]
    words += ["--start-timeout-s", 120, "--round-timeout-s", 3600, "--absent", "fail", "--min-sites", 0]
    config = default_config()
    algorithm = config["algorithm"] | {"moments": "fresh", "precision": precision}  # as the alternatives
    method = method_of(algorithm, config["privacy"] | {"secure_aggregation": secure})
    words += [*open_options(chosen | {"epochs": rounds}), "--round", 1, "--steps", 0, "--budget", "passes"]
    words += [*method.options(), "--live", output / "live", "--output", output / "model.safetensors"]
    return python(ROOT / "scripts" / "train_federated.py", *words)


def alternative(side: str, sites: Path, chosen: dict, rounds: int, output: Path, *more: str) -> list:
    """The command of an alternative."""
    interpreter = {"interpreter": flower()} if side == "Flower" else {}
    words = ["--sites", *(sites / site for site in SITES), "--shared", sites / "shared"]
    words += ["--settings", json.dumps(chosen), "--rounds", rounds, "--output", output, *more]
    return python("-m", f"benchmarks.alternatives.{ALTERNATIVES[side]}", *words, **interpreter)


def auroc(path: Path, shared: Path, chosen: dict) -> float:
    """The validation AUROC of a model."""
    run_settings = Settings(**chosen)
    model = restore(run_settings, load_model(path))
    return round(validate(model, load_site(shared).part("validation"), run_settings.compute)["validation_auroc"], 5)


def kits(names: Sequence[str] = SITES) -> Path:
    """The kits.json of a federation of these sites. Kits of an earlier run or earlier code are brought up to date."""
    folder = BUILD / f"federation-{len(names)}-{names[0]}"
    render_project(ROOT / "config" / "project.yml", list(names), folder / "project.yml")
    provision(folder / "project.yml", folder)
    return folder / "kits.json"


def round_(quick: bool) -> dict:
    """A round beyond training: the compact model and the demo's, on so few images that training takes no time."""
    rounds = 4 if quick else 12
    samples, checks = {}, []
    for model, size, bound in (("compact", 32, 0.5), ("demo", 224, 1.5)):
        ours, half, stock, rest = _rounds(model, size, rounds)
        samples |= {f"{model}, fedxray, s a round": ours, f"{model}, NVFlare stock, s a round": stock}
        samples |= {f"{model}, fedxray in half precision, s a round": half, f"{model}, fedxray, s beside rounds": rest}
        checks.append(at_most(f"a round of the {model} model beyond training", middle(ours), bound, "s"))
        checks.append(told(f"a round of the {model} model in half precision, of that", ratio(half, ours, "s")))
        checks.append(told(f"NVFlare's stock round of the {model} model, in its simulator", middle(stock), "s"))
        checks.append(told(f"a round of the {model} model, of NVFlare's stock", ratio(ours, stock, "s")))
        checks.append(at_most(f"a run of the {model} model beside its rounds", middle(rest), 8.0, "s"))
    return {"samples": samples, "checks": checks, "notes": {"rounds": rounds}}


def secure(quick: bool) -> dict:
    """Secure aggregation, against the same run without: the compact model's whole run, and a round of the demo's.

    Both sides must end in the same model.
    """
    rounds, few, turns = (2, 4, 1) if quick else (5, 4, 2)
    folder = experiment(quick)
    sites, samples, checks = folder / "sites", {}, []
    with scratch() as work:
        chosen, manifest = settings(sites / "shared", rounds), folder / "federation" / "kits.json"
        costs = _masked_or_not(sites, manifest, chosen, rounds, work / "compact", turns)
        for what, field in (("wall time", "seconds"), ("CPU seconds", "cpu_s")):
            values = {side: [getattr(cost, field) for cost, _ in of] for side, of in costs.items()}
            samples |= {f"compact, {side}, {what}": seconds for side, seconds in values.items()}
            of = ratio(values["masked"], values["plain"], "s")
            checks.append(at_most(f"{what} of a run with secure aggregation, of one without", of, 1.05))
        random_sites(work / "demo" / "sites", 6, 224)
        chosen = settings(work / "demo" / "sites" / "shared", few, model="demo")
        costs = _masked_or_not(work / "demo" / "sites", kits(), chosen, few, work / "demo" / "run", 1)
        each = {side: [second for _, seconds in of for second in seconds] for side, of in costs.items()}
        samples |= {f"demo, {side}, s a round": values for side, values in each.items()}
        beyond = middle([masked - middle(each["plain"]).value for masked in each["masked"]])
        checks.append(at_most("a round of the demo model with secure aggregation beyond one without", beyond, 1.5, "s"))
    return {"samples": samples, "checks": checks, "notes": {"rounds": rounds, "data": folder.name}}


def _masked_or_not(sites: Path, manifest: Path, chosen: dict, rounds: int, output: Path, turns: int) -> dict:
    """{side: [(cost, seconds of each round after the first)]} of runs with secure aggregation and without, in turns."""

    def side(name: str):
        folder = output / name
        cost = run(fedxray_command(sites, manifest, chosen, rounds, folder, secure=name == "masked"))
        metrics = pd.read_csv(folder / "metrics.csv")
        return cost, metrics[metrics["series"] == "global"]["seconds"].tolist()[1:]

    costs = interleave({name: partial(side, name) for name in ("plain", "masked")}, turns)
    if len({sha256(output / name / "model.safetensors") for name in costs}) != 1:
        raise NotTheSameWork("with secure aggregation and without, the models differ")
    return costs


def _rounds(model: str, size: int, rounds: int) -> tuple[list[float], list[float], list[float], list[float]]:
    """Seconds of each of our rounds minus the slowest site's training, of those in half precision, and of NVFlare's.

    The first round of each is left out, because processes start in it. Last come the seconds that each of our runs took
    beside its rounds, from the start of its command.
    """
    with scratch() as folder:
        random_sites(folder / "sites", 6, size)
        chosen = settings(folder / "sites" / "shared", rounds, model=model)
        ours, rest = {}, []
        for precision in ("float32", "float16"):
            cost = run(
                fedxray_command(folder / "sites", kits(), chosen, rounds, folder / precision, precision=precision)
            )
            metrics = pd.read_csv(folder / precision / "metrics.csv")
            ours[precision] = beyond_training(metrics)[1:]
            rest.append(cost.seconds - metrics[metrics["series"] == "global"]["seconds"].sum())
        stock = alternative("NVFlare", folder / "sites", chosen, rounds, folder / "stock.safetensors", "--idle")
        output = run(stock).output
    line = next(line for line in output.splitlines() if line.startswith("seconds of rounds:"))
    return ours["float32"], ours["float16"], [float(word) for word in line.split(":")[1].split()][1:], rest


def beyond_training(metrics: pd.DataFrame) -> list[float]:
    """The seconds of each round (series `global`), minus those in which its slowest site trained and validated."""
    whole = metrics[metrics["series"] == "global"].set_index("epoch")["seconds"]
    sites = metrics[metrics["series"] != "global"].groupby("epoch")["seconds"].max()
    return (whole - sites).tolist()
