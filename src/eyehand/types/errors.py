"""The exception for mistakes in what a user gives."""


class InputError(Exception):
    """What the user gave cannot be used: one sentence naming the thing, the value and the way out.

    The command line prints the sentence and exits with code 2; every other exception is a bug.
    """
