"""Writing files whole or not at all."""

import contextlib
import os
import pathlib
import tempfile

from . import UserError


@contextlib.contextmanager
def replacing(path: str | os.PathLike):
    """Yields a path of the same name in a temporary folder beside `path`; on success that file replaces `path`, on failure
    nothing is left. (The same name, since a .pt2 archive records its own stem.)"""
    target = pathlib.Path(path)
    try:
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".nullspace-") as folder:
            draft = pathlib.Path(folder, target.name)
            yield draft
            with open(draft, "rb") as file:
                os.fsync(file.fileno())
            os.replace(draft, target)
    except OSError as error:
        raise UserError(f"{target}: cannot be written: {error.strerror or error}") from None
