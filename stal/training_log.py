"""What a log of `caffe train` says."""

import re

from stal.plotting import plot


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


def plot_losses(path, losses):
    """Draws the losses of :func:`loss_lines` over the iterations as PNG."""
    def draw(axes):
        for name, points in losses.items():
            axes.plot(*zip(*sorted(dict(points).items())), label=name, linewidth=2.5 if name == "loss" else 1)
        axes.set(xlabel="iteration", ylabel="loss", yscale="symlog")
        axes.grid(alpha=0.4)
        axes.legend(loc="upper right")

    plot(path, (7, 4.5), draw)
