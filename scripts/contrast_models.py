"""Contrast the models: each metric pooled over seeds, and the differences that each question asks for."""

from pathlib import Path

from fedxray.analysis import answer, bootstrap, external
from fedxray.analysis.comparison import summarise
from fedxray.analysis.contrasts import contrast
from fedxray.analysis.methods import table_of_methods
from fedxray.analysis.sentences import summary_text
from fedxray.core import cli
from fedxray.core.files import read_table, write_table


def main(options):
    """Write the summary, the differences and what they say of each method, and print it."""
    chosen = read_table(options.chosen, ("path", "threshold"))
    predictions = read_table(options.predictions, ("path", "set", "patient", "label", "probability"))
    inputs = chosen, predictions, options.replicates, options.confidence, options.seed
    summary = summarise(*inputs, options.external)
    contrasts = contrast(*inputs, options.margin, options.reference, options.external)
    write_table(options.summary, summary)
    write_table(options.differences, contrasts)
    methods = table_of_methods(chosen, predictions, summary, contrasts)
    write_table(options.methods, methods)
    print(summary_text(summary, contrasts, options.confidence))
    for of_hospital in answer.advices(methods):
        print(*filter(None, [of_hospital.cohort, *map(answer.plain, of_hospital.sentences)]))
    print(*answer.console(answer.answers(methods, options.margin, options.confidence)), sep="\n")


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("--chosen", type=Path, required=True, help="chosen.csv")
    arguments.add_argument("--predictions", type=Path, required=True, help="predictions.csv")
    bootstrap.add_options(arguments)
    external.add_option(arguments)
    arguments.add_argument("--margin", type=float, required=True, help="AUROC that may be lost, not inferior")
    arguments.add_argument("--reference", required=True, help="central, alone, or the name of a method")
    arguments.add_argument("--summary", type=Path, required=True, help="summary.csv, to write")
    arguments.add_argument("--differences", type=Path, required=True, help="differences.csv, to write")
    arguments.add_argument("--methods", type=Path, required=True, help="methods.csv, to write")
    cli.run(main, arguments)
