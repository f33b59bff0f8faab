"""The files that a solver writes at each snapshot: PREFIX_iter_N.caffemodel, then PREFIX_iter_N.solverstate."""

import glob
import os
import re


def newest_state(prefix):
    """Path of the solver state of the latest whole snapshot, or "".

    Args:
        prefix: the solver's snapshot_prefix. Caffe writes both files of a snapshot by renaming, the weights first.
    """
    states = {}
    for path in glob.glob(f"{glob.escape(prefix)}_iter_*.solverstate"):
        name = re.search(r"_iter_(\d+)\.solverstate$", path)
        if name and os.path.exists(f"{prefix}_iter_{name[1]}.caffemodel"):
            states[int(name[1])] = path
    return states[max(states)] if states else ""
