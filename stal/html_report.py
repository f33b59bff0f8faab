"""One page about one run: HTML that holds its pictures, style and curves itself and loads nothing from anywhere."""

import json
import os
import re
from typing import NamedTuple

import numpy as np

from stal import html_page as tags
from stal import paper_numbers, protocols, report
from stal.distance import Metric, branches, chosen_switches
from stal.errors import InputError
from stal.features import read_features, read_frames
from stal.files import replacing
from stal.html_chart import line_chart
from stal.html_page import escape
from stal.metrics import JUNK_PID, RANKS
from stal.training_log import loss_lines

MAX_BYTES = 8_000_000
FUSION = 0.3  # the default of tools/eval.py
_COLUMNS = [*(f"rank{rank}" for rank in RANKS), "mAP", "mINP"]


class Run(NamedTuple):
    """What a page is about; see :func:`open_run`."""

    name: str         # the directory as given
    folder: str       # where train.log and run.json would be
    features: object  # stal.features.Features


def open_run(directory):
    """Reads the features of a run.

    Args:
        directory: holds ``features/``, or is a feature directory itself. Of a feature directory the folder around it
            counts as the run if the weights lay there, as meta.json names them.
    Returns:
        :class:`Run`.
    Raises:
        InputError: there are no features, or damaged ones.
    """
    directory = os.fspath(directory).rstrip("/") or "/"
    if not os.path.isdir(directory):
        raise InputError(f"there is no directory {directory}: name a run's, which holds features/, or a feature directory")
    if any(os.path.isdir(f"{directory}/features{end}") for end in ("", ".part")):
        return Run(directory, directory, read_features(f"{directory}/features"))
    if not os.path.exists(f"{directory}/tracklets.csv"):
        raise InputError(f"{directory} holds neither features/ nor tracklets.csv: name a run's directory or a feature "
                         "directory, as tools/extract.py writes it")
    features = read_features(directory)
    around = os.path.dirname(os.path.abspath(directory))
    weights = features.meta.get("weights")
    beside = isinstance(weights, str) and os.path.dirname(os.path.abspath(weights)) == around
    return Run(directory, os.path.relpath(around) if beside else directory, features)


def is_drawn(features, list_path=None, root=None):
    """Whether the people are drawn: data_prep/synthetic.py leaves ``synthetic.json`` in the root it fills.

    Looks in ``root``, beside ``list_path`` and beside the list that meta.json names.
    """
    lists = [path for path in (list_path, features.meta.get("list")) if isinstance(path, str)]
    folders = [os.path.dirname(path) or "." for path in lists] + [root] * bool(root)
    return any(os.path.exists(f"{folder}/synthetic.json") for folder in folders)


