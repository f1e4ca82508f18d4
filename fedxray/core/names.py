"""Names of code."""

NamesOnly = tuple[str, ...]
"""A list of names of our modules and classes which does not run them: `experiment.code` does not follow such names."""
