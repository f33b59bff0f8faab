"""The paper's numbers, from ``paper_results.csv``: Tables III to VII and Fig. 11, per cent, as printed."""

import csv
from importlib import resources


def read_paper_numbers():
    """Returns:
        list of (source, dataset, method, metric, per cent): source is "III" ... "VII" or "Fig.11"; metric is
        rank1, rank5, rank10, rank20, mAP, or for Fig. 11 ``rank1 probe=N gallery=N``.
    """
    text = resources.files("stal").joinpath("paper_results.csv").read_text(encoding="utf-8")
    return [(row["source"], row["dataset"], row["method"], row["metric"], float(row["value_percent"]))
            for row in csv.DictReader(text.splitlines())]


def comparison(dataset, own=("STAL+ResNet50", "STAL", "Baseline")):
    """The paper's own rows of its comparison table of a data set (III, IV or V).

    Returns:
        (name of the table, {method: {metric: per cent}}), or (None, {}) for a data set without one.
    """
    rows = [row for row in read_paper_numbers() if row[1] == dataset and row[0] in ("III", "IV", "V")]
    methods = {}
    for method in own:
        values = {metric: value for _, _, name, metric, value in rows if name == method}
        if values:
            methods[method] = values
    return (f"Table {rows[0][0]}" if rows else None), methods
