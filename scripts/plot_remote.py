"""Plot the results of a federation of other machines: how the models learned, and how good each is at each hospital."""

from pathlib import Path

from fedxray.analysis.at_sites import means_at_sites
from fedxray.analysis.choice import MODEL_KEY, federated_curves, global_curves, leading, of_models
from fedxray.core import cli
from fedxray.core.files import read_table
from fedxray.data.registry import note_of, own_validation
from fedxray.experiment.folder import Folder
from fedxray.report.figures import results, save, sweep


def main(options):
    """Draw the figures that are asked for."""
    folder = Folder(options.results)
    points, chosen = read_table(folder.points), leading(read_table(folder.chosen))
    at_sites = of_models(read_table(folder.at_sites), chosen, MODEL_KEY)
    apart, alone = own_validation(folder.registry), "each hospital alone"
    if apart:
        alone += f" ({', '.join(apart)}: validated on own images)"
    figures = {
        "learning_curves": lambda: results.learning_curves(global_curves(chosen, folder), alone),
        "cross_site": lambda: results.cross_site(means_at_sites(at_sites)),
        "communication": lambda: sweep.communication(federated_curves(points, folder)),
        "sweep": lambda: sweep.sweep_map(points, apart),
    }
    note = note_of(folder.registry)
    for name in options.figures:
        save(figures[name](), folder.figure(name), note)


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("--figures", nargs="+", required=True, help="learning_curves, cross_site, ...")
    arguments.add_argument(
        "--results",
        type=Path,
        required=True,
        help="folder of the experiment: has points, chosen, at_sites.csv, registry and runs/, gets figures/",
    )
    cli.run(main, arguments)
