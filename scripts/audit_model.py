"""Attack what the federation sends and what the chosen models give away, and write what the attacks find.

Pictures are made of phantom images alone.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from fedxray.analysis import bootstrap
from fedxray.analysis.choice import MODEL_KEY, exported, without_coalitions
from fedxray.analysis.cohorts import cohorts_of
from fedxray.audit.findings import COLUMNS, EXAMPLE, of_canaries, of_members, of_search, of_step
from fedxray.audit.membership import by_canaries, confidences, membership
from fedxray.audit.power import memorise, phantoms
from fedxray.audit.retraining import audited, by_shadows, mechanism_of_record, shadows_of, with_canaries
from fedxray.core import cli
from fedxray.core.files import read_table, write_table
from fedxray.core.seeds import seed_of, stream
from fedxray.data.site import load_site
from fedxray.experiment.experiment import model_name
from fedxray.experiment.folder import Folder
from fedxray.report.figures import save
from fedxray.report.figures.inversion import inversion
from fedxray.training.models import restore
from fedxray.training.trainer import predict

BATCH, SHOWN, PIXELS = 4, (0, 2), 224  # images of a step, those of which pictures are made, and what the demo takes
AVERAGED, SMALL = 60, 64  # images, and pixels of a side, of a search by gradients
LEAST = 4  # canaries; of fewer nothing is guessed
DELTA = 1e-5  # of what canaries prove where no other is claimed


def main(options):
    """Write the table, draw the figure, and print the sentences."""
    folder, seed, confidence = Folder(options.results), options.seed, options.confidence
    chosen = without_coalitions(read_table(options.chosen, (*MODEL_KEY, "path")))
    settings, cohorts = folder.run(chosen["path"].iloc[0]).settings(), cohorts_of(folder)

    def measured(score, member, patients, *name):
        draw = stream(seed, "audit", "patients", *name)
        weights = bootstrap.patient_weights(patients, options.replicates, draw)
        return membership(score, member, weights, confidence)

    def guessed(score, included, claimed):
        guesses, delta = len(score) // 4 * 2, claimed.get("delta", DELTA)
        return by_canaries(score, included, guesses, delta, confidence)

    heart = memorise(settings, seed)
    each = np.arange(len(heart.included))
    loss = measured(heart.sure, heart.included, each, "power")
    ratio = measured(heart.sure - heart.shadows, heart.included, each, "power")
    proved = guessed(heart.sure, heart.included, {})
    name = "phantom images learnt by heart"
    rows = of_members("membership by loss", name, loss, loss)
    rows += of_members("membership by LiRA", name, ratio, ratio)
    rows.append(of_canaries(name, proved, confidence, {}, proved))
    for name, path, cohort, site in _models(chosen, cohorts):
        of_run = _confidences(folder, path, cohort, [site] if site else cohort.sites)
        rows += of_members("membership by loss", name, measured(*of_run, path), loss)
    for number, (name, path, cohort, site) in enumerate(_retrained(folder, chosen, cohorts)):
        print(f"training as {name} was trained")
        data = {each: load_site(folder.site(cohort, each)) for each in cohort.sites}
        target = audited(folder.run(path), data, site, folder.initial)
        if number == 0:
            found = by_shadows(target, shadows_of(target, seed))
            rows += of_members("membership by LiRA", name, measured(*found, path, "shadows"), ratio)
        found = with_canaries(target, seed_of(seed, path))
        if len(found.score) >= LEAST:
            bound = guessed(found.score, found.member, target.privacy)
            rows.append(of_canaries(name, bound, confidence, target.privacy, proved))
    images, labels = phantoms(BATCH, PIXELS, seed)
    pictures, noise, power = [], _noise(folder, chosen), {}
    for model in ("demo", "compact"):
        for count in (1, BATCH):
            shown = SHOWN if model == "demo" and count == BATCH else ()
            part = images[:count], labels[:count]
            found, made = of_step(model, settings, seed, *part, noise, shown, power.get(count))
            power[count] = found[0]["power"]
            rows, pictures = rows + found, pictures + made
    like = np.mean([np.corrcoef(shown["in clear"].ravel(), shown["true"].ravel())[0, 1] for shown in pictures])
    rows += of_search("compact", settings, seed, *phantoms(AVERAGED, SMALL, seed), float(like))
    table = pd.DataFrame(rows, columns=COLUMNS)
    write_table(options.output, table)
    save(inversion(pictures), folder.figure("inversion"), "Synthetic phantom data")
    for row in table.itertuples():
        print(f"{row.attack}, {row.target}: {row.sentence}")


def _models(chosen, cohorts):
    """(name, path, cohort, site) of each chosen model, of the first seed; the site is empty if it is that of all."""
    return [_about(models.iloc[0], cohorts) for _, models in chosen.groupby(MODEL_KEY, sort=False)]


def _retrained(folder, chosen, cohorts):
    """The same of the models that are attacked by training again: first the exported one, then the private ones."""
    published = exported(chosen)
    others = [
        _about(models.iloc[0], cohorts)
        for key, models in chosen.groupby(MODEL_KEY, sort=False)
        if models["mode"].iloc[0] == "federated"
        and key != tuple(published[MODEL_KEY])
        and folder.run(models["path"].iloc[0]).read_record().get("privacy")
    ]
    return [_about(published, cohorts), *others]


def _about(row, cohorts):
    cohort, site = cohorts[row["cohort"]], row["site"]
    name = ", ".join(filter(None, [model_name(row["mode"], row["method"], site), row["cohort"]]))
    return name, row["path"], cohort, site if site in cohort.sites else ""


def _noise(folder, chosen):
    """The noise of the first chosen federation that has some; else an example's."""
    for path in chosen["path"][chosen["mode"] == "federated"]:
        record = folder.run(path).read_record()
        if about := record.get("privacy"):
            return mechanism_of_record(about, about["patients"], record["train_images"], len(record["sites"]))
    return EXAMPLE


def _confidences(folder, path, cohort, sites):
    """(how sure a run's model is of each image, whether it was trained on it, whose it is) of these sites' images."""
    run = folder.run(path)
    settings = run.settings()
    model, parts = restore(settings, run.parameters()), []
    for name in sites:
        site = load_site(folder.site(cohort, name))
        for split, member in (("train", 1), ("test", 0)):
            images, labels = site.part(split)
            sure = confidences(labels, predict(model, images, settings.compute))
            parts.append((sure, np.full(len(sure), member), site.patients(split)))
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("--chosen", type=Path, required=True, help="chosen.csv")
    arguments.add_argument("--results", type=Path, required=True, help="folder of the experiment: gets figures/")
    bootstrap.add_options(arguments)
    arguments.add_argument("--output", type=Path, required=True, help="audit.csv, to write")
    cli.run(main, arguments)
