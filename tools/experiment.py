"""Reproduces one table or figure of the paper: plans its runs, trains what is missing, shows the paper's numbers beside.

    python tools/experiment.py fig5 --dataset ilids --plan          # says what there is and what it will cost, and stops
    python tools/experiment.py fig5 --dataset ilids --splits all --weights data/weights/init_ilids.caffemodel
    python tools/experiment.py table5 --dataset mars --weights init_mars.caffemodel resnet50=init_mars_resnet50.caffemodel
    python tools/experiment.py fig10 --dataset synthetic --iterations 200

NAME: table3 .. table7, fig5 .. fig11, occluders; stal/artifacts.py says what each compares. DATASET: ilids, prid, mars
(under data/ as data_prep/README.md says), or synthetic: the demo's people and its small net, if you have no data.

What you get in out/experiments/DATASET/NAME: table.md, figure.png, figure.csv and results.json, which records the command,
the commit, the seed, the machine and the hash of each net's weights. Training runs lie in out/experiments/DATASET/runs and
serve every table and figure that needs them; a killed run goes on where it stopped, a finished one is not run again, and of
a finished one only the last snapshot is kept. table6 trains on --dataset and tests on --test-dataset.

--weights starts every run from a file, copied by name, and the runs of one variant from their own: weights.py init writes
such a file for a net, and a net of another trunk, or QAN's with its auxiliary heads, needs its own.
"""

import argparse
import os
import shlex
import sys

os.environ.setdefault("GLOG_minloglevel", "2")  # before caffe: a net's construction logs thousands of lines

from stal import artifacts, figures, protocols  # noqa: E402
from stal.errors import InputError, run  # noqa: E402
from stal.extraction import commit  # noqa: E402
from stal.features import read_features, read_frames  # noqa: E402
from stal.files import replacing, write_json  # noqa: E402
from stal.metrics import mean_and_deviation  # noqa: E402
from stal.training import is_trained, machine  # noqa: E402
from tools.experiment_runs import (  # noqa: E402
    DATASETS, Run, extracted, folder_of, read_json, recipe, seconds_per_iteration, trained)

OWN_SIZES = {"demo": {"global embedding": 128, "local embedding": 64}}  # of the nets; elsewhere 1024


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", metavar="NAME", help=", ".join(artifacts.ARTIFACTS))
    parser.add_argument("--dataset", required=True, choices=DATASETS)
    parser.add_argument("--test-dataset", choices=DATASETS, help="for table6")
    parser.add_argument("--splits", default="0", help="all, or a comma list (default: %(default)s)")
    parser.add_argument("--iterations", type=int, help="of every training run (default: the paper's)")
    parser.add_argument("--seed", type=int, default=1, help="of weights, batches and the lengths of fig11 (default: 1)")
    parser.add_argument("--weights", nargs="+", default=[], metavar="[VARIANT=]FILE", help=".caffemodel to start from")
    parser.add_argument("--out", default="out/experiments", help="(default: %(default)s)")
    parser.add_argument("--plan", action="store_true", help="only say what would be done")
    options = parser.parse_args(argv)
    dataset = DATASETS[options.dataset]
    artifact = artifacts.get_artifact(options.name).sized(OWN_SIZES.get(dataset.base, {}))
    if dataset.name not in artifact.datasets:
        raise InputError(f"{options.name} is measured on {' or '.join(artifact.datasets)}, not on {dataset.name}: choose "
                         "another --dataset")
    if (options.name == "table6") != bool(options.test_dataset):
        raise InputError("table6 needs --test-dataset, the data set to test on; no other experiment takes it")
    if options.seed < 0:
        raise InputError(f"--seed {options.seed} must be at least 0")
    if options.iterations is not None and options.iterations < 1:
        raise InputError(f"--iterations {options.iterations} must be at least 1")
    options.weights = starts(options.weights, artifact)
    splits = chosen_splits(options.splits, dataset)
    rows = artifact.all_rows()
    runs = list(dict.fromkeys(Run(dataset, row.variant, row.polluted, split) for split in splits for row in rows))
    plan(artifact, runs, options)
    if options.plan:
        return 0
    weights = {one: trained(one, options) for one in runs}
    features = {(one, row.occluders): extracted(one, row.occluders, weights[one], artifact.kind == "lengths", options)
                for one in runs for row in rows if (row.variant, row.polluted) == (one.variant, one.polluted)}
    result = measure(artifact, features, splits, options)
    folder = f"{options.out}/{dataset.name}/{options.name}"
    write_json(f"{folder}/results.json", {**result, **record(argv, options, features)})
    with replacing(f"{folder}/table.md") as stream:
        stream.write(figures.markdown(artifact, result))
    figures.draw(f"{folder}/figure", artifact, result)
    print(f"\n{figures.markdown(artifact, result)}\neverything is in {folder}/")
    return 0