def page(run, list_path=None, root=None, protocol=None, splits_file=None, split=None, queries=3, persons=3,
         synthetic=False):
    """The page about a run.

    Args:
        run: :class:`Run`.
        list_path, root: tracklet list of the features and the data set's root; without both the page has no frames.
        protocol: name of a :class:`stal.protocols.Protocol`. None scores two cameras by the rule of ilids, and never
            beside the paper's numbers.
        splits_file, split: a splits file and an index in it (None: 0); without the file everybody is compared.
        queries: how many of the best and as many of the worst queries are shown.
        persons: how many persons' attention is shown.
        synthetic: the people are drawn; also found out by :func:`is_drawn`.
    Returns:
        str: HTML that refers to nothing outside itself; the same input gives the same text.
    Raises:
        InputError: wrong or damaged input, or a page above ``MAX_BYTES``. What is merely absent (no list, no
            frames/, no joints, no train.log) is said in the page.
    """
    features = run.features
    if queries < 1 or persons < 1:
        raise InputError(f"--queries {queries} and --persons {persons} are to be 1 or more")
    named, protocol = protocol is not None, _protocol(features, protocol)
    (split_name, *halves), = protocols.chosen_splits(protocol, splits_file, _one(split, splits_file))
    chosen = protocols.make_split(features, protocol, split_name, *halves)
    drawn = synthetic or is_drawn(features, list_path, root)
    switches = chosen_switches(features, "all")
    norm = features.meta["attention_norm"]
    # Features without one kind are ranked by the other alone, as in tools/eval.py.
    metrics = [Metric(switch, FUSION, norm) for switch in switches]
    scores = dict(zip(switches, protocols.evaluate(features, protocol, chosen, metrics)))
    source = _open_source(features, list_path, root)
    if source is None:
        no_frames = ("No frames are shown: the page was made without a tracklet list and its root "
                     "(tools/report.py --list FILE --root DIR).")

    what = [("run", "What was run", _what(run, protocol, named, chosen, drawn)),
            ("losses", "Losses", _losses(run)),
            ("results", "Results", _results(features, protocol, named, chosen, scores, drawn)),
            ("cmc", "CMC curves", _cmc(features, scores))]
    if source is None:
        what += [(anchor, title, tags.missing(no_frames)) for anchor, title in
                 (("ranked", "Ranked lists"), ("attention", "Attention"), ("boxes", "Part boxes and joints"))]
    else:
        rows = _varied(features, chosen, persons)
        what += [("ranked", "Ranked lists", _ranked(source, protocol, chosen, metrics[-1], queries)),
                 ("attention", "Attention", _attention(source, rows)),
                 ("boxes", "Part boxes and joints", _boxes(source, rows))]
    what.append(("embedding", "Map of the features (t-SNE)", _embedding(features)))
    text = tags.document(f"Run {run.name}", what)
    size = len(text.encode())
    if size > MAX_BYTES:
        raise InputError(f"the page about {run.name} would be {size / 1e6:.1f} MB, more than {MAX_BYTES / 1e6:g}: ask for "
                         "fewer --queries or --persons")
    return text


def write_page(path, text):
    """Writes the page, atomically."""
    with replacing(path) as stream:
        stream.write(text)


def _protocol(features, name):
    if name is not None:
        return protocols.get_protocol(name)
    cameras = set(features.camids.tolist())
    if cameras != {0, 1} or JUNK_PID in features.pids:
        raise InputError(f"{features.directory} is not of two cameras 0 and 1 without pid -1 (camids there: "
                         f"{', '.join(map(str, sorted(cameras)))}): name its rule with --protocol "
                         f"{', '.join(protocols.PROTOCOLS)}")
    return protocols.get_protocol("ilids")


def _one(split, splits_file):
    if str(split) == "all":
        raise InputError("a page is about one split: give its index with --split, tools/eval.py takes all")
    return split if split is not None else "all" if splits_file is None else "0"


def _open_source(features, list_path, root):
    if list_path is None and root is None:
        return None
    if list_path is None or root is None:
        raise InputError("--list FILE and --root DIR go together: give both, or neither for a page without frames")
    if not os.path.isdir(root):
        raise InputError(f"there is no directory {root}: give the data set's root with --root")
    from stal.pictures.canvas import open_source

    return open_source(features.directory, list_path, root)


def _what(run, protocol, named, split, drawn):
    features = run.features
    lines = [(key.replace("_", " "), value) for key, value in sorted(features.meta.items())]
    parts = [tags.note("The people of this run are drawn by data_prep/synthetic.py. Its numbers are not comparable with "
                   "the paper's, or with anything measured on real people.") if drawn else "",
             tags.facts([("directory", run.name), ("tracklets", f"{len(features.names)}, {features.lengths.sum()} frames, "
                     f"{len(np.unique(features.pids))} pids, camids "
                     + ", ".join(map(str, np.unique(features.camids).tolist()))),
                     ("kinds of features", ", ".join(branches(features)))]),
             "<h3>Extraction (meta.json)</h3>", tags.facts(lines), "<h3>Training (run.json)</h3>"]
    starts = _read_json(f"{run.folder}/run.json")
    if starts is None:
        parts.append(tags.missing(f"{run.folder} holds no run.json, so how the training was started is not recorded."))
    for number, start in enumerate(starts if isinstance(starts, list) else [starts] * (starts is not None), 1):
        if isinstance(starts, list) and len(starts) > 1:
            parts.append(f"<p>Start {number} of {len(starts)}:</p>")
        parts.append(tags.facts(sorted(start.items()) if isinstance(start, dict) else [("start", start)]))
    solver = _solver(f"{run.folder}/solver.prototxt")
    parts += ["<h3>Solver (solver.prototxt)</h3>", tags.facts(solver)] if solver else []
    parts += ["<h3>Comparison</h3>",
              "" if named else "<p>No protocol was named; two cameras are compared by the rule of ilids.</p>",
              tags.facts([("protocol", f"{protocol.name} ({protocol.dataset})" if named else "rule of ilids"),
                      ("rule", protocol.rule), ("split", split.name), ("left out", split.left_out),
                      ("queries", f"{len(split.query)} tracklets"), ("gallery", f"{len(split.gallery)} tracklets"),
                      ("average precision", f"{protocol.ap}; ties: the wrong ones first"),
                      ("distance", _distance(features))])]
    return "".join(parts)


