"""Make the startup kits of server, sites and admin. Kits that exist already stay as they are."""

from pathlib import Path

from fedxray.core import cli
from fedxray.flare.kits import provision


def main(options):
    """Make them in the folder of `options.output`."""
    provision(options.project, options.output.parent)


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("--project", type=Path, required=True, help="NVFlare project file")
    arguments.add_argument("--output", type=Path, required=True, help="kits.json; kits/ and state/ lie beside it")
    cli.run(main, arguments)
