"""Write a configuration, or a part of one, into a file that other scripts read."""

import json
from pathlib import Path

from fedxray.core import cli
from fedxray.core.files import write_json


def main(options):
    """Write the file."""
    write_json(options.output, json.loads(options.config))


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("--config", required=True, help="the configuration as JSON")
    arguments.add_argument("--output", type=Path, required=True, help="config.json or experiment.json")
    cli.run(main, arguments)
