"""The one exception for wrong input, and how a command-line program ends on it."""

import sys


class InputError(ValueError):
    """Wrong input. Its text is one sentence for the user that names the file and the fix."""


def run(main):
    """Runs a program's ``main()`` and exits: 0, or 1 with the sentence of an :class:`InputError` on stderr."""
    try:
        sys.exit(main() or 0)
    except InputError as error:
        sys.exit(f"error: {error}")
    except BrokenPipeError:  # the reader of our output (head, less) has left
        sys.stderr.close()
        sys.exit(1)
