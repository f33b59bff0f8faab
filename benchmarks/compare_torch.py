"""Caffe's losses and gradients against PyTorch's, net by net: does either compute something else?

    python benchmarks/compare_torch.py --torch-python /path/to/python-with-torch                # the demo's variants
    python benchmarks/compare_torch.py --torch-python ... --frames 1 --videos 3 ilids_googlenet mars_resnet50 ilids_qan

NAME is an experiment of ``python -m prototxt.generate --list``. Its training net runs forward and backward once, in the
TRAIN phase, on random frames, noisy joints and triplets of videos: in Caffe here, in PyTorch (torch_net.py) under the
interpreter given, with the same weights. PyTorch computes in float64, and a second time in float32: that column is what
rounding alone does.

Prints a line a net, each number the worst and behind it where:
    loss       relative difference of a loss
    gradient   difference of a parameter's gradient, over its largest absolute value, at Caffe's own activations
    top        difference of a layer's top from Caffe's own bottoms, over its largest absolute value
A parameter whose gradient is 0 but for rounding (a bias before a BatchNorm) is measured against the net's largest
gradient. The biases of QAN's quality branch nearly cancel, so rounding is percents of what they get. A loss of 0 passes
no gradient: the line names it; take another --seed.
"""

import argparse
import json
import os
import subprocess
import tempfile
from dataclasses import replace

from cpu_step import caffe_net, check_torch
from worker import foreign_environment
from stal.errors import InputError, run
from stal.files import replacing

HERE = os.path.dirname(os.path.abspath(__file__))
THREADS = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def compare(name, frames, videos, seed, python):
    """What torch_gradients.py prints of the experiment ``name``, and "idle", the losses that are 0.

    Args:
        frames: of a video; videos: of the batch, a multiple of 3.
    """
    with tempfile.TemporaryDirectory() as folder:
        idle = caffe_step(name, frames, videos, seed, folder)
        result = subprocess.run([python, os.path.join(HERE, "torch_gradients.py"), folder], stdout=subprocess.PIPE,
                                text=True, env=foreign_environment())
    if result.returncode:
        raise InputError(f"PyTorch ended with status {result.returncode} on {name}: its own message is above; if there "
                         "is none, memory ran out, so give fewer --frames or --videos")
    return dict(json.loads(result.stdout), idle=idle)


def caffe_step(name, frames, videos, seed, folder):
    """Leaves a net, its weights and inputs (plain_net.write), and Caffe's blobs and gradients, in ``folder``.

    Returns the names of the losses that are 0.
    """
    import caffe
    import numpy as np
    import plain_net
    from prototxt.experiments import experiment
    from prototxt.generate import KINDS
    found = experiment(name)
    # One triplet a batch: QAN has its contrastive loss only then; the other nets do not read it behind the data layer.
    options = replace(found.options, frames=frames, batch_identities=0)
    proto = plain_net.with_inputs(KINDS[found.kind].train_net(options), frames * videos)
    inputs = plain_net.random_inputs(proto, seed, options.scale, options.width / 4)
    caffe.set_mode_cpu()
    caffe.set_random_seed(seed)
    net = caffe_net(proto, "TRAIN", folder, inputs)
    plain_net.write(folder, proto, {layer: [blob.data for blob in blobs] for layer, blobs in net.params.items()}, inputs)
    net.clear_param_diffs()
    net.forward()
    net.backward()
    arrays = {f"loss:{loss}": net.blobs[loss].data for loss in net.outputs}
    arrays.update({f"blob:{blob}": values.data for blob, values in net.blobs.items()})
    for layer, blobs in net.params.items():
        arrays.update({f"{layer}:{number}": blob.diff for number, blob in enumerate(blobs)})
    with replacing(os.path.join(folder, "caffe.npz"), "wb") as stream:
        np.savez(stream, **arrays)
    return [loss for loss in net.outputs if not net.blobs[loss].data.any()]


def row(name, result):
    """A line of the table."""
    cells = [f"{name:26}"]
    for kind in ("losses", "gradients"):
        pairs = result[kind]
        worst = max(pairs, key=lambda key: pairs[key][0])
        cells.append(f"{pairs[worst][0]:8.1e} {max(pair[1] for pair in pairs.values()):8.1e} {worst:40}")
    worst = max(result["tops"], key=result["tops"].get)
    cells.append(f"{result['tops'][worst]:8.1e} {worst}")
    return " ".join(cells) + "".join(f", {loss} is 0" for loss in result["idle"])


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="(default: pose_demo, demo and all its variants)")
    parser.add_argument("--torch-python", required=True, help="interpreter that has torch and numpy")
    parser.add_argument("--frames", type=int, default=2, help="of a video (default: %(default)s)")
    parser.add_argument("--videos", type=int, default=6, help="of a batch, a multiple of 3 (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of weights and inputs (default: %(default)s)")
    parser.add_argument("--out", help="a JSON file with the differences of every loss and parameter")
    options = parser.parse_args(argv)
    for name, least in (("frames", 1), ("videos", 3)):
        if getattr(options, name) < least:
            raise InputError(f"--{name} {getattr(options, name)} must be at least {least}")
    check_torch(options.torch_python)
    # Read when the libraries are loaded, so before Caffe and NumPy are imported.
    os.environ.update(THREADS, GLOG_minloglevel="2")
    from prototxt.experiments import VARIANTS
    from stal.files import write_json
    names = options.names or ["pose_demo", *("_".join(filter(None, ("demo", variant))) for variant in VARIANTS)]
    print(f"{'net':26} {'loss':>8} {'float32':>8} {'':40} {'gradient':>8} {'float32':>8} {'':40} {'top':>8}")
    results = {}
    for name in names:
        results[name] = compare(name, options.frames, options.videos, options.seed, options.torch_python)
        print(row(name, results[name]), flush=True)
    if options.out:
        write_json(options.out, results)


if __name__ == "__main__":
    run(main)
