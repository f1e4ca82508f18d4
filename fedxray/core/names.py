"""Names of code."""

NamesOnly = tuple[str, ...]
"""The type of a list of names of our classes that nothing runs for being listed: `experiment.code` passes over them."""
