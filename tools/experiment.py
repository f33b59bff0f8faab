"""Reproduces one table or figure of the paper: plans its runs, trains what is missing, shows the paper's numbers beside.

    python tools/experiment.py fig5 --dataset ilids --plan          # says what there is and what it will cost, and stops
    python tools/experiment.py fig5 --dataset ilids --splits all --weights data/weights/init_ilids.caffemodel
    python tools/experiment.py fig10 --dataset synthetic --iterations 200

NAME: table3 .. table7, fig5 .. fig11, occluders; stal/artifacts.py says what each compares. DATASET: ilids, prid, mars
(under data/ as data_prep/README.md says), or synthetic: the demo's people and its small net, if you have no data.

What you get in out/experiments/DATASET/NAME: table.md, figure.png, figure.csv and results.json, which records the command,
the commit, the seed, the machine and the hash of each net's weights. Training runs lie in out/experiments/DATASET/runs and
serve every experiment that needs them; a killed run goes on where it stopped, a finished one is not run again.
table6 trains on --dataset and tests on --test-dataset.
"""

import argparse
import glob
import os
import platform
import re
import shlex
import shutil
import sys
from dataclasses import replace
from typing import NamedTuple

os.environ.setdefault("GLOG_minloglevel", "2")  # before caffe: a net's construction logs thousands of lines

from data_prep import ilids_vid, mars, pollute, prid2011, synthetic  # noqa: E402
from prototxt.experiments import experiment  # noqa: E402
from prototxt.generate import KINDS, text  # noqa: E402
from prototxt.nets.solver import solver  # noqa: E402
from stal import artifacts, figures, protocols  # noqa: E402
from stal.errors import InputError, run  # noqa: E402
from stal.features import read_features, read_frames  # noqa: E402
from stal.files import replacing, write_json  # noqa: E402
from stal.metrics import mean_and_deviation  # noqa: E402
from stal.tracklets import read_list  # noqa: E402
from stal.training import PREFIX, train, write_run  # noqa: E402
from tools import demo  # noqa: E402


class Dataset(NamedTuple):
    """Where a data set lies and how it is evaluated."""

    name: str
    base: str       # of prototxt/experiments.py
    protocol: str   # of stal/protocols.py
    root: str
    prepare: object  # program of data_prep/, or None for the synthetic set
    splits: int


DATASETS = {dataset.name: dataset for dataset in (
    Dataset("ilids", "ilids", "ilids", "data/ilids", ilids_vid, 10),
    Dataset("prid", "prid", "prid", "data/prid", prid2011, 10),
    Dataset("mars", "mars", "mars", "data/mars", mars, 1),
    Dataset("synthetic", "demo", "ilids", "data/demo", None, 1),
)}
OWN_SIZES = {"global embedding": {"demo": 128}, "local embedding": {"demo": 64}}  # elsewhere 1024


class Run(NamedTuple):
    """One training run."""

    dataset: Dataset
    variant: str
    polluted: bool
    split: int


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", metavar="NAME", help=", ".join(artifacts.ARTIFACTS))
    parser.add_argument("--dataset", required=True, choices=DATASETS)
    parser.add_argument("--test-dataset", choices=DATASETS, help="for table6")
    parser.add_argument("--splits", default="0", help="all, or a comma list (default: %(default)s)")
    parser.add_argument("--iterations", type=int, help="of every training run (default: the paper's)")
    parser.add_argument("--seed", type=int, default=1, help="of weights, batches and the lengths of fig11 (default: 1)")
    parser.add_argument("--weights", help=".caffemodel that every run starts from, copied by name")
    parser.add_argument("--out", default="out/experiments", help="(default: %(default)s)")
    parser.add_argument("--plan", action="store_true", help="only say what would be done")
    options = parser.parse_args(argv)
    artifact = artifacts.get_artifact(options.name)
    dataset = DATASETS[options.dataset]
    if dataset.name not in artifact.datasets:
        raise InputError(f"{options.name} is measured on {' or '.join(artifact.datasets)}, not on {dataset.name}: choose "
                         "another --dataset")
    if (options.name == "table6") != bool(options.test_dataset):
        raise InputError("table6 needs --test-dataset, the data set to test on; no other experiment takes it")
    if options.iterations is not None and options.iterations < 1:
        raise InputError(f"--iterations {options.iterations} must be at least 1")
    splits = chosen_splits(options.splits, dataset)
    rows = artifact.all_rows()
    runs = list(dict.fromkeys(Run(dataset, row.variant, row.polluted, split) for split in splits for row in rows))
    plan(artifact, runs, options)
    if options.plan:
        return 0
    weights = {one: trained(one, options) for one in runs}
    features = {(one, row.occluders): extracted(one, row.occluders, weights[one], options)
                for one in runs for row in rows if (row.variant, row.polluted) == (one.variant, one.polluted)}
    result = measure(artifact, features, splits, options)
    folder = f"{options.out}/{dataset.name}/{options.name}"
    write_json(f"{folder}/results.json", {**result, **record(argv, options, features)})
    with replacing(f"{folder}/table.md") as stream:
        stream.write(figures.markdown(artifact, result))
    figures.draw(f"{folder}/figure", artifact, result)
    print(f"\n{figures.markdown(artifact, result)}\neverything is in {folder}/")
    return 0


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


