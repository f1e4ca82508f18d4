"""Catalogue the images of a source: one row per image, with its patient, and an account of every file."""

from pathlib import Path

from fedxray.core import cli
from fedxray.core.files import write_json, write_table, write_text
from fedxray.data import account, reading
from fedxray.data.catalogue import build_catalogue


def main(options):
    """Write the catalogue, its summary, and the account as a table and a page."""
    how = reading.from_options(options)
    salt = options.salt or options.output.with_name("salt")
    table, files, summary = build_catalogue(options.source, how, options.processes, salt)
    write_json(options.summary, summary)
    write_table(options.account or options.output.with_name("account.csv"), files)
    page = account.page(f"Account of {options.title or options.source}", files, summary)
    write_text(options.page or options.output.with_name("account.html"), page)
    write_table(options.output, table)
    print(*account.lines(summary), sep="\n")


if __name__ == "__main__":
    arguments = cli.parser(__doc__)
    arguments.add_argument("--source", type=Path, required=True, help="zip, directory or manifest.csv")
    arguments.add_argument("--title", default="", help="what the images are, for the page")
    reading.add_options(arguments)
    arguments.add_argument("--salt", type=Path, help="the secret that hides patients of DICOMs; by default beside, too")
    arguments.add_argument("--processes", type=int, default=1)
    arguments.add_argument("--output", type=Path, required=True, help="catalogue.csv")
    arguments.add_argument("--summary", type=Path, required=True, help="catalogue.json: counts and checksum")
    arguments.add_argument("--account", type=Path, help="account.csv; by default beside the catalogue")
    arguments.add_argument("--page", type=Path, help="account.html; by default beside the catalogue")
    cli.run(main, arguments)
