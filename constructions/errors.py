"""The one exception a user can cause."""


class InputError(ValueError):
    """Bad input: the message is one sentence that names the offending value and the limit.

    The commands print it and exit with code 2; library callers may catch it as a ValueError.
    """
