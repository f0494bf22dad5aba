"""The Python side of Nullspace: getting models in (`export`), results out (`load`, `report`), and calls into
compiled libraries (`runtime`). Nothing here computes a step of synthesis, finetuning or evaluation."""

__version__ = "0.1.0"


class UserError(Exception):
    """A mistake of the user's: told on stderr without a stack trace, exit status 1."""
