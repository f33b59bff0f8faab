"""The paper's tables and figures from the numbers of tools/experiment.py: Markdown, PNG, and the figure's data as CSV."""

import csv

import numpy as np

from stal.files import replacing
from stal.metrics import RANKS
from stal.paper_numbers import read_paper_numbers



def markdown(artifact, result):
    """The result as Markdown, the paper's numbers beside it where it has any."""
    paper = measured_on(result) == artifact.measured_on  # the same data: only then do the paper's numbers stand beside
    lines = [f"# {artifact.title}", "", f"Measured on {measured_on(result)}, {result['splits']} split(s); per cent."]
    if artifact.source and not paper:
        lines.append(f"The paper's numbers are of {artifact.measured_on}: no comparison.")
    if result["kind"] == "lengths":
        lines += ["", "rank-1; rows: frames of the probe, columns: of the gallery" + "; in brackets the paper's" * paper, ""]
        lines += _grid(result, paper)
    elif result["kind"] == "curve":
        for name, points in result["curves"].items():
            lines += ["", f"{name}:", "", f"| {artifact.xlabel} | " + " | ".join(f"{x:g}" for x, _ in points) + " |",
                      "|---" * (len(points) + 1) + "|",
                      "| rank-1 | " + " | ".join(f"{100 * y:.1f}" for _, y in points) + " |"]
    else:
        lines += ["", *_rows(artifact, result, paper_rows(artifact) if paper else {})]
    return "\n".join(lines) + "\n"


def measured_on(result):
    """DATASET, or DATASET->TEST_DATASET."""
    return "->".join(filter(None, (result["dataset"], result["test_dataset"])))


def _rows(artifact, result, paper):
    metrics = [f"rank{rank}" for rank in RANKS] + ["mAP"]
    heading = [f"Rank-{rank}" for rank in RANKS] + ["mAP"]
    lines = ["| | " + " | ".join(heading) + (" | paper: " + " | paper: ".join(heading) if paper else "") + " |",
             "|---" * (1 + len(heading) * (2 if paper else 1)) + "|"]
    for row in artifact.rows:
        values = result["rows"][row.label]
        cells = [f"{100 * values['cmc'][str(rank)]:.1f}" for rank in RANKS] + [f"{100 * values['mAP']:.1f}"]
        if values["rank1_std"] is not None:
            cells[0] += f" ± {100 * values['rank1_std']:.1f}"
        if paper:
            theirs = paper.get(row.paper, {})
            cells += [f"{theirs[metric]:.1f}" if metric in theirs else "-" for metric in metrics]
        lines.append(f"| {row.label} | " + " | ".join(cells) + " |")
    return lines


def paper_rows(artifact):
    """{method: {metric: per cent}} of the paper's table."""
    rows = {}
    for source, _, method, metric, value in read_paper_numbers():
        if source == artifact.source:
            rows.setdefault(method, {})[metric] = value
    return rows


def paper_grid():
    """{(probe, gallery): per cent} of Fig. 11; lengths as text."""
    grid = {}
    for source, _, _, metric, value in read_paper_numbers():
        if source == "Fig.11":
            words = dict(word.split("=") for word in metric.split()[1:])
            grid[words["probe"], words["gallery"]] = value
    return grid


def _grid(result, beside):
    names, paper = [str(length) for length in result["lengths"]], paper_grid()
    lines = ["| | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for probe, row in zip(names, result["rank1"]):
        cells = [f"{100 * value:.0f}" + (f" ({paper[probe, gallery]:.0f})" if beside else "")
                 for gallery, value in zip(names, row)]
        lines.append(f"| {probe} | " + " | ".join(cells) + " |")
    return lines


def draw(prefix, artifact, result):
    """Writes ``prefix``.png in the form of the paper's figure, and ``prefix``.csv with what is drawn."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4.5), layout="constrained")
    axes = figure.add_subplot(title=f"{artifact.title}\n({measured_on(result)})")
    rows = {"lengths": _draw_grid, "curve": _draw_curves, "cmc": _draw_cmc}[result["kind"]](axes, artifact, result)
    with replacing(f"{prefix}.png", "wb") as stream:
        FigureCanvasAgg(figure).print_png(stream, metadata={"Software": None})
    with replacing(f"{prefix}.csv") as stream:
        csv.writer(stream, lineterminator="\n").writerows(rows)


def _draw_cmc(axes, artifact, result):
    ranks = np.arange(1, max(RANKS) + 1)
    table = [["rank", *result["rows"]]]
    for label, values in result["rows"].items():
        axes.plot(ranks, 100 * np.array(values["cmc_curve"][:len(ranks)]), marker="o", markersize=3,
                  label=f"{100 * values['cmc']['1']:.1f}% {label}")
    for rank in ranks:
        table.append([rank, *(f"{values['cmc_curve'][rank - 1]:.6f}" for values in result["rows"].values())])
    axes.set(xlabel="rank", ylabel="matching rate (%)", xticks=[1, 5, 10, 15, 20])
    axes.grid(alpha=0.4)
    axes.legend(loc="lower right")
    return table


def _draw_curves(axes, artifact, result):
    table = [["curve", artifact.xlabel, "rank1"]]
    for name, points in result["curves"].items():
        axes.plot([x for x, _ in points], [100 * y for _, y in points], marker="o", label=name)
        table += [[name, f"{x:g}", f"{y:.6f}"] for x, y in points]
    axes.set(xlabel=artifact.xlabel, ylabel="rank-1 (%)")
    if artifact.xlabel == "channels":
        axes.set_xscale("log", base=2)
    axes.grid(alpha=0.4)
    axes.legend()
    return table


def _draw_grid(axes, artifact, result):
    names, grid = [str(length) for length in result["lengths"]], np.array(result["rank1"])
    axes.imshow(grid, cmap="viridis")
    for (i, j), value in np.ndenumerate(grid):
        axes.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=7,
                  color="black" if value > (grid.min() + grid.max()) / 2 else "white")
    axes.set(xlabel="gallery sequence length", ylabel="probe sequence length", xticks=range(len(names)), xticklabels=names,
             yticks=range(len(names)), yticklabels=names)
    return [["probe", "gallery", "rank1"], *([names[i], names[j], f"{value:.6f}"] for (i, j), value in np.ndenumerate(grid))]
