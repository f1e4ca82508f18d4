"""Download a data set from Kaggle as one zip. A public one needs no credentials.

A competition's data need an account that has accepted the competition's rules, and a token of it, such as in
~/.kaggle/access_token.
"""

from pathlib import Path

from fedxray.core import cli
from fedxray.data.download import fetch_archive


def main(options):
    """Write the zip, and beside it a record with version and checksum."""
    fetch_archive(options.dataset, options.output, options.retries, options.wait_s, options.stalled_s)


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument(
        "--dataset", required=True, help="owner/name, or a competition's name, as in its address at kaggle.com"
    )
    arguments.add_argument("--retries", type=int, default=4, help="number of attempts")
    arguments.add_argument("--wait-s", type=float, default=5.0, help="seconds between attempts")
    arguments.add_argument("--stalled-s", type=float, default=60.0, help="seconds without a byte that end an attempt")
    arguments.add_argument("--output", type=Path, required=True, help="zip to write")
    cli.run(main, arguments)
