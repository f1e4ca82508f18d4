"""Judge whether the exported model may replace its predecessor, by the rules that were written before (gate.json).

The predecessor predicts each hospital's test images here; the exported model's predictions are those of its run.
"""

from fedxray.analysis.cohorts import cohorts_of
from fedxray.analysis.gate import Scored, measure
from fedxray.analysis.promotion import Promotion, add_options
from fedxray.core import cli
from fedxray.core.errors import UserError
from fedxray.core.files import read_table
from fedxray.data.site import load_site
from fedxray.training.trainer import predict


def main(options):
    """Write gate.csv."""
    promotion = Promotion(options)
    folder, run, rules = promotion.folder, promotion.run, promotion.rules
    predictions = read_table(folder.predictions)
    predictions = predictions[predictions["path"] == run["path"]]
    cohort, measured = cohorts_of(folder)[run["cohort"]], {}
    for site in rules.hospitals:
        data, rows = load_site(folder.site(cohort, site)), predictions[predictions["set"] == site]
        if list(rows["image"]) != list(data.table["image"][data.table["split"] == "test"]):
            raise UserError(f"{folder.predictions}: not of the test images of {site}; run the workflow again")
        before = predict(promotion.network, data.part("test")[0], promotion.settings.compute)
        tested = Scored.of_site(data, rows["probability"].to_numpy(float), before)
        measured[site] = measure(site, tested, rules.seed, rules.replicates)
    print(*promotion.write(options.output, measured), sep="\n")


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    add_options(arguments)
    cli.run(main, arguments)
