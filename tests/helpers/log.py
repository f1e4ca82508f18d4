"""Collects what the library logs, for tests of it."""

import contextlib
import logging


class Lines(list):
    """The messages that were logged, in order; the `warnings` are apart."""

    def __init__(self):
        super().__init__()
        self.warnings = []


@contextlib.contextmanager
def heard():
    """Collect what the library logs while the context lasts, whether or not a command has set logging up."""
    lines, library = Lines(), logging.getLogger("fedxray")

    class Handler(logging.Handler):
        def emit(self, record):
            (lines.warnings if record.levelno >= logging.WARNING else lines).append(record.getMessage())

    handler, level = Handler(), library.level
    library.addHandler(handler)
    library.setLevel(logging.INFO)
    try:
        yield lines
    finally:
        library.removeHandler(handler)
        library.setLevel(level)
