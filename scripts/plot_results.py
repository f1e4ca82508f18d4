"""Plot the results: how the chosen models learned and how good they are, and what the sweep says."""

from pathlib import Path

from fedxray.analysis import bootstrap, external
from fedxray.analysis.choice import MODEL_KEY, federated_curves, global_curves, leading, of_models
from fedxray.analysis.cohorts import cohorts_of
from fedxray.analysis.external import apart
from fedxray.core import cli
from fedxray.core.files import read_json, read_table
from fedxray.data.registry import note_of
from fedxray.data.site import SiteFolder
from fedxray.experiment.folder import Folder
from fedxray.report.figures import answer, methods, privacy, results, save, sweep, updates


def main(options):
    """Draw the figures that are asked for; most show of several methods the one that validation chose."""
    folder = Folder(options.results)
    points, chosen = read_table(folder.points), leading(read_table(folder.chosen))
    predictions, _ = apart(read_table(folder.predictions), options.external)
    summary = of_models(read_table(folder.summary), chosen, MODEL_KEY)
    contrasts, _ = apart(read_table(folder.differences), options.external)
    contrasts = of_models(contrasts[contrasts["question"] != "methods"], chosen, MODEL_KEY[:3])
    with_external, (summary, _) = summary, apart(summary, options.external)
    draw = options.replicates, options.confidence, options.seed
    figures = {
        "answer": lambda: answer.answer(read_table(folder.methods), options.margin),
        "method_gain": lambda: methods.method_gain(read_table(folder.methods), options.margin),
        "updates": lambda: updates.updates(read_table(folder.updates)),
        "contributions": lambda: methods.contributions(read_table(folder.contributions)),
        "learning_curves": lambda: results.learning_curves(global_curves(chosen, folder)),
        "roc": lambda: results.roc_curves(chosen, predictions, summary, *draw),
        "metrics": lambda: results.metric_intervals(summary),
        "gain": lambda: results.gain(summary),
        "differences": lambda: results.differences(contrasts, options.margin),
        "external": lambda: results.external(with_external, options.external),
        "cross_site": lambda: results.cross_site(summary),
        "calibration": lambda: results.calibration(chosen, predictions),
        "utility": lambda: privacy.utility(read_table(folder.summary), levels(folder)),
        "sweep": lambda: sweep.sweep_map(points),
        "communication": lambda: sweep.communication(federated_curves(points, folder)),
        "cohorts": lambda: sweep.cohorts(summary, heterogeneity(folder)),
    }
    cards = [read_json(SiteFolder(folder.external(name).site).card) for name in options.external]
    for name in options.figures:
        note = note_of(folder.registry, cards if name == "external" else ())
        save(figures[name](), folder.figure(name), note)


def levels(folder):
    """{model: (where the noise is, epsilon)} of the chosen models that are private."""
    chosen, found = read_table(folder.chosen), {}
    for row in chosen.to_dict("records"):
        private = folder.run(row["path"]).read_record().get("privacy")
        if private:
            found[tuple(row[name] for name in MODEL_KEY)] = (private["dp"], private["epsilon"])
    return found


def heterogeneity(folder):
    """How unlike the sites of each cohort are, by the cohort's name."""
    return {name: read_json(folder.cohort(cohort).heterogeneity) for name, cohort in cohorts_of(folder).items()}


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("--figures", nargs="+", required=True, help="learning_curves, roc, metrics, ...")
    arguments.add_argument(
        "--results",
        type=Path,
        required=True,
        help="folder of the experiment: has the tables, runs/ and cohort/, gets figures/",
    )
    bootstrap.add_options(arguments)
    external.add_option(arguments)
    arguments.add_argument("--margin", type=float, required=True, help="of non-inferiority")
    cli.run(main, arguments)
