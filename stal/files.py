"""Writing files so that a killed program leaves either the old file or the new one, never half of one."""

import contextlib
import json
import os

from stal.errors import InputError


@contextlib.contextmanager
def replacing(path, mode="w", **options):
    """Opens a file beside ``path`` for writing; renames it over ``path`` when the block ends without an error.

    Raises:
        InputError: the place cannot be written to.
    """
    path = os.fspath(path)
    beside = f"{path}.part.{os.getpid()}"
    if "b" not in mode:
        options.setdefault("encoding", "utf-8")
        options.setdefault("newline", "\n")
    try:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        stream = open(beside, mode, **options)
    except OSError as error:
        raise InputError(f"cannot write {path} ({error.strerror}): name another place") from None
    try:
        with stream:
            yield stream
        os.replace(beside, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.remove(beside)
        raise


def write_json(path, value):
    """Writes ``value`` as sorted, indented JSON, atomically."""
    with replacing(path) as stream:
        json.dump(value, stream, indent=2, sort_keys=True)
        stream.write("\n")
