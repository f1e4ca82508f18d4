"""Ask the server and every site of a federation of other machines what data they hold: their data cards alone.

Their answers are the registry: from then on a site whose data differ from it refuses to train and to be evaluated.
"""

from pathlib import Path

from fedxray.core import cli
from fedxray.core.files import private_folder
from fedxray.data.registry import write_registry
from fedxray.flare.options import add_remote, remote_of


def main(options):
    """Run the job, and write one row per site, and one of the shared validation set."""
    with private_folder(options.output.parent / "workspace") as scratch:
        cards = remote_of(options).cards(scratch)
    write_registry(options.output, cards, options.image_size)
    for name, card in cards.items():
        print(name, ", ".join(f"{of['images']} {split} images" for split, of in card["splits"].items()), sep=": ")


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    add_remote(arguments)
    arguments.add_argument("--image-size", type=int, required=True, help="pixels of a side that the models take")
    arguments.add_argument("--output", type=Path, required=True, help="registry.csv")
    cli.run(main, arguments)
