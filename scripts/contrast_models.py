"""Contrast the models: each metric pooled over seeds, and federated minus central and minus each site alone."""

from pathlib import Path

from fedxray.analysis.comparison import contrast, summarise, summary_text
from fedxray.core import cli
from fedxray.core.files import read_table, write_table


def main(options):
    """Write the summary and the differences, and print what they say."""
    points = read_table(options.points)
    predictions = read_table(options.predictions, ("path", "set", "patient", "label", "probability"))
    given = points[points["chosen"]], predictions, options.replicates, options.confidence, options.seed
    summary, contrasts = summarise(*given), contrast(*given, options.margin)
    write_table(options.summary, summary)
    write_table(options.differences, contrasts)
    print(summary_text(summary, contrasts, options.confidence))


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("--points", type=Path, required=True, help="points.csv")
    arguments.add_argument("--predictions", type=Path, required=True, help="predictions.csv")
    arguments.add_argument("--replicates", type=int, default=1000, help="of the bootstrap over patients")
    arguments.add_argument("--confidence", type=float, default=0.95, help="level of the intervals")
    arguments.add_argument("--seed", type=int, default=1, help="of the bootstrap")
    arguments.add_argument("--margin", type=float, default=0.02, help="AUROC that federated may lose, not inferior")
    arguments.add_argument("--summary", type=Path, required=True, help="summary.csv")
    arguments.add_argument("--differences", type=Path, required=True, help="differences.csv")
    cli.run(main, arguments)
