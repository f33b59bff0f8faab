"""The whole pipeline on a small synthetic set: data, training, extraction, evaluation, pictures. `make demo` runs it.

    python tools/demo.py                        # seed 1, into out/demo: the net and solver of prototxt/*_demo.prototxt
    python tools/demo.py --seeds 1 2 3          # paired runs over seeds, into out/demo, out/demo_seed2, ...

What you get in out/demo: train.log, loss.png, cmc.png, features/, footage_features/, results.json. A seed decides
everything random: the people and their occluders, the weights at the start, the batches. A killed run goes on where it
stopped, and a finished one only prints its results again.
"""

import argparse
import csv
import os
import shutil
import statistics

import numpy as np

os.environ["GLOG_minloglevel"] = "2"  # before caffe: a net's construction logs thousands of lines

from data_prep import ilids_vid, synthetic  # noqa: E402
from prototxt.experiments import demo as experiment  # noqa: E402
from prototxt.generate import KINDS, text  # noqa: E402
from prototxt.nets.solver import solver  # noqa: E402
from stal import protocols, report  # noqa: E402
from stal.distance import SWITCHES, Metric  # noqa: E402
from stal.errors import run  # noqa: E402
from stal.features import read_features, read_frames  # noqa: E402
from stal.files import write_json  # noqa: E402
from stal.tracklets import read_list  # noqa: E402
from stal.training import PREFIX, write_run  # noqa: E402
from stal.training import train as caffe_train  # noqa: E402

IDENTITIES, TEST_IDENTITIES = 500, 100  # 400 to train on: drawn people cost nothing
FRAMES = 16  # of a tracklet
FOOTAGE = "tests/fixtures/footage"


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1], help="(default: 1)")
    parser.add_argument("--data-only", action="store_true", help="only draw the people and write the lists")
    options = parser.parse_args(argv)
    if options.data_only:
        for seed in options.seeds:
            prepare(seed)
        return 0
    results = {seed: demo(seed) for seed in options.seeds}
    if len(results) > 1:
        print(seeds_table(results))
        write_json("out/demo_seeds.json", {str(seed): result for seed, result in results.items()})
    return 0


def prepare(seed):
    """Draws the people and writes the lists. Returns the folders of the data and of the results."""
    out = "out/demo" if seed == 1 else f"out/demo_seed{seed}"
    data = "data/demo" if seed == 1 else f"data/demo_seed{seed}"
    os.makedirs(out, exist_ok=True)
    step(f"seed {seed}: {IDENTITIES} people, {FRAMES} frames a tracklet, in {data}")
    synthetic.main(["--root", data, "--identities", str(IDENTITIES), "--length", str(FRAMES), str(FRAMES), "--seed",
                    str(seed), "--occluders", "both"])
    pids = sorted({tracklet.pid for tracklet in ilids_vid.find_tracklets(data)})
    write_json(f"{out}/splits.json", [{"train": pids[:-TEST_IDENTITIES], "test": pids[-TEST_IDENTITIES:]}])
    ilids_vid.main(["--root", data, "--splits", f"{out}/splits.json"])
    return data, out


def demo(seed):
    """One run. Returns what results.json holds: CMC and mAP by switch on the held-out people, and on the footage."""
    data, out = prepare(seed)
    step("training")
    weights = train(experiment(data=data, seed=seed), out)
    features = extract(weights, f"{data}/test.csv", data, f"{out}/features")
    step("held-out synthetic people: CMC of the paper's switches")
    scores = evaluate(features, out)
    seen = attention_and_occlusion(features, data)
    print("correlation of 1 - score with the hidden fraction of the part: "
          + ", ".join(f"{part} {value:.2f}" for part, value in seen.items()))
    step("the same weights on real pictures: six people of one camera, halves as pseudo-cameras (no accuracy claim)")
    shutil.copytree(FOOTAGE, f"{out}/footage", dirs_exist_ok=True)
    ilids_vid.main(["--root", f"{out}/footage"])
    real = extract(weights, f"{out}/footage/all.csv", f"{out}/footage", f"{out}/footage_features")
    real_scores = evaluate(real)
    result = {"synthetic": values(scores), "footage": values(real_scores), "chance": chance(features),
              "attention_and_occlusion": seen, "seed": seed, "meta": read_features(features).meta}
    write_json(f"{out}/results.json", result)
    print(f"\nchance rank-1 on the synthetic people: {result['chance']:.1%}; everything is in {out}/")
    return result


