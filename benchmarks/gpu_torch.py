"""PyTorch's side of gpu_step.py, which starts it; no program of its own. It needs PyTorch and NumPy, and no Caffe.

    python benchmarks/gpu_torch.py FOLDER step|extract --layout nchw|channels_last --device gpu|cpu --tf32 0|1
    python benchmarks/gpu_torch.py - gemm --device gpu|cpu --tf32 0|1

FOLDER is what gpu_caffe.py left, with update.json: the solver's rates. It prints its versions as a line of JSON, then
for each number n that it reads it runs n times and prints {"ms": of one, "norms": {output: L2 norm}, memory}. The last
form prints {"tflops": of a large matrix product}.

As a user of PyTorch would have it: eager, torch.backends.cudnn.benchmark, SGD in one fused kernel on a GPU,
torchvision's ROI pooling where there is a torchvision. A step keeps its losses on the device; extraction copies the
features to the host.
"""

import argparse
import json
import os
import resource
import statistics
import sys
import time

import torch
import torch.nn.functional as F

from torch_layers import LAYERS
from torch_net import TorchNet, extract, read, train_step

try:
    from torchvision.ops import roi_pool
except Exception:  # none, or one for another PyTorch
    roi_pool = None


def roi_pooling(param, bottoms, blobs):
    """As torch_layers.roi_pooling, for all boxes at once and without asking the device for them.

    Without torchvision: the pixels of each bin, as many as the largest bin of a box within the map has, a smaller bin's
    last one repeated; then their maximum.
    """
    maps, boxes = bottoms
    pooled, scale = (param["pooled_h"], param["pooled_w"]), param["spatial_scale"]
    if roi_pool is not None:
        return [roi_pool(maps, boxes, pooled, scale)]
    corners = boxes[:, 1:] * scale
    corners = (torch.sign(corners) * torch.floor(corners.abs() + 0.5)).long()  # halves away from zero
    picks, empties = [], []
    for axis, bins in ((1, pooled[0]), (0, pooled[1])):
        side = maps.shape[3 - axis]
        low, high = corners[:, axis, None], corners[:, axis + 2, None]
        length = (high - low + 1).clamp(min=1)
        place = torch.arange(bins)
        start = low + place * length // bins
        end = low + -(-(place + 1) * length // bins)
        start, end = start.clamp(0, side), end.clamp(0, side)
        most = -(-side // bins) + 1
        pixel = torch.minimum(start[:, :, None] + torch.arange(most), (end - 1).clamp(min=0)[:, :, None])
        picks.append(pixel.clamp(max=side - 1).flatten(1))
        empties.append(end <= start)
    rows, columns = picks
    windows = rows.shape[1] // pooled[0], columns.shape[1] // pooled[1]
    samples = maps[boxes[:, 0].long()[:, None, None, None], torch.arange(maps.shape[1])[None, :, None, None],
                   rows[:, None, :, None], columns[:, None, None, :]]
    bins = F.max_pool2d(samples, windows)
    return [bins.masked_fill((empties[0][:, :, None] | empties[1][:, None, :])[:, None], 0)]


class Step:
    """Forward, backward and update."""

    def __init__(self, folder, layers, arrays, channels_last, fused):
        self.net = TorchNet(layers, arrays, True, channels_last, functions={**LAYERS, "ROIPooling": roi_pooling})
        self._inputs = self.net.inputs(arrays)
        with open(os.path.join(folder, "update.json"), encoding="utf-8") as stream:
            update = json.load(stream)
        groups = {}
        for layer, blobs in self.net.parameters.items():
            for blob, (rate, decay) in zip(blobs, update["parameters"][layer]):
                if rate:
                    groups.setdefault((rate, decay), []).append(blob)
                else:
                    blob.requires_grad_(False)
        self._optimizer = torch.optim.SGD(
            [dict(params=blobs, lr=update["base_lr"] * rate, weight_decay=update["weight_decay"] * decay)
             for (rate, decay), blobs in groups.items()], momentum=update["momentum"], fused=fused)

    def run(self, times):
        for _ in range(times):
            blobs = train_step(self.net, self._inputs)
            self._optimizer.step()
        return blobs


class Extraction:
    """Forward of a net in test mode, its outputs copied to the host."""

    def __init__(self, folder, layers, arrays, channels_last, fused):
        self._net = TorchNet(layers, arrays, False, channels_last, functions={**LAYERS, "ROIPooling": roi_pooling})
        self._inputs = self._net.inputs(arrays)

    def run(self, times):
        for _ in range(times):
            blobs = {name: blob.cpu() for name, blob in extract(self._net, self._inputs).items()}
        return blobs


def gemm(side, wait):
    """TFLOP/s of a product of two square matrices, the median of ten after three."""
    one, other = torch.randn(2, side, side)
    seconds = []
    for _ in range(13):
        wait()
        start = time.perf_counter()
        one @ other
        wait()
        seconds.append(time.perf_counter() - start)
    return 2 * side ** 3 / statistics.median(seconds[3:]) / 1e12


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("work", choices=("step", "extract", "gemm"))
    parser.add_argument("--layout", choices=("nchw", "channels_last"))
    parser.add_argument("--device", choices=("gpu", "cpu"), required=True)
    parser.add_argument("--tf32", type=int, choices=(0, 1), required=True)
    options = parser.parse_args()
    gpu = options.device == "gpu"
    if gpu and not torch.cuda.is_available():
        sys.exit(f"PyTorch {torch.__version__} of {sys.executable} sees no GPU")
    torch.set_default_device("cuda" if gpu else "cpu")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = bool(options.tf32)
    torch.backends.cudnn.benchmark = True
    wait = torch.cuda.synchronize if gpu else lambda: None
    if options.work == "gemm":
        print(json.dumps({"tflops": gemm(8192 if gpu else 1024, wait)}), flush=True)
        return
    work = {"step": Step, "extract": Extraction}[options.work](
        options.folder, *read(options.folder), options.layout == "channels_last", gpu)
    print(json.dumps({"versions": {"torch": torch.__version__, "torch_cuda": torch.version.cuda,
                                   "torch_cudnn": torch.backends.cudnn.version() if gpu else None,
                                   "torch_roi_pooling": "torchvision" if roi_pool else "gathered"}}), flush=True)
    for line in sys.stdin:
        wait()
        start = time.perf_counter()
        blobs = work.run(int(line))
        wait()
        ms = 1000 * (time.perf_counter() - start) / int(line)
        answer = {"ms": ms, "norms": {name: blob.detach().norm().item() for name, blob in blobs.items()},
                  "host_MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}
        if gpu:
            answer.update(allocated_MiB=torch.cuda.max_memory_allocated() / 2 ** 20,
                          reserved_MiB=torch.cuda.max_memory_reserved() / 2 ** 20)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
