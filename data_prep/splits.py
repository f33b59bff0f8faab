"""Which persons are trained on and which are tested: published files, or seeded halves."""

import json
import re
import zlib

import numpy as np
import scipy.io

from stal.errors import InputError
from stal.files import write_json


def read_mat(path, pids, variable="ls_set", rule=""):
    """Reads splits as iLIDS-VID and PRID-2011 publish them.

    Args:
        pids: identities in the order of their SORTED directories; the file counts these from 1.
        variable: (splits, persons) matrix; the first half of a row is the TEST side, the last half the
            TRAINING side.
        rule: which of the directories ``pids`` are, in words that follow "person directories"; empty if all are.
    Returns:
        a list of {"train": [pids], "test": [pids]}, pids sorted.
    Raises:
        InputError: no such file, no .mat file, no such variable, a row that does not name each of
            1 .. len(pids) once.
    """
    ranks = read_variable(path, variable, "name another with --splits")
    if ranks.ndim != 2 or ranks.shape[1] != len(pids) or not np.issubdtype(ranks.dtype, np.number):
        raise InputError(f"{variable} in {path} is {ranks.dtype} {ranks.shape}, but there are {len(pids)} "
                         f"person directories{rule}: restore the missing ones, or give --splits a .json file with "
                         "those at hand")
    splits, half = [], len(pids) // 2
    for row, numbers in enumerate(ranks):
        if sorted(numbers.tolist()) != list(range(1, len(pids) + 1)):
            raise InputError(f"row {row + 1} of {variable} in {path} does not name each of the directories 1 "
                             f"to {len(pids)} once: restore it from the data set's archive")
        chosen = [pids[int(number) - 1] for number in numbers]  # 1-based to 0-based
        splits.append(_split(train=chosen[half:], test=chosen[:half]))
    return splits


def read_variable(path, variable, missing):
    """A variable of a .mat file, as scipy reads it.

    Args:
        missing: what to do if there is no such file.
    Raises:
        InputError: no such file, no .mat file, no such variable.
    """
    try:
        content = scipy.io.loadmat(path)
    except FileNotFoundError:
        raise InputError(f"there is no file {path}: {missing}") from None
    except (ValueError, TypeError, LookupError, NotImplementedError, OSError, EOFError, zlib.error,
            scipy.io.matlab.MatReadError) as error:
        raise InputError(f"{path} is no readable .mat file ({error}): restore it from the data set's archive"
                         ) from None
    if variable not in content:
        found = ", ".join(sorted(name for name in content if not name.startswith("__"))) or "nothing"
        raise InputError(f"{path} holds no variable {variable} but {found}: restore it from the data set's "
                         "archive")
    return content[variable]


def read_json(path, pids, rule=""):
    """Reads a JSON list of {"train": [...], "test": [...]}; a person is a number or a directory's name.

    Args:
        pids, rule: as :func:`read_mat`.
    Returns:
        as :func:`read_mat`.
    Raises:
        InputError: no such file, another structure, an empty side, a person on both sides or not in ``pids``.
    """
    try:
        with open(path, encoding="utf-8") as stream:
            content = json.load(stream)
        rows = [{side: [_number(person) for person in row[side]] for side in ("train", "test")}
                for row in content]
    except OSError as error:
        raise InputError(f"cannot read the splits file {path} ({error.strerror}): name another with --splits"
                         ) from None
    except (ValueError, TypeError, LookupError):
        raise InputError(f"{path} is no splits file: it must be a JSON list of "
                         '{"train": [pids], "test": [pids]}') from None
    if not rows:
        raise InputError(f"{path} lists no split: write it anew")
    for number, row in enumerate(rows):
        for side, persons in row.items():
            unknown = sorted(set(persons) - set(pids))
            if unknown or not persons:
                what = f"names person {unknown[0]}, who has no directory{rule}" if unknown else "is empty"
                raise InputError(f"the {side} side of split {number} in {path} {what}: correct the file")
        both = sorted(set(row["train"]) & set(row["test"]))
        if both:
            raise InputError(f"split {number} in {path} has person {both[0]} on both sides: correct the file")
    return [_split(**row) for row in rows]


def random_halves(pids, seed, count=10):
    """``count`` splits in halves, the first half of a permutation for the test, as in the published files."""
    rng, half = np.random.default_rng(seed), len(pids) // 2
    rows = [[pids[k] for k in rng.permutation(len(pids))] for _ in range(count)]
    return [_split(train=row[half:], test=row[:half]) for row in rows]


def write(path, splits):
    """Writes splits as JSON, atomically."""
    write_json(path, splits)


def _split(train, test):
    return {"train": sorted(set(train)), "test": sorted(set(test))}


def _number(person):
    if isinstance(person, int) and not isinstance(person, bool):
        return person
    return int(re.sub(r"^person_?", "", person))