def folder_of(one, options):
    """Where a run lies; another number of iterations, seed or start is another run."""
    changes = [f"{options.iterations}it" if options.iterations else "", f"seed{options.seed}" if options.seed != 1 else "",
               "polluted" if one.polluted else "", "started" if options.weights else ""]
    name = "_".join(filter(None, [one.variant or "stal", *changes]))
    return f"{options.out}/{one.dataset.name}/runs/{name}/split{one.split}"


def planned(one, options):
    """The run's experiment, for its lists, seed and iterations."""
    found = experiment("_".join(filter(None, (one.dataset.base, one.variant))))
    changes = dict(data=root_of(one), lists=lists_of(one), seed=options.seed)
    if os.path.exists(f"{lists_of(one)}/train.csv"):
        changes["identities"] = len({tracklet.pid for tracklet in read_list(f"{lists_of(one)}/train.csv")})
    solver_options = replace(found.solver, random_seed=options.seed)
    if options.iterations:
        solver_options = replace(solver_options, max_iter=options.iterations,
                                 snapshot=min(found.solver.snapshot, options.iterations))
    return replace(found, options=replace(found.options, **changes), solver=solver_options)


def root_of(one):
    return one.dataset.root + ("_polluted" if one.polluted else "")


def lists_of(one):
    """Folder of the split's tracklet lists."""
    return f"{root_of(one)}/lists/split{one.split}" if one.dataset.prepare else root_of(one)


def plan(artifact, runs, options):
    """Prints each run with what it costs, as far as an earlier run's log tells."""
    print(f"{artifact.title}, on {options.dataset}: {len(runs)} training runs")
    total, unknown = 0.0, 0
    for one in runs:
        folder, iterations = folder_of(one, options), planned(one, options).solver.max_iter
        done = os.path.exists(f"{folder}/{PREFIX}_iter_{iterations}.caffemodel")
        seconds = None if done else seconds_per_iteration(one, options)
        unknown += seconds is None and not done
        total += (seconds or 0) * iterations
        cost = "trained" if done else f"{iterations} iterations" + (
            f", about {seconds * iterations / 60:.0f} minutes" if seconds else "")
        print(f"  {folder}: {cost}")
    if total:
        print(f"  together about {total / 60:.0f} minutes by the speed of earlier runs")
    if unknown:
        print(f"  {unknown} runs of which no log tells the speed yet: the first lines of their train.log will")


def seconds_per_iteration(one, options):
    """By the logs of the variant's runs on the data set, or None."""
    logs = f"{glob.escape(options.out)}/{one.dataset.name}/runs/{one.variant or 'stal'}*/split*/train.log"
    for path in sorted(glob.glob(logs)):
        with open(path) as log:
            speeds = [float(speed) for speed in re.findall(r"\(([0-9.]+) iter/s", log.read()) if float(speed) > 0]
        if speeds:
            return sum(1 / speed for speed in speeds) / len(speeds)
    return None


