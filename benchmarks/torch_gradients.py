"""Compares Caffe's step in a folder of compare_torch.py with PyTorch's. It needs PyTorch and NumPy, and no Caffe.

    python benchmarks/torch_gradients.py FOLDER

is what compare_torch.py starts. It prints a line of JSON, all differences from PyTorch in float64:
    losses       {blob: [of Caffe, of float32]}, relative; a loss of 0 has its absolute difference
    tops         {blob: of Caffe}, of a layer's top from Caffe's bottoms, the largest over the largest absolute value
    gradients    {"LAYER:N": [of Caffe, of float32]}, the largest over the largest absolute value
    zero         the "LAYER:N" whose gradient is 0, or below 1e-9 of the net's largest: theirs are over the net's largest

The losses come from a forward pass of PyTorch's own. For tops and gradients each blob gets Caffe's value once its last
layer has computed it, and a ReLU lets through what Caffe's did. Otherwise rounding decides a few maxima and ReLUs in a
deep net the other way, and each moves some filter's gradient by percents.
"""

import argparse
import json
import math
import os

import numpy as np
import torch

from torch_layers import LAYERS
from torch_net import TorchNet, read, train_step


class Guided:
    """A layer whose tops get Caffe's values and keep their own gradients. ``param["last"]``: tops no later layer writes."""

    def __init__(self, function, caffe, tops):
        """caffe: the arrays of caffe.npz; tops: a dict that gets the differences."""
        self._function, self._caffe, self._tops = function, caffe, tops

    def __call__(self, param, bottoms, blobs):
        relu = self._function is LAYERS["ReLU"]
        computed = self._function(param, [bottom.clone() for bottom in bottoms] if relu else bottoms, blobs)
        result = list(computed)
        for number, name in enumerate(param["last"]):
            if not name:
                continue
            value = torch.from_numpy(self._caffe[f"blob:{name}"]).to(computed[number]).reshape_as(computed[number])
            self._tops[name] = _difference(value, computed[number].detach())
            slope = torch.where(value > 0, 1, param["negative_slope"]) * bottoms[0] if relu else computed[number]
            result[number] = value + (slope - slope.detach())
        return result


def losses(layers, arrays, names, dtype):
    """{blob: loss}, as tensors, of a forward pass."""
    net = TorchNet(layers, arrays, True, dtype=dtype)
    with torch.no_grad():
        blobs = net.run(net.inputs(arrays))
    return {name: blobs[name] for name in names}


def gradients(layers, arrays, caffe, dtype):
    """Of a guided step: {"LAYER:N": tensor}, zeros where there is none, and the tops' differences."""
    tops = {}
    net = TorchNet(layers, arrays, True, dtype=dtype,
                   functions={kind: Guided(function, caffe, tops) for kind, function in LAYERS.items()})
    train_step(net, net.inputs(arrays))
    return {f"{layer}:{number}": torch.zeros_like(blob) if blob.grad is None else blob.grad
            for layer, parameters in net.parameters.items() for number, blob in enumerate(parameters)}, tops


def compare(layers, arrays, caffe):
    """The dict that is printed. caffe: of caffe.npz, "blob:BLOB" of all blobs, "loss:BLOB", "LAYER:N" gradients."""
    written = set()
    for layer in reversed(layers):
        layer["param"]["last"] = [name if name not in written else "" for name in layer["top"]]
        written.update(layer["top"])
    names = [name.removeprefix("loss:") for name in caffe if name.startswith("loss:")]
    result = {"losses": {}, "gradients": {}, "zero": []}
    exact, single = (losses(layers, arrays, names, dtype) for dtype in (torch.float64, torch.float32))
    for name, value in exact.items():
        result["losses"][name] = [_difference(other.reshape_as(value), value)
                                  for other in (torch.from_numpy(caffe[f"loss:{name}"]), single[name])]
    exact, result["tops"] = gradients(layers, arrays, caffe, torch.float64)
    single, _ = gradients(layers, arrays, caffe, torch.float32)
    largest = max(value.abs().max().item() for value in exact.values())
    for name, value in exact.items():
        zero = value.abs().max() < 1e-9 * largest
        result["zero"] += [name] * bool(zero)
        result["gradients"][name] = [_difference(other, value, largest if zero else None)
                                     for other in (torch.from_numpy(caffe[name]), single[name])]
    return result


def _difference(value, exact, scale=None):
    """The largest difference over ``scale``, by default the largest absolute value; from zeros it is absolute.

    Infinite where either is no number.
    """
    return (value - exact).abs().nan_to_num(math.inf).max().item() / (scale or exact.abs().max().item() or 1)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    layers, arrays = read(options.folder)
    with np.load(os.path.join(options.folder, "caffe.npz"), allow_pickle=False) as caffe:
        print(json.dumps(compare(layers, arrays, dict(caffe))))


if __name__ == "__main__":
    main()
