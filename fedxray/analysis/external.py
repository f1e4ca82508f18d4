"""Which rows of a table are of hospitals, and which of external tests: sets of images on which no hospital trained."""

from argparse import ArgumentParser
from collections.abc import Collection

import pandas as pd


def add_option(parser: ArgumentParser) -> None:
    """Let a script take the names of the external tests on its command line."""
    parser.add_argument("--external", nargs="*", default=[], help="test sets on which no hospital trained")


def apart(table: pd.DataFrame, external: Collection[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(the rows of hospitals' sets, those of the sets named in `external`), by the column `set` or `test_set`."""
    outside = table["set" if "set" in table else "test_set"].isin(external)
    return table[~outside], table[outside]