def trained(one, options):
    """Prepares and trains a run, as far as that is not done. Returns the last weights' path."""
    demo.step(folder_of(one, options))
    prepare(one)
    found, folder = planned(one, options), folder_of(one, options)
    start = [options.weights] if options.weights else []
    write_run(folder, text(KINDS[found.kind].train_net(found.options)),
              text(solver(f"{folder}/train.prototxt", f"{folder}/{PREFIX}", found.solver)),
              [f"{lists_of(one)}/train.csv", *start])
    with replacing(f"{folder}/deploy.prototxt") as stream:
        stream.write(text(KINDS[found.kind].deploy_net(found.options)))
    return train(folder, found.solver.max_iter, start, demo.say)


def extracted(one, occluders, weights, options):
    """Features of the test persons by these weights; those of other weights are replaced. Returns their directory."""
    from stal.caffe_net import FrameNet
    from stal.extraction import extract, file_sha256
    folder = folder_of(one, options)
    if occluders:
        root, list_path = occluded_people(occluders)
    else:
        tested = one._replace(dataset=DATASETS[options.test_dataset]) if options.test_dataset else one
        prepare(tested)
        root, list_path = root_of(tested), f"{lists_of(tested)}/test.csv"
    features = "_".join(filter(None, (f"{folder}/features", options.test_dataset, occluders)))
    if os.path.isdir(features):
        meta = read_features(features).meta
        if (meta["weights_sha256"], meta["list_sha256"]) == (file_sha256(weights), file_sha256(list_path)):
            return features
        shutil.rmtree(features)
    net = f"{folder}/deploy.prototxt"
    extract(FrameNet(net, weights), net, weights, list_path, root, features, batch=32, keep_frames=True)
    return features


def occluded_people(kind):
    """Draws people whom no net was trained on, every tracklet with this kind of occluder. Returns root and list."""
    root = f"data/demo_{kind}"
    synthetic.main(["--root", root, "--identities", str(demo.TEST_IDENTITIES), "--length", str(demo.FRAMES),
                    str(demo.FRAMES), "--seed", "1001", "--occluders", kind, "--persistent-share", "1"])
    if not os.path.exists(f"{root}/all.csv"):
        ilids_vid.main(["--root", root])
    return root, f"{root}/all.csv"


def prepare(one):
    """Writes the polluted frames and the split's lists, where they are not there yet."""
    if one.dataset.prepare is None:
        demo.prepare(1)
    if one.polluted:
        pollute.main(["--root", one.dataset.root, "--out", root_of(one)])
    if not os.path.exists(f"{lists_of(one)}/test.csv"):
        split = ["--split", str(one.split)] if one.dataset.splits > 1 else []
        one.dataset.prepare.main(["--root", root_of(one), "--lists", lists_of(one), *split])


def measure(artifact, directories, splits, options):
    """The numbers of the table or figure from the features of each (run, occluders)."""
    tested = DATASETS[options.test_dataset or options.dataset]
    protocol = protocols.get_protocol(tested.protocol)
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
        return {"kind": "lengths", "lengths": [length or "all" for length in artifacts.LENGTHS],
                "rank1": (sum(grids) / len(grids)).tolist(), "splits": len(splits)}
    values = {}
    for label, by_split in scores.items():
        mean, deviation = mean_and_deviation(by_split)
        values[label] = {**mean.values(), "queries": mean.queries,
                         "rank1_std": float(deviation.cmc[0]) if deviation else None}
    if artifact.kind == "cmc":
        return {"kind": "cmc", "rows": values, "splits": len(splits)}
    base = DATASETS[options.dataset].base
    curves = {name: [[OWN_SIZES.get(name, {}).get(base, 1024) if x is None else x, values[row.label]["cmc"]["1"]]
                     for x, row in points] for name, points in artifact.curves}
    return {"kind": "curve", "curves": {name: sorted(points) for name, points in curves.items()}, "rows": values,
            "splits": len(splits)}


def record(argv, options, directories):
    """What makes a result repeatable."""
    meta = {one: read_features(directory).meta for (one, _), directory in directories.items()}
    return {"command": shlex.join(["python", "tools/experiment.py", *(sys.argv[1:] if argv is None else argv)]),
            "commit": next(iter(meta.values()))["commit"], "seed": options.seed,
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
            "weights": {folder_of(one, options): values["weights_sha256"] for one, values in meta.items()}}


if __name__ == "__main__":
    run(main)
