"""Folds BatchNorm and Scale into the convolutions in front of them: the same output from fewer layers.

    python tools/fold_bn.py --net prototxt/deploy.prototxt --weights snapshots/ilids_iter_13500.caffemodel \\
        --out-net out/folded.prototxt --out-weights out/folded.caffemodel

Takes a deploy net and weights trained for it, and writes both anew. A convolution takes over the name of the blob that
the last layer folded into it wrote; everything else stays as it is. What cannot be folded is listed with the reason and
stays too. Weights of layers that the net does not have, such as a training net's classifiers, are left out.
"""

import argparse
import os

from stal.errors import InputError, run
from stal.files import replacing


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", required=True, help="deploy net")
    parser.add_argument("--weights", required=True, help=".caffemodel of caffe train")
    parser.add_argument("--out-net", required=True, help="net to write")
    parser.add_argument("--out-weights", required=True, help=".caffemodel to write")
    options = parser.parse_args(argv)
    paths = [os.path.realpath(path) for path in (options.net, options.weights, options.out_net, options.out_weights)]
    for path, out in zip(paths[2:], (options.out_net, options.out_weights)):
        if paths.count(path) > 1:
            raise InputError(f"{out} is given twice: all four files must be different ones")
        if os.path.isdir(path):
            raise InputError(f"{out} is a folder: give the file to write")
    from google.protobuf import text_format

    from stal.caffe_net import read_prototxt, read_weights  # after the arguments: --help needs no Caffe
    from stal.fold import fold
    net, weights = read_prototxt(options.net), read_weights(options.weights)
    done = fold(net, weights, options.net, options.weights)
    with replacing(options.out_weights, "wb") as stream:
        stream.write(weights.SerializeToString())
    with replacing(options.out_net) as stream:
        stream.write("# Written by tools/fold_bn.py: for the weights written with it, and for no others.\n"
                     + text_format.MessageToString(net))
    for conv, layers in done.folded:
        print(f"folded into {conv}: {', '.join(layers)}")
    for name, why in done.left:
        print(f"left: {name}, {why}")
    if done.unused:
        print(f"left out of the weights: {len(done.unused)} layers that the net does not have, {done.unused[0]} for one")
    print(f"{sum(len(layers) for _, layers in done.folded)} layers folded into {len(done.folded)} convolutions, "
          f"{len(done.left)} left; {done.before} parameters before, {done.after} after")
    print(f"Done, the net is in {options.out_net} and its weights in {options.out_weights}")


if __name__ == "__main__":
    run(main)