def _solver(path):
    """(field, value) of a solver's lines, the seed of the training among them; () where there is no solver."""
    try:
        with open(path, encoding="utf-8") as stream:
            return re.findall(r'^(\w+): *"?(.*?)"?$', stream.read(), re.MULTILINE)
    except FileNotFoundError:
        return ()
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is no readable solver ({error}): move it away or write it anew") from None


def _distance(features):
    kinds = branches(features)
    if len(kinds) == 1:
        return ("of the parts alone, norm " + features.meta["attention_norm"] if kinds == ("part",)
                else "of the global feature alone; there is no attention to switch")
    return f"d_l + {FUSION:g} d_g, norm of the scores {features.meta['attention_norm']}"


def _losses(run):
    path = f"{run.folder}/train.log"
    try:
        with open(path, encoding="utf-8", errors="replace") as log:
            losses = loss_lines(log)
    except FileNotFoundError:
        return tags.missing(f"{run.folder} holds no train.log, so no losses are shown.")
    except OSError as error:
        raise InputError(f"cannot read {path} ({error.strerror}): move it away or make it readable") from None
    # A resumed run logs an iteration twice; what came later counts.
    losses = {name: sorted(dict(points).items()) for name, points in losses.items()}
    chart = line_chart(list(losses.items()), "iteration", "loss",
                       "Losses over the iterations; the table below gives first and last values.")
    if not chart:
        return tags.missing(f"{path} holds no losses yet.")
    rows = [[name, points[0][0], f"{points[0][1]:.4g}", points[-1][0], f"{points[-1][1]:.4g}",
             f"{min(value for _, value in points):.4g}"] for name, points in losses.items()]
    return (tags.figure(chart, "Losses as caffe train logged them; loss is their weighted sum, averaged as the solver says "
                    "(average_loss).", scroll=False)
            + tags.table(["", "first at", "value", "last at", "value", "lowest"], rows))


def _results(features, protocol, named, split, scores, drawn):
    headings = report.labels(features)
    rows = [[headings[switch], *_cells(report.percents(one))] for switch, one in scores.items()]
    source_table, published = paper_numbers.comparison(protocol.dataset)
    counted = next(iter(scores.values()))
    words = [f"<p>Per cent, {counted.queries} queries"
             + (f", {counted.queries_without_match} more without a match and left out" * bool(counted.queries_without_match))
             + ".</p>"]
    paper = []
    if drawn:
        words.append(tags.note("Drawn people are not comparable with the paper's data sets, so its numbers are not shown."))
    elif not named:
        words.append(tags.note("The paper's numbers stand beside a run only where its protocol is named (--protocol)."))
    elif not protocol.comparable:
        words.append(tags.note(f"The paper ({source_table}) measures {protocol.dataset} under another protocol: its "
                               "numbers are not shown."))
    elif published:
        paper = [[f"paper, {source_table}: {name}", *_cells(values)] for name, values in published.items()]
        words.append(f"<p>Beside this run: the paper's {escape(source_table)}, {escape(protocol.dataset)}, as printed"
                     + (f", the mean over its splits; this run is of split {escape(split.name)}" * protocol.has_splits)
                     + ".</p>")
    return "".join(words) + tags.table(["", *(column.replace("rank", "Rank-") for column in _COLUMNS)], rows, paper)


def _cells(values):
    return [f"{values[column]:.1f}" if column in values else "-" for column in _COLUMNS]


