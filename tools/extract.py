"""Extracts the features of a tracklet list with a trained net.

    python tools/extract.py --net prototxt/deploy.prototxt --weights snapshots/ilids_iter_13500.caffemodel \\
        --list data/ilids/test.csv --root data/ilids --out out/ilids

Tracklets may have any length: frames pass in batches, and a tracklet is summed up as it goes. What is written is a
feature directory (stal/features.py says what lies in it), for tools/eval.py. A killed run goes on where it stopped.

A net with one branch (global, or parts with scores) gives the features of that branch. The joints file is read only for
a net that takes joints, not for one that finds them itself or has no parts. tools/pose.py is for a pose net alone.
"""

import argparse

from stal.errors import InputError, run


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", required=True, help="deploy net")
    parser.add_argument("--weights", required=True, help=".caffemodel of caffe train")
    parser.add_argument("--list", required=True, help="tracklet list")
    parser.add_argument("--root", required=True, help="folder that the list's paths are relative to")
    parser.add_argument("--out", required=True, help="feature directory to write")
    parser.add_argument("--joints", help="joints file, for a net that takes joints (default: LIST_joints.npy beside the "
                        "list)")
    parser.add_argument("--batch", type=int, default=32, help="frames a forward pass (default: %(default)s)")
    parser.add_argument("--frames", action="store_true", help="keep the features of single frames too")
    options = parser.parse_args(argv)
    if options.batch < 1:
        raise InputError(f"--batch {options.batch} must be at least 1")
    from stal.caffe_net import FrameNet  # after the arguments: --help needs no Caffe
    from stal.extraction import extract
    extract(FrameNet(options.net, options.weights), options.net, options.weights, options.list, options.root,
            options.out, options.joints, options.batch, options.frames)
    print(f"Done, features are in {options.out}")


if __name__ == "__main__":
    run(main)
