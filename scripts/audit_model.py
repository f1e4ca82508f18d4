"""Attack what the federation sends and what the chosen models give away, and write what the attacks find.

Pictures are made of phantom images alone.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from fedxray.analysis import bootstrap
from fedxray.analysis.choice import MODEL_KEY, without_coalitions
from fedxray.analysis.cohorts import cohorts_of
from fedxray.audit.findings import COLUMNS, EXAMPLE, of_canaries, of_members, of_step
from fedxray.audit.membership import by_canaries, by_loss, losses
from fedxray.audit.power import CANARIES, memorise, phantoms
from fedxray.core import cli
from fedxray.core.files import read_table, write_table
from fedxray.core.seeds import stream
from fedxray.data.site import load_site
from fedxray.experiment.experiment import model_name
from fedxray.experiment.folder import Folder
from fedxray.report.figures import save
from fedxray.report.figures.inversion import inversion
from fedxray.training.models import restore
from fedxray.training.private import Mechanism
from fedxray.training.trainer import predict

BATCH, SHOWN, PIXELS = 4, (0, 2), 224  # images of a step, those of which pictures are made, and what the demo takes


def main(options):
    """Write the table, draw the figure, and print the sentences."""
    folder, seed, confidence = Folder(options.results), options.seed, options.confidence
    chosen = without_coalitions(read_table(options.chosen, (*MODEL_KEY, "path")))
    settings = folder.run(chosen["path"].iloc[0]).settings()

    def attack(loss, member, patients, name):
        draw = stream(seed, "audit", "patients", name)
        return by_loss(loss, member, bootstrap.patient_weights(patients, options.replicates, draw), confidence)

    loss, included = memorise(settings, seed)
    power = attack(loss, included, np.arange(CANARIES), "power")
    rows = of_members("phantom images learnt by heart", power, None)
    rows.append(of_canaries("phantom images learnt by heart", _canaries(loss, included, confidence), confidence))
    cohorts = cohorts_of(folder)
    for (cohort, mode, method, site), models in chosen.groupby(MODEL_KEY, sort=False):
        path, sites = models["path"].iloc[0], cohorts[cohort].sites  # of the first seed
        of_run = _losses(folder, path, cohorts[cohort], [site] if site in sites else sites)
        name = ", ".join(filter(None, [model_name(mode, method, site), cohort]))
        rows += of_members(name, attack(*of_run, path), power)
    images, labels = phantoms(BATCH, PIXELS, seed)
    pictures, noise = [], _noise(folder, chosen)
    for model in ("demo", "compact"):
        for count in (1, BATCH):
            shown = SHOWN if model == "demo" and count == BATCH else ()
            found, made = of_step(model, settings, seed, images[:count], labels[:count], noise, shown)
            rows, pictures = rows + found, pictures + made
    table = pd.DataFrame(rows, columns=COLUMNS)
    write_table(options.output, table)
    save(inversion(pictures), folder.figure("inversion"), "Synthetic phantom data")
    for row in table.itertuples():
        print(f"{row.attack}, {row.target}: {row.sentence}")


def _canaries(loss, included, confidence):
    return by_canaries(-loss, included, CANARIES // 2, 0.0, confidence)


def _noise(folder, chosen):
    """The noise of the first chosen federation that has some; else an example's."""
    for path in chosen["path"][chosen["mode"] == "federated"]:
        record = folder.run(path).read_record()
        if about := record.get("privacy"):
            return Mechanism.recorded(about, about["patients"], record["train_images"], len(record["sites"]))
    return EXAMPLE


def _losses(folder, path, cohort, sites):
    """(losses, 1 for a training image and 0 for a test image, patients) of a run on the images of these sites."""
    run = folder.run(path)
    settings = run.settings()
    model, parts = restore(settings, run.parameters()), []
    for name in sites:
        site = load_site(folder.site(cohort, name))
        for split, member in (("train", 1), ("test", 0)):
            images, labels = site.part(split)
            loss = losses(labels, predict(model, images, settings.compute))
            parts.append((loss, np.full(len(loss), member), site.patients(split)))
    return (np.concatenate(column) for column in zip(*parts, strict=True))


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("--chosen", type=Path, required=True, help="chosen.csv")
    arguments.add_argument("--results", type=Path, required=True, help="folder of the experiment: gets figures/")
    bootstrap.add_options(arguments)
    arguments.add_argument("--output", type=Path, required=True, help="audit.csv, to write")
    cli.run(main, arguments)
