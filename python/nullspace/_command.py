"""What the commands of this package share."""

import contextlib
import sys

from . import UserError


@contextlib.contextmanager
def user_errors(program: str):
    """A UserError in the block ends the program: told on stderr, exit status 1."""
    try:
        yield
    except UserError as error:
        print(f"{program}: error: {error}", file=sys.stderr)
        sys.exit(1)
