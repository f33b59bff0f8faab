"""Plots as PNG files. Only a bundle for other machines (caffe-build/bundle.py) lacks matplotlib, and so plots."""

import sys

from stal.files import replacing


def plot(path, size, draw):
    """Writes what ``draw(axes)`` draws, atomically; the same drawing always gives the same bytes. Without matplotlib it says
    so and leaves the file out.

    Args:
        size: width and height in inches, at 100 pixels an inch.
        draw: gets the axes of an empty figure.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        if error.name != "matplotlib":
            raise
        print(f"{path} is not drawn: there is no matplotlib here", file=sys.stderr)
        return
    figure = Figure(figsize=size, layout="constrained")
    draw(figure.add_subplot())
    with replacing(path, "wb") as stream:
        FigureCanvasAgg(figure).print_png(stream, metadata={"Software": None})
