"""Download a data set of Kaggle as one zip; no credentials are needed for a public one."""

from pathlib import Path

from fedxray.core import cli
from fedxray.data.download import fetch_archive


def main(options):
    """Write the zip, and beside it a record with version and checksum."""
    fetch_archive(options.dataset, options.output, options.retries, options.wait_s, options.stalled_s)


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("--dataset", required=True, help="owner/name, as in its address at kaggle.com")
    arguments.add_argument("--retries", type=int, default=4, help="attempts")
    arguments.add_argument("--wait-s", type=float, default=5.0, help="between attempts")
    arguments.add_argument("--stalled-s", type=float, default=60.0, help="without a byte, until an attempt ends")
    arguments.add_argument("--output", type=Path, required=True, help="zip to write")
    cli.run(main, arguments)
