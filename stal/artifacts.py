"""The paper's tables and figures as data: which trained nets each needs, and how each number is measured.

A table of CMC (Tables III-VII, Fig. 5-7) is a list of rows, a curve (Fig. 8-10) a list of rows for each point, Fig. 11
a grid of sequence lengths. A row says which variant of prototxt/experiments.py was trained, on clean or polluted
frames, and which distance its features are compared with.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from stal.distance import Metric
from stal.errors import InputError
from stal.protocols import evaluate

PARTS = ("head", "torso", "right arm", "left arm", "right leg", "left leg")
LENGTHS = (1, 2, 4, 8, 16, 32, 64, 128, None)  # frames of a tracklet in Fig. 11; None: all of them
FUSION = 0.3  # of d = d_l + 0.3 d_g
ALONE = float("inf")  # fusion rate: the global distance alone


class Row(NamedTuple):
    """One line of a table, or one point of a curve."""

    label: str
    variant: str = ""          # of prototxt/experiments.py; "": STAL
    attention: str = "both"    # switch of stal/distance.py
    fusion: float = FUSION
    part: int | None = None    # compare this part alone, by its plain distance
    polluted: bool = False     # trained and tested on frames with a black box
    occluders: str = ""        # tested on other drawn people, all of them with this kind of occluder only
    paper: str = ""            # the paper's name of the row, if it has numbers for it


@dataclass(frozen=True)
class Artifact:
    """A table or a figure."""

    title: str
    kind: str                  # cmc, curve or lengths
    rows: tuple = ()           # of Row, for cmc; for lengths one
    curves: tuple = ()         # of (name, ((x, Row), ...)), for curve; x None: the net's own size
    xlabel: str = ""
    source: str = ""           # of the paper's numbers: III ... VII or Fig.11
    measured_on: str = ""      # what the paper measured them on: DATASET, or DATASET->TEST_DATASET
    datasets: tuple = ("ilids", "prid", "mars", "synthetic")

    def sized(self, own):
        """The same with numbers where a curve has x None: the size of the net itself, ``own`` {curve: size} or 1024.

        A variant of that very size is left out.
        """
        curves = []
        for name, points in self.curves:
            size = own.get(name, 1024)
            curves.append((name, tuple((size if x is None else x, row) for x, row in points if x != size)))
        return replace(self, curves=tuple(curves))

    def all_rows(self):
        """Every row."""
        return [*self.rows, *(row for _, points in self.curves for _, row in points)]


_SWITCHES = tuple(Row(name, attention=attention) for name, attention in (
    ("Baseline", "none"), ("TAN", "temporal"), ("SAN", "spatial"), ("STAL", "both")))
_COMPARISON = (Row("STAL", paper="STAL"), Row("Baseline", attention="none", paper="Baseline"),
               Row("QAN-style", "qan", "temporal", 0, paper="QAN"))


def _embedding(branch):
    points = [(size, Row(f"{branch} {size}", f"embedding_{branch}_{size}")) for size in (128, 256, 512, 2048)]
    return (f"{branch} embedding", (*points, (None, Row("the net itself"))))


def _margin(branch, own):
    return (f"{branch} margin", tuple(
        (margin, Row(f"{branch} margin {margin}", "" if margin == own else f"margin_{branch}_{margin}"))
        for margin in (0.4, 0.8, 1.2, 1.6, 2.0)))


ARTIFACTS = {
    "table3": Artifact("Table III: iLIDS-VID", "cmc", _COMPARISON, source="III", measured_on="ilids",
                       datasets=("ilids", "synthetic")),
    "table4": Artifact("Table IV: PRID-2011", "cmc", _COMPARISON, source="IV", measured_on="prid",
                       datasets=("prid", "synthetic")),
    "table5": Artifact("Table V: MARS", "cmc", (*_COMPARISON, Row("STAL + ResNet50", "resnet50", paper="STAL+ResNet50")),
                       source="V", measured_on="mars", datasets=("mars", "synthetic")),
    "table6": Artifact("Table VI: trained on one data set, tested on another", "cmc",
                       (Row("STAL", paper="STAL"), Row("QAN-style", "qan", "temporal", 0, paper="QAN")),
                       source="VI", measured_on="ilids->prid"),
    "table7": Artifact("Table VII: polluted frames", "cmc", tuple(row._replace(polluted=True) for row in (
        Row("Baseline", attention="none", paper="Baseline"), Row("QAN-style", "qan", "temporal", 0, paper="QAN"),
        Row("STAL", paper="STAL"))), source="VII", measured_on="ilids", datasets=("ilids", "synthetic")),
    "fig5": Artifact("Fig. 5: attention models", "cmc", _SWITCHES),
    "occluders": Artifact(
        "Fig. 5's models where occluders move, and where they hide a part throughout", "cmc",
        tuple(row._replace(label=f"{row.label}, {kind}", occluders=kind)
              for kind in ("moving", "persistent") for row in _SWITCHES), datasets=("synthetic",)),
    "fig6": Artifact("Fig. 6: feature branches", "cmc", (
        Row("PGB", "pgb", "none", ALONE), Row("PLB", "plb", fusion=0), Row("GB", fusion=ALONE), Row("LB", fusion=0),
        Row("STAL without RAN", "no_ran"), Row("STAL"))),
    "fig7": Artifact("Fig. 7: local parts", "cmc", (
        *(Row(name, attention="temporal", fusion=0, part=r) for r, name in enumerate(PARTS)), Row("all parts", fusion=0))),
    "fig8": Artifact("Fig. 8: fusion rate", "curve", curves=(
        ("STAL", tuple((rate / 10, Row(f"fusion {rate / 10}", fusion=rate / 10)) for rate in range(11))),),
        xlabel="fusion rate"),
    "fig9": Artifact("Fig. 9: embedding size", "curve", curves=(_embedding("global"), _embedding("local")),
                     xlabel="channels"),
    "fig10": Artifact("Fig. 10: margins of the triplet loss", "curve", xlabel="margin",
                      curves=(_margin("global", 1.2), _margin("local", 0.8))),
    "fig11": Artifact("Fig. 11: frames of probe and gallery", "lengths", (Row("STAL"),), source="Fig.11",
                      measured_on="ilids", datasets=("ilids", "synthetic")),
}


def get_artifact(name):
    """The :class:`Artifact` of a name; InputError if there is none."""
    if name not in ARTIFACTS:
        raise InputError(f"there is no table or figure {name!r}: choose from {', '.join(ARTIFACTS)}")
    return ARTIFACTS[name]


def score(features, protocol, split, row):
    """:class:`stal.metrics.Scores` of a row on its features."""
    if row.part is not None:
        features = one_part(features, row.part)
    metric = Metric(row.attention, row.fusion, features.meta["attention_norm"])
    return evaluate(features, protocol, split, [metric])[0]


def one_part(features, part):
    """The features with one part only: d_l is then that part's plain distance, whatever the norm."""
    chosen = slice(part, part + 1)
    return replace(features, parts=features.parts[:, chosen], parts_mean=features.parts_mean[:, chosen],
                   attention=np.ones_like(features.attention[:, chosen]))


