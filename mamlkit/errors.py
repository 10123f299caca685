"""The one error that mamlkit raises for bad input."""


class MamlkitError(ValueError):
    """Bad input, in plain words: what was given, what is needed, what to change."""


class MamlkitWarning(UserWarning):
    """Something about your data or model that you should know; the work goes on."""