def _cmc(features, scores):
    headings = report.labels(features)
    series = [(f"{headings[switch]}: Rank-1 {one.cmc[0]:.1%}, mAP {one.mAP:.1%}",
               [(rank + 1, 100 * float(value)) for rank, value in enumerate(one.cmc[:max(RANKS)])])
              for switch, one in scores.items()]
    alt = "CMC curves, ranks 1 to 20: " + "; ".join(name for name, _ in series)
    return tags.figure(line_chart(series, "rank", "matching rate (%)", alt, percent=True), "CMC over ranks 1 to 20.",
                   scroll=False)


def _ranked(source, protocol, split, metric, count):
    from stal.pictures.ranked import best_and_worst, ranked_picture

    best, worst = best_and_worst(source, protocol, split, metric, count)
    parts = ["<p>A row a query: its frames, then the nearest gallery tracklets; green: the same person, red: another; "
             f"the number is the distance (attention {escape(report.labels(source.features)[metric.attention])}).</p>"]
    for title, rows in (("Best queries", best), ("Worst queries", worst)):
        names = ", ".join(source.features.names[row] for row in rows)
        parts += [f"<h3>{title} by average precision</h3>",
                  tags.picture(ranked_picture(source, protocol, split, metric, rows),
                           f"{title} and their nearest gallery tracklets: {names}", f"From top to bottom: {names}.")]
    return "".join(parts)


def _varied(features, split, count):
    """Rows of queries whose parts' scores differ most, one a person and only persons seen by two cameras."""
    spread = features.attention.std(axis=1) if features.attention.size else np.zeros(len(features.names))
    cameras = {}
    for pid, camid in zip(features.pids.tolist(), features.camids.tolist()):
        cameras.setdefault(pid, set()).add(camid)
    rows = {}
    for row in sorted(split.query.tolist(), key=lambda row: (-spread[row], features.names[row])):
        pid = int(features.pids[row])
        if pid > 0 and len(cameras[pid]) > 1:
            rows.setdefault(pid, row)
    return list(rows.values())[:count]


def _attention(source, rows):
    from stal.pictures.attention import attention_picture

    features = source.features
    if not features.attention.size:
        return tags.missing(f"{features.directory} holds no parts, so there is no attention to show.")
    if not os.path.isdir(os.path.join(features.directory, "frames")):
        return tags.missing(f"{features.directory} holds no frames/, so the attention of single frames is not shown: "
                        "tools/extract.py --frames keeps it.")
    if not rows:
        return tags.missing("No query's person is seen by two cameras, so no attention is shown.")
    frames = read_frames(features)
    parts = ["<p>The raw attention scores of the parts, frame by frame, as in the paper's Fig. 12; of the queries' persons "
             "those whose scores differ most from part to part.</p>"]
    for row in rows:
        pid = int(features.pids[row])
        parts.append(tags.picture(attention_picture(source, frames, pid),
                              f"Attention scores of the parts of person {pid} on frames of its cameras", f"Person {pid}."))
    return "".join(parts)


def _boxes(source, rows):
    from stal.pictures.boxes import boxes_picture

    if source.joints is None:
        return tags.missing("The tracklet list has no joints beside it, so part boxes and joints are not shown.")
    rows = rows or [0]
    return "<p>The six part boxes of Eq. 7 and the joints they come from.</p>" + "".join(
        tags.picture(boxes_picture(source, row), f"Part boxes and joints on frames of tracklet {source.features.names[row]}",
                 f"Tracklet {source.features.names[row]}.") for row in rows[:2])


def _embedding(features):
    from stal.pictures.embedding import embedding_picture

    pids = sorted({pid for pid in features.pids.tolist() if pid > 0})
    if len(pids) < 2:
        return tags.missing("The features are of fewer than two persons, so no map is drawn.")
    try:
        picture = embedding_picture(features, pids[:20])
    except InputError as error:
        return tags.missing(f"No map is drawn: {error}.")
    return tags.picture(picture, f"t-SNE of the tracklets in the plane, {len(pids[:20])} persons in colour",
                    f"In colour: the first {len(pids[:20])} of {len(pids)} persons by pid. t-SNE keeps neighbours together; "
                    "its distances across the map mean nothing.", fits=True)


def _read_json(path):
    try:
        with open(path, encoding="utf-8") as stream:
            return json.load(stream)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is no readable JSON file ({error}): move it away or write it anew") from None
