"""One page about one run: HTML that holds its pictures, style and curves itself and loads nothing from anywhere."""

import base64
import html
import json
import math
import os
import re
from typing import NamedTuple

import numpy as np

from stal import paper_numbers, protocols, report
from stal.distance import Metric, branches, chosen_switches
from stal.errors import InputError
from stal.features import read_features, read_frames
from stal.files import replacing
from stal.metrics import JUNK_PID, RANKS
from stal.training_log import loss_lines

MAX_BYTES = 8_000_000
FUSION = 0.3  # the default of tools/eval.py
_COLUMNS = [*(f"rank{rank}" for rank in RANKS), "mAP", "mINP"]
_COLORS = ("#b30000", "#00559e", "#1a7a3a", "#7a3db8", "#a35a00", "#444444")
_DASHES = ("", "9 4", "3 3", "12 3 3 3", "1 4", "6 2 1 2")
_POINTS = 400  # of a curve; a log of a hundred thousand iterations holds more than a page needs

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1b1b1b; background: #fff; max-width: 60rem; margin: 0 auto;
       padding: 0 1rem 3rem; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.2; } h2 { font-size: 1.25rem; margin-top: 2.5rem; border-bottom: 1px solid #bbb; }
h3 { font-size: 1rem; margin: 1.5rem 0 .3rem; } h2 a { color: inherit; text-decoration: none; }
nav ul { columns: 14rem; padding-left: 1.2rem; } a { color: #00559e; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
th, td { padding: .2rem .6rem; border-bottom: 1px solid #ddd; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } tr.paper { background: #f1f1f1; }
dl { display: grid; grid-template-columns: minmax(7rem, max-content) 1fr; gap: .1rem 1rem; }
dt { color: #555; } dd { margin: 0; }
figure { margin: 1rem 0; } figcaption { color: #444; font-size: .9rem; }
figure img { box-sizing: border-box; max-width: 100%; height: auto; border: 1px solid #ccc; }
svg { width: 100%; max-width: 44rem; height: auto; }
.note { border-left: 4px solid #c77700; background: #fff6e5; padding: .4rem .8rem; }
.missing { border-left: 4px solid #888; background: #f1f1f1; padding: .4rem .8rem; }
@media (max-width: 40rem) { figure img { max-width: none; max-height: none; }
  figure img.fits { max-width: 100%; } dl { display: block; } dd { margin: 0 0 .4rem; } }
@media print { .scroll { overflow: visible; } figure { break-inside: avoid; } }
"""


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
        what += [(anchor, title, _missing(no_frames)) for anchor, title in
                 (("ranked", "Ranked lists"), ("attention", "Attention"), ("boxes", "Part boxes and joints"))]
    else:
        rows = _varied(features, chosen, persons)
        what += [("ranked", "Ranked lists", _ranked(source, protocol, chosen, metrics[-1], queries)),
                 ("attention", "Attention", _attention(source, rows)),
                 ("boxes", "Part boxes and joints", _boxes(source, rows))]
    what.append(("embedding", "Map of the features (t-SNE)", _embedding(features)))
    text = _document(f"Run {run.name}", what)
    size = len(text.encode())
    if size > MAX_BYTES:
        raise InputError(f"the page about {run.name} would be {size / 1e6:.1f} MB, more than {MAX_BYTES / 1e6:g}: ask for "
                         "fewer --queries or --persons")
    return text


def write_page(path, text):
    """Writes the page, atomically."""
    with replacing(path) as stream:
        stream.write(text)


def escape(text):
    """Text for HTML, between tags and in attributes; what cannot be printed becomes its Python escape."""
    printable = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))
    return html.escape(printable, quote=True)


def line_chart(series, xlabel, ylabel, alt, percent=False):
    """Curves as inline SVG.

    Args:
        series: list of (name, [(x, y), ...]); what is not finite is left out, a curve without points too.
        percent: the y axis ends at 100.
    Returns:
        str; "" without a single point.
    """
    series = [(name, [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]) for name, points in series]
    series = [(name, points) for name, points in series if points]
    if not series:
        return ""
    xs, ys = ([point[axis] for _, points in series for point in points] for axis in (0, 1))
    xticks, yticks = _ticks(min(xs), max(xs)), _ticks(min(*ys, 80 if percent else 0), 100 if percent else max(ys))
    left, right, top, bottom = 52, 12, 10, 44
    width, height, line = 560, 330, 20
    legend = line * len(series) + 8
    x0, x1 = (min(xs), max(xs)) if min(xs) < max(xs) else (xs[0] - 1, xs[0] + 1)
    y0, y1 = yticks[0], max(yticks[-1], max(ys))
    y1 = y1 if y0 < y1 else y0 + 1

    def place(x, y):
        return (f"{left + (x - x0) / (x1 - x0) * (width - left - right):.1f}",
                f"{height - bottom - (y - y0) / (y1 - y0) * (height - top - bottom):.1f}")

    parts = [f'<svg viewBox="0 0 {width} {height + legend}" role="img" aria-label="{escape(alt)}" '
             'font-family="system-ui, sans-serif" font-size="14" fill="#1b1b1b">']
    for tick in (tick for tick in xticks if x0 <= tick <= x1):
        x, y = place(tick, y0)
        parts.append(f'<path d="M{x} {y}V{top}" stroke="#ddd"/><text x="{x}" y="{float(y) + 18:.1f}" '
                     f'text-anchor="middle">{tick:g}</text>')
    for tick in yticks:
        x, y = place(x0, tick)
        parts.append(f'<path d="M{x} {y}H{width - right}" stroke="#ddd"/><text x="{left - 6}" y="{float(y) + 5:.1f}" '
                     f'text-anchor="end">{tick:g}</text>')
    parts.append(f'<text x="{(left + width - right) / 2:g}" y="{height - 6}" text-anchor="middle">{escape(xlabel)}</text>'
                 f'<text x="14" y="{height / 2 - 15:g}" transform="rotate(-90 14 {height / 2 - 15:g})" '
                 f'text-anchor="middle">{escape(ylabel)}</text>')
    for index, (name, points) in enumerate(series):
        stroke = (f'stroke="{_COLORS[index % len(_COLORS)]}" stroke-width="2" '
                  f'stroke-dasharray="{_DASHES[index % len(_DASHES)]}"')
        points = _thinned(points)
        line_of = " ".join(",".join(place(x, y)) for x, y in points)
        parts.append(f'<polyline points="{line_of}" fill="none" stroke-linejoin="round" {stroke}/>')
        y = height + line * index + 12
        parts.append(f'<path d="M{left} {y}h40" {stroke}/><text x="{left + 48}" y="{y + 5}">{escape(name)}</text>')
    return "".join([*parts, "</svg>"])


def _ticks(low, high):
    """About five round numbers that cover low to high."""
    span = high - low or 1
    power = 10 ** math.floor(math.log10(span / 5))
    step = next(power * factor for factor in (1, 2, 5, 10) if span / (power * factor) <= 5.5)
    return [step * number for number in range(math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9) + 1)]


def _thinned(points):
    every = -(-len(points) // _POINTS)
    return points[::every] + points[-1:] * bool((len(points) - 1) % every)


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
    parts = [_note("The people of this run are drawn by data_prep/synthetic.py. Its numbers are not comparable with "
                   "the paper's, or with anything measured on real people.") if drawn else "",
             _facts([("directory", run.name), ("tracklets", f"{len(features.names)}, {features.lengths.sum()} frames, "
                     f"{len(np.unique(features.pids))} pids, camids "
                     + ", ".join(map(str, np.unique(features.camids).tolist()))),
                     ("kinds of features", ", ".join(branches(features)))]),
             "<h3>Extraction (meta.json)</h3>", _facts(lines), "<h3>Training (run.json)</h3>"]
    starts = _read_json(f"{run.folder}/run.json")
    if starts is None:
        parts.append(_missing(f"{run.folder} holds no run.json, so how the training was started is not recorded."))
    for number, start in enumerate(starts if isinstance(starts, list) else [starts] * (starts is not None), 1):
        if isinstance(starts, list) and len(starts) > 1:
            parts.append(f"<p>Start {number} of {len(starts)}:</p>")
        parts.append(_facts(sorted(start.items()) if isinstance(start, dict) else [("start", start)]))
    solver = _solver(f"{run.folder}/solver.prototxt")
    parts += ["<h3>Solver (solver.prototxt)</h3>", _facts(solver)] if solver else []
    parts += ["<h3>Comparison</h3>",
              "" if named else "<p>No protocol was named; two cameras are compared by the rule of ilids.</p>",
              _facts([("protocol", f"{protocol.name} ({protocol.dataset})" if named else "rule of ilids"),
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
        return _missing(f"{run.folder} holds no train.log, so no losses are shown.")
    except OSError as error:
        raise InputError(f"cannot read {path} ({error.strerror}): move it away or make it readable") from None
    # A resumed run logs an iteration twice; what came later counts.
    losses = {name: sorted(dict(points).items()) for name, points in losses.items()}
    chart = line_chart(list(losses.items()), "iteration", "loss",
                       "Losses over the iterations; the table below gives first and last values.")
    if not chart:
        return _missing(f"{path} holds no losses yet.")
    rows = [[name, points[0][0], f"{points[0][1]:.4g}", points[-1][0], f"{points[-1][1]:.4g}",
             f"{min(value for _, value in points):.4g}"] for name, points in losses.items()]
    return (_figure(chart, "Losses as caffe train logged them; loss is their weighted sum, averaged as the solver says "
                    "(average_loss).", scroll=False)
            + _table(["", "first at", "value", "last at", "value", "lowest"], rows))


def _results(features, protocol, named, split, scores, drawn):
    headings = report.labels(features)
    rows = [[headings[switch], *_cells(report.percents(one))] for switch, one in scores.items()]
    table, published = paper_numbers.comparison(protocol.dataset)
    counted = next(iter(scores.values()))
    words = [f"<p>Per cent, {counted.queries} queries"
             + (f", {counted.queries_without_match} more without a match and left out" * bool(counted.queries_without_match))
             + ".</p>"]
    paper = []
    if drawn:
        words.append(_note("Drawn people are not comparable with the paper's data sets, so its numbers are not shown."))
    elif not named:
        words.append(_note("The paper's numbers stand beside a run only where its protocol is named (--protocol)."))
    elif not protocol.comparable:
        words.append(_note(f"The paper ({table}) measures {protocol.dataset} under another protocol: its numbers are not "
                           "shown."))
    elif published:
        paper = [[f"paper, {table}: {name}", *_cells(values)] for name, values in published.items()]
        words.append(f"<p>Beside this run: the paper's {escape(table)}, {escape(protocol.dataset)}, as printed"
                     + (f", the mean over its splits; this run is of split {escape(split.name)}" * protocol.has_splits)
                     + ".</p>")
    return "".join(words) + _table(["", *(column.replace("rank", "Rank-") for column in _COLUMNS)], rows, paper)


def _cells(values):
    return [f"{values[column]:.1f}" if column in values else "-" for column in _COLUMNS]


def _cmc(features, scores):
    headings = report.labels(features)
    series = [(f"{headings[switch]}: Rank-1 {one.cmc[0]:.1%}, mAP {one.mAP:.1%}",
               [(rank + 1, 100 * float(value)) for rank, value in enumerate(one.cmc[:max(RANKS)])])
              for switch, one in scores.items()]
    alt = "CMC curves, ranks 1 to 20: " + "; ".join(name for name, _ in series)
    return _figure(line_chart(series, "rank", "matching rate (%)", alt, percent=True), "CMC over ranks 1 to 20.",
                   scroll=False)


def _ranked(source, protocol, split, metric, count):
    from stal.pictures.ranked import best_and_worst, ranked_picture

    best, worst = best_and_worst(source, protocol, split, metric, count)
    parts = ["<p>A row a query: its frames, then the nearest gallery tracklets; green: the same person, red: another; "
             f"the number is the distance (attention {escape(report.labels(source.features)[metric.attention])}).</p>"]
    for title, rows in (("Best queries", best), ("Worst queries", worst)):
        names = ", ".join(source.features.names[row] for row in rows)
        parts += [f"<h3>{title} by average precision</h3>",
                  _picture(ranked_picture(source, protocol, split, metric, rows),
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
        return _missing(f"{features.directory} holds no parts, so there is no attention to show.")
    if not os.path.isdir(os.path.join(features.directory, "frames")):
        return _missing(f"{features.directory} holds no frames/, so the attention of single frames is not shown: "
                        "tools/extract.py --frames keeps it.")
    if not rows:
        return _missing("No query's person is seen by two cameras, so no attention is shown.")
    frames = read_frames(features)
    parts = ["<p>The raw attention scores of the parts, frame by frame, as in the paper's Fig. 12; of the queries' persons "
             "those whose scores differ most from part to part.</p>"]
    for row in rows:
        pid = int(features.pids[row])
        parts.append(_picture(attention_picture(source, frames, pid),
                              f"Attention scores of the parts of person {pid} on frames of its cameras", f"Person {pid}."))
    return "".join(parts)


def _boxes(source, rows):
    from stal.pictures.boxes import boxes_picture

    if source.joints is None:
        return _missing("The tracklet list has no joints beside it, so part boxes and joints are not shown.")
    rows = rows or [0]
    return "<p>The six part boxes of Eq. 7 and the joints they come from.</p>" + "".join(
        _picture(boxes_picture(source, row), f"Part boxes and joints on frames of tracklet {source.features.names[row]}",
                 f"Tracklet {source.features.names[row]}.") for row in rows[:2])


def _embedding(features):
    from stal.pictures.embedding import embedding_picture

    pids = sorted({pid for pid in features.pids.tolist() if pid > 0})
    if len(pids) < 2:
        return _missing("The features are of fewer than two persons, so no map is drawn.")
    try:
        picture = embedding_picture(features, pids[:20])
    except InputError as error:
        return _missing(f"No map is drawn: {error}.")
    return _picture(picture, f"t-SNE of the tracklets of {len(pids[:20])} persons in the plane",
                    f"Tracklets of the first {len(pids[:20])} of {len(pids)} persons by pid. t-SNE keeps neighbours "
                    "together; its distances across the map mean nothing.", fits=True)


def _picture(image, alt, caption, fits=False):
    """A figure of a BGR uint8 image as embedded PNG."""
    from stal.pictures.canvas import png_bytes

    height, width = image.shape[:2]
    data = base64.b64encode(png_bytes(image)).decode()
    fits = ' class="fits"' if fits else ""
    return _figure(f'<img{fits} width="{width}" height="{height}" alt="{escape(alt)}" src="data:image/png;base64,{data}">',
                   caption)


def _figure(content, caption, scroll=True):
    content = f'<div class="scroll">{content}</div>' if scroll else content
    return f"<figure>{content}<figcaption>{escape(caption)}</figcaption></figure>"


def _table(header, rows, paper=()):
    """``rows`` of cells, then the paper's, marked."""
    def line(cells, attribute=""):
        return f"<tr{attribute}>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"
    return ('<div class="scroll"><table><thead><tr>' + "".join(f"<th>{escape(cell)}</th>" for cell in header)
            + "</tr></thead><tbody>" + "".join(line(row) for row in rows)
            + "".join(line(row, ' class="paper"') for row in paper) + "</tbody></table></div>")


def _facts(pairs):
    return "<dl>" + "".join(f"<dt>{escape(key)}</dt><dd>{escape(_said(value))}</dd>" for key, value in pairs) + "</dl>"


def _said(value):
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _note(sentence):
    return f'<p class="note">{escape(sentence)}</p>'


def _missing(sentence):
    return f'<p class="missing">{escape(sentence)}</p>'


def _read_json(path):
    try:
        with open(path, encoding="utf-8") as stream:
            return json.load(stream)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is no readable JSON file ({error}): move it away or write it anew") from None


def _document(title, sections):
    """The page of (anchor, title, content) sections."""
    contents = "".join(f'<li><a href="#{anchor}">{escape(name)}</a></li>' for anchor, name, _ in sections)
    body = "".join(f'<section><h2 id="{anchor}"><a href="#{anchor}">{escape(name)}</a></h2>{content}</section>\n'
                   for anchor, name, content in sections)
    return ('<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
            'style-src \'unsafe-inline\'">'
            f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n<body><h1>{escape(title)}</h1>"
            f'<nav aria-label="Contents"><ul>{contents}</ul></nav>\n<main>{body}</main></body></html>\n')
