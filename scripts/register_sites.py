"""Ask the server and every site of a remote federation for the data cards of what they hold, and write the registry.

From then on a site whose data differ from the registry refuses to train and to evaluate.
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
    write_registry(options.output, cards, options.image_size, options.fit, options.waves)
    for name, card in cards.items():
        print(name, ", ".join(f"{of['images']} {split} images" for split, of in card["splits"].items()), sep=": ")


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    add_remote(arguments)
    arguments.add_argument("--image-size", type=int, required=True, help="pixels of a side of the models' images")
    arguments.add_argument("--fit", choices=["stretch", "pad"], required=True, help="how images became squares")
    arguments.add_argument("--waves", type=int, default=1, help="how many waves of patients a site's data may have")
    arguments.add_argument("--output", type=Path, required=True, help="registry.csv")
    cli.run(main, arguments)
