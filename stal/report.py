"""Results as people read them: torchreid's block, tables of per cent, camera pairs, CMC curves."""

import numpy as np

from stal import paper_numbers
from stal.distance import SWITCHES, branches
from stal.metrics import RANKS
from stal.plotting import plot


def torchreid_block(scores):
    """The text that torchreid prints, byte for byte, so that scripts which parse its logs parse ours."""
    return "\n".join(["Computing CMC and mAP ...", "** Results **", f"mAP: {scores.mAP:.1%}", "CMC curve",
                      *(f"Rank-{rank:<3}: {scores.cmc[rank - 1]:.1%}" for rank in RANKS)])


def more_lines(scores):
    """What torchreid has no line for: mINP, TAR at FAR with its threshold, EER, and how many queries counted."""
    tars = [f"TAR at FAR {far:g}: " + ("too few wrong pairs to tell" if tar is None else
                                       f"{tar:.1%}, distances below {scores.threshold[far]:.6g}")
            for far, tar in sorted(scores.tar.items())]
    return "\n".join([f"mINP: {scores.mINP:.1%}", *tars,
                      "EER: " + ("no wrong pairs" if scores.eer is None else f"{scores.eer:.1%}"),
                      f"queries: {scores.queries}, of these without a match and left out: "
                      f"{scores.queries_without_match}"])


def percents(scores):
    """{"mAP", "rank1", "rank5", "rank10", "rank20", "mINP": per cent}, the keys of the paper's numbers."""
    return {"mAP": 100 * scores.mAP, **{f"rank{rank}": 100 * float(scores.cmc[rank - 1]) for rank in RANKS},
            "mINP": 100 * scores.mINP}


def table(columns):
    """A table of numbers, one decimal, a dash where there is none or NaN.

    Args:
        columns: list of (heading, {metric: number}); the rows are the metrics of the first column.
    """
    widths = [max(len(heading), 6) for heading, _ in columns]
    lines = [" " * 12 + "  ".join(f"{heading:>{width}}" for width, (heading, _) in zip(widths, columns))]
    for metric in columns[0][1]:
        numbers = [values.get(metric, np.nan) for _, values in columns]
        cells = ["-" if np.isnan(number) else f"{number:.1f}" for number in numbers]
        label = metric.replace("rank", "Rank-")
        lines.append(f"  {label:<8}  " + "  ".join(f"{cell:>{width}}" for width, cell in zip(widths, cells)))
    return "\n".join(lines)


def labels(features):
    """{switch: heading} for a feature directory: the paper's names, which mean several parts, or plain ones."""
    if "part" not in branches(features):
        return {"none": "global"}
    return SWITCHES if features.parts.shape[1] > 1 else {switch: switch for switch in SWITCHES}


def tables(protocol, combined, names, scores, headings=SWITCHES):
    """Several switches side by side, several splits one by one, and the paper's numbers, where there are any.

    Args:
        protocol: :class:`stal.protocols.Protocol`.
        combined: {switch: (mean, deviation)} as :func:`stal.metrics.mean_and_deviation` gives them.
        names: of the splits.
        scores: {switch: [scores of each split]}.
        headings: {switch: what to call it}.
    """
    own = [(headings[switch], percents(mean)) for switch, (mean, _) in combined.items()]
    lines = []
    if len(own) > 1:
        mean = ", mean over the splits" if len(names) > 1 else ""
        lines += [f"attention switches, per cent{mean}", table(own)]
    for switch, (mean, deviation) in combined.items() if len(names) > 1 else ():
        columns = [("mean", percents(mean)), ("std", percents(deviation))]
        columns += [(name, percents(one)) for name, one in zip(names, scores[switch])]
        lines += [f"{len(names)} splits, {headings[switch]}, per cent", table(columns)]
    source, published = paper_numbers.comparison(protocol.dataset)
    if not protocol.comparable:
        lines.append(f"paper ({source}): {protocol.dataset} under another protocol, not comparable")
    elif published:
        lines += [f"paper ({source}): {protocol.dataset}, per cent, beside this run",
                  table([(f"this {name}", values) for name, values in own] + list(published.items()))]
    return "\n".join(lines)


def camera_pairs_block(pairs, heading):
    """The two matrices of :class:`stal.metrics.CameraPairs` and their rule."""
    lines = [f"camera pairs, {heading}, per cent. Rows: camid of the query; columns: camid of its matches, those of "
             "other camids skipped; pid -1",
             "counts as wrong, as in MARS-evaluation. In a camid's cell with itself the query is left out. Dash: no such "
             "query"]
    for name, matrix in (("Rank-1", pairs.rank1), ("AP", pairs.AP)):
        lines += [name, table([(str(camid), {f"camid {row}": 100 * value for row, value in zip(pairs.cameras, column)})
                               for camid, column in zip(pairs.cameras, matrix.T)])]
    rank1, ap, cells = pairs.means()
    lines.append("no query has a match under another camid" if not cells else
                 f"cells of two camids: {cells}, their mean: Rank-1 {100 * rank1:.1f}, AP {100 * ap:.1f}")
    return "\n".join(lines)


def reranked_block(combined, reranked, headings, options):
    """Scores with re-ranking beside those without.

    Args:
        combined, reranked: {switch: (mean, deviation)} as :func:`stal.metrics.mean_and_deviation` gives them.
        headings: {switch: what to call it}.
        options: :class:`stal.rerank.Rerank`.
    """
    columns = []
    for switch, (mean, _) in reranked.items():
        columns += [(headings[switch], percents(combined[switch][0])), ("re-ranked", percents(mean))]
    return "\n".join([f"k-reciprocal re-ranking (k1 {options.k1}, k2 {options.k2}, lambda {options.weight:g}), per cent; "
                      "not in the results above, and not what the paper reports", table(columns)])


def json_values(mean, deviation, names, scores):
    """The same for a JSON file; ``std`` is null for a single split."""
    return {**mean.values(), "queries": mean.queries, "queries_without_match": mean.queries_without_match,
            "splits": {"mean": mean.values(), "std": deviation.values() if deviation else None,
                       "per_split": [{"split": name, "queries": one.queries,
                                      "queries_without_match": one.queries_without_match, **one.values()}
                                     for name, one in zip(names, scores)]}}


def plot_cmc(path, curves, title):
    """Draws CMC curves as PNG, atomically; the same curves always give the same bytes.

    Args:
        curves: list of (name, :class:`stal.metrics.Scores`).
    """
    def draw(axes):
        for name, scores in curves:
            axes.plot(np.arange(1, len(scores.cmc) + 1), 100 * scores.cmc,
                      label=f"{scores.cmc[0]:.1%} {name} (mAP {scores.mAP:.1%})")
        axes.set(title=title, xlabel="rank", ylabel="matching rate (%)", xlim=(1, len(curves[0][1].cmc)),
                 ylim=(None, 101))
        axes.grid(alpha=0.4)
        axes.legend(loc="lower right")

    plot(path, (6, 4.5), draw)
