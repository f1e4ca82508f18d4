"""Write every run's curves and hyper-parameters as TensorBoard events, and what the experiment came to."""

import json
import shutil
from pathlib import Path

from fedxray.analysis import answer
from fedxray.core import cli
from fedxray.core.files import read_json, read_table
from fedxray.data.site import load_site
from fedxray.experiment.experiment import Experiment
from fedxray.experiment.folder import Folder
from fedxray.report.tensorboard import export_answer, export_precision_recall, export_runs, montage
from fedxray.training.trainer import Trainer

FIGURES = ("mistakes", "calibration", "gallery")


def main(options):
    """Replace the log directory."""
    experiment, folder = Experiment.read(options.experiment), Folder(options.results)
    runs = list({run.path: run for run in (*experiment.jobs, *experiment.runs)}.values())
    private = experiment.levels != {""}
    settings = [_settings(run, private) for run in runs]
    shutil.rmtree(options.output, ignore_errors=True)
    export_runs([folder.run(run.path) for run in runs], [run.path for run in runs], options.output, settings)
    config = read_json(folder.config)
    texts = {"configuration": f"```\n{json.dumps(config, indent=2)}\n```"}
    pictures = {}
    if options.analysed:
        evaluation = config["evaluation"]
        found = answer.answers(read_table(folder.methods), evaluation["margin"], evaluation["confidence"])
        texts = {"answer": "\n\n".join(answer.console(found)), **texts}
        pictures["a batch as the network sees it"] = montage(_first_batch(experiment, folder))
        for name in FIGURES:
            pictures[name] = dict(folder.figure(name))["png"].read_bytes()
        made = read_table(folder.predictions)
        for path, rows in made[made["set"] == made["hospital"]].groupby("path"):  # neither validation nor external
            export_precision_recall(rows["label"].to_numpy(), rows["probability"].to_numpy(), options.output / path)
    export_answer(texts, pictures, options.output)


def _first_batch(experiment, folder):
    """The first batch of the first federated run at its first site, as the network sees it: float (n, size, size)."""
    run = next(run for run in experiment.jobs if run.model.mode == "federated")
    site = load_site(folder.site(run.model.cohort, run.model.cohort.sites[0]))
    trainer = Trainer(experiment.settings(run), site.part("train"), site.part("validation"))
    return trainer.first_batch()[:, 0].cpu().numpy()


def _settings(run, private):
    """What tells a run from others, beside its record's values; `private`: some runs have differential privacy."""
    federated = run.trained_as in ("federated", "coalition")
    values = run.point | ({"method": run.method.slug} | run.method.numbers if federated else {})
    if private:
        noisy = run.privacy.dp != "none"
        values |= {"dp": run.privacy.dp, "epsilon": run.privacy.epsilon if noisy else "none"}
    return values | ({"cohort": run.model.cohort.name} if run.model.cohort.name else {})


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("--experiment", type=Path, required=True, help="experiment.json: which runs there are")
    arguments.add_argument("--results", type=Path, required=True, help="folder of the experiment, which has its runs")
    arguments.add_argument("--analysed", action="store_true", help="there are predictions, conclusions and figures")
    arguments.add_argument("--output", type=Path, required=True, help="TensorBoard log directory")
    cli.run(main, arguments)
