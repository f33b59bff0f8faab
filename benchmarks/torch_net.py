"""A Caffe net in PyTorch, from the files of plain_net.py. It needs PyTorch and NumPy, and no Caffe.

    python benchmarks/torch_net.py FOLDER step|extract --threads N

is what cpu_step.py starts: it prints the versions as a line of JSON, then for each line that it reads,
``nchw`` or ``channels_last``, does one training step (forward, backward; no update) or one forward pass in
test mode in that memory layout and prints {"ms": ..., "norms": {output blob: its L2 norm}}.
"""

import argparse
import json
import os
import sys
import time
from dataclasses import dataclass
from typing import Callable

import numpy as np
import torch
import torch.nn.functional as F

from torch_layers import LAYERS


@dataclass
class Step:
    """One call in the net."""

    function: Callable
    param: dict
    bottom: list
    top: list
    blobs: list    # parameters
    loss_weight: list
    done: tuple    # blobs that nothing reads after this step


class BatchNormScale:
    """Caffe's BatchNorm and the Scale with bias behind it, in one call as PyTorch has them.

    Caffe stores sums: mean and variance are the first two blobs divided by the third, which a training pass
    makes ``fraction`` times itself plus 1. That is PyTorch's running average with a momentum of 1 over it.
    """

    def __init__(self, param, mean, variance, factor, training):
        self.factor = float(factor[0])
        self.fraction, self.eps = param["moving_average_fraction"], param["eps"]
        self.training = training and not param["use_global_stats"]
        self.mean, self.variance = (blob / self.factor if self.factor else torch.zeros_like(blob)
                                    for blob in (mean, variance))

    def __call__(self, param, bottoms, blobs):
        if self.training:
            self.factor = self.factor * self.fraction + 1
        return [F.batch_norm(bottoms[0], self.mean, self.variance, *blobs, self.training,
                             1 / self.factor if self.training else 0.0, self.eps)]


class TorchNet:
    """A net; ``parameters`` is {layer: [tensor, ...]} of what is learned, with its gradients in ``.grad``."""

    def __init__(self, layers, arrays, training, channels_last=False, dtype=torch.float32, functions=LAYERS):
        """Builds the net.

        Args:
            layers: of net.json; arrays: of arrays.npz.
            training: Caffe's TRAIN phase: BatchNorm takes the batch's statistics, parameters want gradients.
            functions: the layers by type, as LAYERS.
        Raises:
            NotImplementedError: a layer, an option, or a BatchNorm without a Scale that is not built here.
        """
        self._format = torch.channels_last if channels_last else torch.contiguous_format
        self._dtype, self._training, self._functions = dtype, training, functions
        self.parameters, self.statistics, self._steps = {}, {}, []
        layers = [layer for layer in layers if layer["type"] != "Input"]
        while layers:
            self._steps.append(self._step(layers, arrays))
        self._find_last_readers()

    def tensor(self, array):
        """An array as a tensor of the net's type and memory layout."""
        made = torch.tensor(array, dtype=self._dtype)
        return made.contiguous(memory_format=self._format) if made.dim() == 4 else made

    def inputs(self, arrays):
        """What the net is fed with, of arrays.npz: {blob: tensor}."""
        return {name.removeprefix("input:"): self.tensor(array)
                for name, array in arrays.items() if name.startswith("input:")}

    def run(self, inputs, keep_all=False):
        """Forward. inputs: {blob: tensor}. Returns {blob: tensor} of the outputs, or of all blobs.

        Of blobs that Caffe computes in place the last state is there. The blob between BatchNorm and Scale is
        not computed: under its name lies what the convolution gave.
        """
        blobs = dict(inputs)
        for step in self._steps:
            tops = step.function(step.param, [blobs[name] for name in step.bottom], step.blobs)
            blobs.update(zip(step.top, tops))
            for name in () if keep_all else step.done:
                del blobs[name]
        return blobs

    def loss(self, blobs):
        """The weighted sum of the losses."""
        return sum(weight * blobs[top]
                   for step in self._steps for top, weight in zip(step.top, step.loss_weight))

    def clear_gradients(self):
        for blob in self._learned():
            blob.grad = None

    def _learned(self):
        return (blob for blobs in self.parameters.values() for blob in blobs)

    def _step(self, layers, arrays):
        """Takes the first layer, or BatchNorm and its Scale, from ``layers``."""
        layer = layers.pop(0)
        top, name, function = layer["top"], layer["name"], self._functions.get(layer["type"])
        if layer["type"] == "BatchNorm":
            scale = layers.pop(0) if layers else layer
            if scale["type"] != "Scale" or scale["bottom"] != layer["top"] or not scale["param"]["bias_term"]:
                raise NotImplementedError(f"{name} must be followed by a Scale with bias_term")
            stored = [self.tensor(blob) for blob in _blobs(arrays, name)]
            function = self.statistics[name] = BatchNormScale(layer["param"], *stored, self._training)
            top, name = scale["top"], scale["name"]
        if function is None:
            raise NotImplementedError(f"layer {name} has the type {layer['type']}")
        blobs = [self.tensor(blob).requires_grad_(self._training) for blob in _blobs(arrays, name)]
        if blobs:
            self.parameters[name] = blobs
        loss_weight = layer["loss_weight"] or [1] * layer["type"].endswith("Loss")
        return Step(function, layer["param"], layer["bottom"], top, blobs, loss_weight, ())

    def _find_last_readers(self):
        later = set()
        for step in reversed(self._steps):
            step.done = tuple(set(step.bottom) - set(step.top) - later)
            later.update(step.bottom, step.top)


def _blobs(arrays, name):
    result = []
    while f"{name}:{len(result)}" in arrays:
        result.append(arrays[f"{name}:{len(result)}"])
    return result


def read(folder):
    """Layers and arrays of a folder that plain_net.write filled."""
    with open(os.path.join(folder, "net.json"), encoding="utf-8") as stream:
        layers = json.load(stream)["layers"]
    with np.load(os.path.join(folder, "arrays.npz"), allow_pickle=False) as stored:
        return layers, dict(stored)


def train_step(net, inputs):
    """Forward and backward from gradients of nothing. Returns the output blobs."""
    net.clear_gradients()
    blobs = net.run(inputs)
    net.loss(blobs).backward()
    return blobs


def extract(net, inputs):
    """Forward without the graph that a backward pass would need. Returns the output blobs."""
    with torch.inference_mode():
        return net.run(inputs)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("work", choices=("step", "extract"))
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    layers, arrays = read(options.folder)
    work, nets = {"step": train_step, "extract": extract}[options.work], {}
    print(json.dumps({"torch": torch.__version__, "torch_threads": torch.get_num_threads(),
                      "torch_kernels": torch.backends.cpu.get_cpu_capability()}), flush=True)
    for line in sys.stdin:
        layout = line.strip()
        if layout not in nets:
            net = TorchNet(layers, arrays, options.work == "step", layout == "channels_last")
            nets[layout] = net, net.inputs(arrays)
        start = time.perf_counter()
        blobs = work(*nets[layout])
        ms = 1000 * (time.perf_counter() - start)
        norms = {name: blob.detach().norm().item() for name, blob in blobs.items()}
        print(json.dumps({"ms": ms, "norms": norms}), flush=True)


if __name__ == "__main__":
    main()