def starts(given, artifact):
    """{variant or None: file} of --weights. InputError for a file that is missing, or a variant that is not trained."""
    result = {}
    for one in given:
        variant, equals, path = one.rpartition("=")
        if equals and variant not in {row.variant or "stal" for row in artifact.all_rows()}:
            raise InputError(f"--weights {one}: {artifact.title} trains no variant {variant}")
        if not os.path.exists(path):
            raise InputError(f"--weights {one}: there is no file {path}; data_prep/weights.py init writes one")
        result[variant if equals else None] = path
    return result


def chosen_splits(chosen, dataset):
    """Indices of the splits; InputError for one that the data set does not have."""
    if chosen == "all":
        return list(range(dataset.splits))
    try:
        splits = sorted({int(one) for one in chosen.split(",")})
    except ValueError:
        splits = [-1]
    if splits[0] < 0 or splits[-1] >= dataset.splits:
        raise InputError(f"--splits {chosen}: {dataset.name} has splits 0 to {dataset.splits - 1}; give all, or a comma "
                         "list of these")
    return splits


def plan(artifact, runs, options):
    """Prints each run with what it costs, as far as an earlier run's log tells."""
    print(f"{artifact.title}, on {options.dataset}: {len(runs)} training runs")
    total, unknown = 0.0, 0
    for one in runs:
        folder = folder_of(one, options)
        net, solver_text, inputs, iterations = recipe(one, options)
        if is_trained(folder, net, solver_text, inputs, iterations):
            print(f"  {folder}: trained")
            continue
        seconds = seconds_per_iteration(one, options)
        unknown += seconds is None
        total += (seconds or 0) * iterations
        cost = f", about {seconds * iterations / 60:.0f} minutes" if seconds else ""
        print(f"  {folder}: {iterations} iterations{cost}")
    if total:
        print(f"  together about {total / 60:.0f} minutes by the speed of earlier runs")
    if unknown:
        print(f"  {unknown} runs of which no log tells the speed yet: the first lines of their train.log will")


def measure(artifact, directories, splits, options):
    """The numbers of the table or figure from the features of each (run, occluders)."""
    tested = DATASETS[options.test_dataset or options.dataset]
    protocol = protocols.get_protocol(tested.protocol)
    said = {"dataset": options.dataset, "test_dataset": options.test_dataset, "splits": len(splits)}
    scores = {}
    for row in artifact.all_rows():
        by_split = []
        for split in splits:
            one = Run(DATASETS[options.dataset], row.variant, row.polluted, split)
            features = read_features(directories[one, row.occluders])
            chosen = protocols.make_split(features, protocol, str(split))
            if artifact.kind == "lengths":
                grid = artifacts.length_grid(features, read_frames(features), protocol, chosen, row, seed=options.seed)
                by_split.append(grid)
            else:
                by_split.append(artifacts.score(features, protocol, chosen, row))
        scores[row.label] = by_split
    if artifact.kind == "lengths":
        grids = next(iter(scores.values()))
        return {**said, "kind": "lengths", "lengths": [length or "all" for length in artifacts.LENGTHS],
                "rank1": (sum(grids) / len(grids)).tolist()}
    values = {}
    for label, by_split in scores.items():
        mean, deviation = mean_and_deviation(by_split)
        values[label] = {**mean.values(), "queries": mean.queries,
                         "rank1_std": float(deviation.cmc[0]) if deviation else None}
    if artifact.kind == "cmc":
        return {**said, "kind": "cmc", "rows": values}
    curves = {name: sorted([x, values[row.label]["cmc"]["1"]] for x, row in points) for name, points in artifact.curves}
    return {**said, "kind": "curve", "curves": curves, "rows": values}


def record(argv, options, directories):
    """What makes a result repeatable."""
    meta = {one: read_features(directory).meta for (one, _), directory in directories.items()}
    return {"command": shlex.join(["python", "tools/experiment.py", *(sys.argv[1:] if argv is None else argv)]),
            "commit": commit(), "seed": options.seed,
            "machine": machine(),
            "runs": {folder_of(one, options): {
                "weights_sha256": values["weights_sha256"], "joints_sha256": values["joints_sha256"],
                "training": read_json(f"{folder_of(one, options)}/run.json")} for one, values in meta.items()}}


if __name__ == "__main__":
    run(main)
