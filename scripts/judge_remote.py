"""Judge whether the exported model may replace its predecessor, at hospitals of a federation of other machines.

Each hospital compares both models on its own test patients, and sends the numbers of the gate alone. They are judged
here, by the rules that were written before (gate.json).
"""

from fedxray.analysis.promotion import Promotion, add_options
from fedxray.core import cli
from fedxray.core.files import private_folder
from fedxray.federation.engine import Model
from fedxray.flare.options import add_registered, remote_of
from fedxray.training.exported import MODEL


def main(options):
    """Run one job, and write gate.csv."""
    promotion = Promotion(options)
    candidate = Model(promotion.folder.model / MODEL, promotion.settings)
    predecessor = Model(options.predecessor / MODEL, promotion.settings_before)
    rules = promotion.rules
    with private_folder(options.output.parent / "workspace") as scratch:
        measured = remote_of(options).compare(candidate, predecessor, rules.seed, rules.replicates, scratch)
    print(*promotion.write(options.output, measured), sep="\n")


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    add_registered(arguments)
    add_options(arguments)
    cli.run(main, arguments)
