"""Plots, and where there is no matplotlib."""

import sys

import cv2

from stal.plotting import plot


def draw(axes):
    axes.plot([0, 1], [0, 1])


def test_a_plot_has_the_size_asked_for_and_repeats(tmp_path):
    for name in ("one.png", "other.png"):
        plot(str(tmp_path / name), (3, 2), draw)
    assert cv2.imread(str(tmp_path / "one.png")).shape == (200, 300, 3)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "other.png").read_bytes()


def test_without_matplotlib_it_says_so(tmp_path, monkeypatch, capsys):
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "path", [])
    plot(str(tmp_path / "one.png"), (3, 2), draw)
    assert "one.png is not drawn: there is no matplotlib here" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
