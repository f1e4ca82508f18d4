"""Plot what a federation of other machines has told: how the models learned, and how good each is at each hospital."""

from pathlib import Path

from fedxray.analysis.choice import federated_curves, global_curves
from fedxray.analysis.comparison import means_at_sites
from fedxray.core import cli
from fedxray.core.files import read_table
from fedxray.data.registry import note_of, own_validation
from fedxray.report.figures import results, save, sweep


def main(options):
    """Draw the figures that are asked for."""
    points, cross_site = read_table(options.points), read_table(options.cross_site)
    chosen, alone = points[points["chosen"]], "each hospital alone"
    own = own_validation(options.registry)
    if own:
        alone += f" ({', '.join(own)}: validated on own images)"
    figures = {
        "learning_curves": lambda: results.learning_curves(global_curves(chosen, options.runs), alone),
        "cross_site": lambda: results.cross_site(means_at_sites(cross_site)),
        "communication": lambda: sweep.communication(federated_curves(points, options.runs)),
        "sweep": lambda: sweep.sweep_map(points, own),
    }
    note = note_of(options.registry)
    for name in options.figures:
        save(figures[name](), options.output, name, note)


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("--figures", nargs="+", required=True, help="learning_curves, cross_site, ...")
    arguments.add_argument("--registry", type=Path, required=True, help="registry.csv")
    arguments.add_argument("--points", type=Path, required=True, help="points.csv")
    arguments.add_argument("--cross-site", type=Path, required=True, help="cross_site.csv")
    arguments.add_argument("--runs", type=Path, required=True, help="the folder of all runs")
    arguments.add_argument("--output", type=Path, required=True, help="folder of the figures")
    cli.run(main, arguments)