def shortened(features, frames, length, seed=0):
    """Features of every tracklet from ``length`` of its frames (section IV-D.4).

    A longer tracklet gives random frames; a shorter one all of them, and random ones once more up to the length.

    Args:
        frames: :class:`stal.features.Frames`.
        length: frames, or None for all.
    Returns:
        :class:`stal.features.Features` with other arrays.
    """
    if length is None:
        return features
    arrays = {name: np.empty_like(getattr(features, name))
              for name in ("global_mean", "parts", "parts_mean", "attention")}
    for n, (begin, end) in enumerate(zip(frames.offsets, frames.offsets[1:])):
        rng = np.random.default_rng((seed, n))
        count = end - begin
        if count >= length:
            rows = rng.choice(count, length, replace=False)
        else:
            rows = np.concatenate([np.arange(count), rng.choice(count, length - count)])
        rows = np.sort(rows) + begin
        scores, parts = frames.attention[rows].astype(np.float64), frames.parts[rows].astype(np.float64)
        total = scores.sum(0)
        weights = np.where(total > 0, scores / np.where(total > 0, total, 1), 1 / length)
        arrays["global_mean"][n] = frames.global_[rows].mean(0, dtype=np.float64)
        arrays["parts"][n] = np.einsum("tr,trc->rc", weights, parts)
        arrays["parts_mean"][n] = parts.mean(0)
        arrays["attention"][n] = scores.mean(0)
    return replace(features, **arrays)


def length_grid(features, frames, protocol, split, row, lengths=LENGTHS, seed=0):
    """Rank-1 of Fig. 11: (probe lengths, gallery lengths), fractions."""
    short = [shortened(features, frames, length, seed) for length in lengths]
    grid = np.empty((len(lengths), len(lengths)))
    for i, probe in enumerate(short):
        for j, gallery in enumerate(short):
            mixed = replace(gallery, **{name: _rows_from(getattr(gallery, name), getattr(probe, name), split.query)
                                        for name in ("global_mean", "parts", "parts_mean", "attention")})
            grid[i, j] = score(mixed, protocol, split, row).cmc[0]
    return grid


def _rows_from(base, other, rows):
    result = np.array(base)
    result[rows] = other[rows]
    return result
