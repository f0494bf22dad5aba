"""Writing files whole or not at all."""

import contextlib
import os
import pathlib
import tempfile

from . import UserError


@contextlib.contextmanager
def replacing(path: str | os.PathLike):
    """Yields a path of the same name in a temporary folder beside `path`; on success that file replaces `path`, on failure
    nothing is left. (The same name, since a .pt2 archive records its own stem.) A link stays one; a device or a pipe is
    written in place."""
    target = pathlib.Path(path)
    real = target.resolve()
    in_place = real.exists() and not real.is_file() and not real.is_dir()
    try:
        with tempfile.TemporaryDirectory(dir=None if in_place else real.parent, prefix=".nullspace-") as folder:
            draft = pathlib.Path(folder, target.name)
            yield draft
            with open(draft, "rb") as file:
                os.fsync(file.fileno())
            if in_place:
                real.write_bytes(draft.read_bytes())
            else:
                os.replace(draft, real)
    except OSError as error:
        raise UserError(f"{target}: cannot be written: {error.strerror or error}") from None
