"""The one error that a user is meant to read."""


class UserError(Exception):
    """Something the user can fix: the message names the file or key, what is wrong, and what to do.

    Scripts print it as one line and exit with 1 (`fedxray.core.cli`); everything else is a bug and keeps its traceback.
    """
