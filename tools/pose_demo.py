"""The pose net on the synthetic set: pre-training, then refinement inside the STAL net. `make demo-pose` runs it.

    python tools/pose_demo.py

Runs `make demo` first if it has not run. Then, in out/demo_pose:

    pose/           the pose net alone, trained on the joints of the training people; PCKh on the held-out people
    joined/         the STAL net with the pose net in the graph (soft-argmax, ROIAlign), started from these weights and the
                    demo's, refined with the re-ID losses alone: no joint is given any more
    results.json    PCKh before and after, rank-1, the losses, how far each pose layer moved

As printed (arg-max and ROI pooling, experiment demo_pose_argmax) no gradient reaches the pose net, and there is nothing to
refine: tests/test_joined_pose.py shows both. A killed run goes on where it stopped.
"""

import argparse
import json
import os
from dataclasses import replace

import numpy as np

from prototxt.experiments import demo as experiment
from prototxt.experiments import experiment as named_experiment
from prototxt.generate import KINDS, text
from prototxt.nets.options import SolverOptions
from stal.distance import SWITCHES
from stal.errors import run
from stal.files import replacing, write_json
from stal.training_log import loss_lines
from tools import demo, pose

OUT = "out/demo_pose"
REFINE = SolverOptions(400, 200, base_lr=0.003, policy=dict(lr_policy="poly", power=1.0))


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args(argv)
    demo.demo(1)
    data, stal_weights = "data/demo", f"out/demo/snapshot_iter_{experiment().solver.max_iter}.caffemodel"
    demo.step("pose net alone")
    pose_weights = demo.train(named_experiment("pose_demo"), f"{OUT}/pose")
    result = {"pose": {"pckh": pckh(pose_weights, data), **losses(f"{OUT}/pose")}}
    demo.step("the pose net in the STAL net, re-ID losses only")
    found = replace(experiment("pose_soft"), solver=REFINE)
    weights = demo.train(found, f"{OUT}/joined", [pose_weights, stal_weights])
    features = demo.extract(weights, f"{data}/test.csv", data, f"{OUT}/joined/features",
                            net=f"prototxt/{found.deploy}.prototxt")
    result["joined"] = {"pckh": pckh(weights, data), "moved": moved(pose_weights, weights), **losses(f"{OUT}/joined"),
                        "rank1": {SWITCHES[switch]: one.values()["cmc"]["1"]
                                  for switch, one in demo.evaluate(features).items()}}
    write_json(f"{OUT}/results.json", result)
    print(summary(result))
    return 0


def pckh(weights, data):
    """{mode: PCKh@0.5 on the held-out people}: joints by arg-max, and by soft-argmax; both are printed by tools/pose.py."""
    result = {}
    for mode in ("ARG_MAX", "SOFT"):
        net, path = f"{OUT}/deploy_{mode}.prototxt", f"{os.path.splitext(weights)[0]}_pckh_{mode}.json"
        with replacing(net) as stream:
            stream.write(text(KINDS["pose"].deploy_net(replace(named_experiment("pose_demo").options, pose=mode))))
        demo.say(f"joints by {mode}:")
        pose.main(["--net", net, "--weights", weights, "--list", f"{data}/test.csv", "--root", data, "--batch", "64",
                   "--score", "--json", path])
        with open(path) as stream:
            result[mode] = json.load(stream)["mean"]
    return result


def losses(folder):
    """Mean total loss of the first and of the last tenth of the log's lines."""
    with open(f"{folder}/train.log") as log:
        totals = np.array([total for _, total in loss_lines(log)["loss"]])
    tenth = max(1, len(totals) // 10)
    return {"first_loss": float(totals[:tenth].mean()), "last_loss": float(totals[-tenth:].mean())}


def moved(before, after):
    """{pose layer: |w' - w| / |w|} of the pose net's weights."""
    from stal.caffe_net import read_weights
    old, new = ({layer.name: np.array(layer.blobs[0].data) for layer in read_weights(path).layer
                 if layer.blobs and "_stage" in layer.name} for path in (before, after))
    return {name: float(np.linalg.norm(new[name] - old[name]) / np.linalg.norm(old[name])) for name in old}


def summary(result):
    """The table that the program ends with."""
    lines = ["", "              PCKh@0.5 by arg-max, soft-argmax   loss first -> last   pose weights moved by   rank-1 STAL"]
    for name, one in result.items():
        by = f"{min(one['moved'].values()):.1e} .. {max(one['moved'].values()):.1e}" if "moved" in one else "-"
        rank1 = f"{one['rank1']['STAL']:.1%}" if "rank1" in one else "-"
        found = f"{one['pckh']['ARG_MAX']:.1%}, {one['pckh']['SOFT']:.1%}"
        lines.append(f"{name:<14}{found:>32}   {one['first_loss']:8.2f} -> {one['last_loss']:<8.2f}   {by:>21}"
                     f"   {rank1:>11}")
    return "\n".join(lines)


if __name__ == "__main__":
    run(main)