def train(experiment, out, weights=()):
    """Trains an experiment in the folder ``out``, from ``weights`` if they are given. Returns the last weights' path."""
    net = KINDS[experiment.kind].train_net(experiment.options)
    with_paths = solver(f"{out}/train.prototxt", f"{out}/{PREFIX}", experiment.solver)
    lists = experiment.options.lists or experiment.options.data
    write_run(out, text(net), text(with_paths), [f"{lists}/train.csv", f"{lists}/train_joints.npy", *weights])
    return caffe_train(out, experiment.solver.max_iter, weights, say)


def extract(weights, list_path, root, out, net="prototxt/deploy_demo.prototxt"):
    from stal.caffe_net import FrameNet
    from stal.extraction import extract as extract_features
    extract_features(FrameNet(net, weights), net, weights, list_path, root, out, batch=64, keep_frames=True)
    return out


def evaluate(directory, out=None):
    """Scores of the four switches, printed side by side; the CMC plot goes into ``out``."""
    features = read_features(directory)
    protocol = protocols.get_protocol("ilids")
    split = protocols.make_split(features, protocol)
    metrics = [Metric(switch, 0.3, features.meta["attention_norm"]) for switch in SWITCHES]
    scores = dict(zip(SWITCHES, protocols.evaluate(features, protocol, split, metrics)))
    print(report.table([(SWITCHES[switch], report.percents(one)) for switch, one in scores.items()]), flush=True)
    if out:
        report.plot_cmc(f"{out}/cmc.png", [(SWITCHES[switch], one) for switch, one in scores.items()],
                        "held-out synthetic people")
    return scores


def attention_and_occlusion(directory, data):
    """{part: Pearson correlation, over the frames, of 1 - score with the truly hidden fraction of the part's box}."""
    scores = read_frames(read_features(directory)).attention
    with open(f"{data}/occlusion.csv", newline="") as stream:
        header, *rows = csv.reader(stream)
    hidden = {row[0]: [float(value) for value in row[1:]] for row in rows}
    truth = np.array([hidden[frame] for tracklet in read_list(f"{data}/test.csv") for frame in tracklet.frames])
    return {part: float(np.corrcoef(1 - scores[:, r], truth[:, r])[0, 1]) for r, part in enumerate(header[1:])}


def values(scores):
    return {SWITCHES[switch]: one.values() for switch, one in scores.items()}


def chance(directory):
    """Rank-1 of a random order: one match among the gallery's tracklets."""
    features = read_features(directory)
    return 1 / int((features.camids == 1).sum())


def seeds_table(results):
    """Rank-1 of each seed and switch, STAL - Baseline, mean and sample deviation, in per cent."""
    names = list(SWITCHES.values())
    rows = {seed: [100 * result["synthetic"][name]["cmc"]["1"] for name in names] for seed, result in results.items()}
    lines = ["", "rank-1 (%)  " + "".join(f"{name:>10}" for name in names) + "   STAL - Baseline"]
    differences = [row[names.index("STAL")] - row[names.index("Baseline")] for row in rows.values()]
    for (seed, row), difference in zip(rows.items(), differences):
        lines.append(f"seed {seed:<7}" + "".join(f"{value:10.1f}" for value in row) + f"{difference:+18.1f}")
    columns = [*zip(*rows.values()), differences]
    for name, function in (("mean", statistics.mean), ("deviation", statistics.stdev)):
        lines.append(f"{name:<12}" + "".join(f"{function(column):10.1f}" for column in columns[:-1])
                     + f"{function(columns[-1]):+18.1f}")
    return "\n".join(lines)


def step(text_):
    say(f"\n== {text_}")


def say(text_):
    print(text_, flush=True)


if __name__ == "__main__":
    run(main)
