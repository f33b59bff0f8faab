"""What a log of `caffe train` says."""

import re


def loss_lines(log):
    """The losses in a log of caffe train.

    Args:
        log: iterable of lines.
    Returns:
        {name of the output: list of (iteration, value)}; "loss" is the weighted sum, smoothed as Caffe prints it.
    """
    result, iteration = {}, None
    for line in log:
        start = re.search(r"Iteration (\d+) \(.*\), loss = (\S+)", line)
        if start:
            iteration = int(start[1])
            result.setdefault("loss", []).append((iteration, float(start[2])))
        output = re.search(r"Train net output #\d+: (\S+) = (\S+)", line)
        if output and iteration is not None:
            result.setdefault(output[1], []).append((iteration, float(output[2])))
    return result
