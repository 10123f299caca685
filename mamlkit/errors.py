"""The one error that mamlkit raises for bad input."""


class MamlkitError(ValueError):
    """Bad input, in plain words: what was given, what is needed, what to change."""
