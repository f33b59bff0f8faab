"""One training run of an experiment: where it lies, its net and solver, its data; training it, extracting with it.

``options`` are the parsed arguments of tools/experiment.py: out, iterations, seed, test_dataset, and ``weights``, a dict
{variant or None: .caffemodel to start from}.
"""

import functools
import glob
import json
import os
import re
import shutil
from dataclasses import replace
from typing import NamedTuple

from data_prep import ilids_vid, mars, pollute, prid2011, synthetic
from prototxt.experiments import experiment
from prototxt.generate import KINDS, text
from prototxt.nets.solver import solver
from stal.extraction import file_sha256
from stal.features import read_features
from stal.files import replacing, write_json
from stal.tracklets import joints_path, read_list
from stal.training import PREFIX, train, write_run
from tools import demo


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


class Run(NamedTuple):
    """One training run."""

    dataset: Dataset
    variant: str
    polluted: bool
    split: int


def folder_of(one, options):
    """Where a run lies; another number of iterations, seed or start is another run."""
    changes = [f"{options.iterations}it" if options.iterations else "", f"seed{options.seed}" if options.seed != 1 else "",
               "polluted" if one.polluted else "", *(f"from_{file_sha256(path)[:8]}" for path in start_of(one, options))]
    name = "_".join(filter(None, [one.variant or "stal", *changes]))
    return f"{options.out}/{one.dataset.name}/runs/{name}/split{one.split}"


def start_of(one, options):
    """The list of the file that the run starts from, or an empty one."""
    path = options.weights.get(one.variant or "stal", options.weights.get(None))
    return [path] if path else []


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


def recipe(one, options):
    """Net, solver and inputs of the run, as stal/training.py takes them, and its number of iterations."""
    found, folder = planned(one, options), folder_of(one, options)
    return (text(KINDS[found.kind].train_net(found.options)),
            text(solver(f"{folder}/train.prototxt", f"{folder}/{PREFIX}", found.solver)),
            [f"{lists_of(one)}/train.csv", f"{lists_of(one)}/train_joints.npy", *start_of(one, options)],
            found.solver.max_iter)


def root_of(one):
    return one.dataset.root + ("_polluted" if one.polluted else "")


def lists_of(one):
    """Folder of the split's tracklet lists."""
    return f"{root_of(one)}/lists/split{one.split}" if one.dataset.prepare else root_of(one)


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
    prepare(one.dataset, one.polluted, one.split)
    found, folder = planned(one, options), folder_of(one, options)
    net, solver_text, inputs, iterations = recipe(one, options)
    write_run(folder, net, solver_text, inputs)
    with replacing(f"{folder}/deploy.prototxt") as stream:
        stream.write(text(KINDS[found.kind].deploy_net(found.options)))
    weights = train(folder, iterations, start_of(one, options), demo.say)
    for path in glob.glob(f"{glob.escape(folder)}/{PREFIX}_iter_*"):  # a full net's is 1 GB
        if path != weights:
            os.remove(path)
    return weights


def extracted(one, occluders, weights, keep_frames, options):
    """Features of the test persons by these weights; those of other weights, lists or joints are replaced.

    Returns their directory.
    """
    from stal.caffe_net import FrameNet
    from stal.extraction import extract
    folder = folder_of(one, options)
    if occluders:
        root, list_path = occluded_people(occluders)
    else:
        tested = one._replace(dataset=DATASETS[options.test_dataset]) if options.test_dataset else one
        prepare(tested.dataset, tested.polluted, tested.split)
        root, list_path = root_of(tested), f"{lists_of(tested)}/test.csv"
    features = "_".join(filter(None, (f"{folder}/features", options.test_dataset, occluders)))
    net = f"{folder}/deploy.prototxt"
    if os.path.isdir(features):
        meta = read_features(features).meta
        wanted = {"weights_sha256": file_sha256(weights), "list_sha256": file_sha256(list_path)}
        if meta["joints_sha256"]:  # the net reads joints
            wanted["joints_sha256"] = file_sha256(joints_path(list_path))
        if all(meta[key] == value for key, value in wanted.items()) and (
                os.path.isdir(f"{features}/frames") or not keep_frames):
            return features
        shutil.rmtree(features)
    extract(FrameNet(net, weights), net, weights, list_path, root, features, batch=32, keep_frames=keep_frames)
    return features


def occluded_people(kind):
    """Draws people whom no net was trained on, every tracklet with this kind of occluder. Returns root and list."""
    root = f"data/demo_{kind}"
    synthetic.main(["--root", root, "--identities", str(demo.TEST_IDENTITIES), "--length", str(demo.FRAMES),
                    str(demo.FRAMES), "--seed", "1001", "--occluders", kind, "--persistent-share", "1"])
    if not os.path.exists(f"{root}/all.csv"):
        ilids_vid.main(["--root", root])
    return root, f"{root}/all.csv"


@functools.cache  # every image is read to check it: once a process is enough
def prepare(dataset, polluted, split):
    """Writes the polluted frames and the split's lists, where they are not there yet or were made of other joints."""
    one = Run(dataset, "", polluted, split)
    if dataset.prepare is None:
        demo.prepare(1)
    if polluted:
        pollute.main(["--root", dataset.root, "--out", root_of(one)])
    if dataset.prepare is None:  # the polluted copy has its lists too
        return
    stamp, sources = f"{lists_of(one)}/made_of.json", {path: file_sha256(path) for path in sources_of(root_of(one))}
    if not os.path.exists(f"{lists_of(one)}/test.csv") or read_json(stamp) != sources:
        options = ["--split", str(split)] if dataset.splits > 1 else []
        dataset.prepare.main(["--root", root_of(one), "--lists", lists_of(one), *options])
        write_json(stamp, sources)


def sources_of(root):
    """What lists are made of beside the pictures: joints and splits."""
    return sorted(glob.glob(f"{glob.escape(root)}/joints.csv") + glob.glob(f"{glob.escape(root)}/splits_*.json")
                  + glob.glob(f"{glob.escape(root)}/train-test people splits/*.mat"))


def read_json(path):
    """A JSON file's value, or None where there is none."""
    if not os.path.exists(path):
        return None
    with open(path, encoding="utf-8") as stream:
        return json.load(stream)
