"""Finds the joints of a tracklet list's frames with a pose net, and scores them where the true ones are known.

    python tools/pose.py --net prototxt/deploy_pose.prototxt --weights snapshots/pose.caffemodel \\
        --list data/demo/test.csv --root data/demo --out out/pose/joints.csv

The net is a pose net alone, or a re-ID net that has one inside: prototxt/deploy_pose.prototxt takes its weights from the
.caffemodel of either. It is made for frames of persons published with an aspect of 1 : 2; deploy_pose_mpii.prototxt is for
MPII's square crops.

--out writes a joints table for the programs of data_prep/ (their option --joints): frame,x1,y1,c1,...,x14,y14,c14, one
row a frame, x and y in pixels of the published image.

--score takes the joints of LIST_joints.npy as the truth (not for a list that was prepared with the upright template, or
with another estimator's joints) and prints PCKh (stal/pckh.py): the
share of annotated joints that are found within --alpha head lengths of their place. The head length is read from
LIST_heads.npy (data_prep/mpii.py writes it), or it is the distance from J1 to J2. --json writes list, alpha, head
(where the length comes from), mean, joints (share by name, null where none is annotated), annotated (count by name) and
frames_left_out (frames without a head length).
"""

import argparse
import os

import numpy as np

from data_prep.joints import write_joints_table
from stal.errors import InputError, run
from stal.files import write_json
from stal.pckh import JOINT_NAMES, head_lengths, heads_path, pckh, read_heads
from stal.tracklets import joints_path, read_joints, read_list


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", required=True, help="deploy net that finds joints")
    parser.add_argument("--weights", required=True, help=".caffemodel of caffe train")
    parser.add_argument("--list", required=True, help="tracklet list")
    parser.add_argument("--root", required=True, help="folder that the list's paths are relative to")
    parser.add_argument("--out", metavar="FILE.csv", help="joints table to write")
    parser.add_argument("--batch", type=int, default=32, help="frames a forward pass (default: %(default)s)")
    parser.add_argument("--score", action="store_true", help="compare with the list's joints")
    parser.add_argument("--alpha", type=float, default=0.5, help="head lengths that count as near (default: %(default)s)")
    parser.add_argument("--json", metavar="FILE", help="write PCKh here")
    options = parser.parse_args(argv)
    if options.batch < 1:
        raise InputError(f"--batch {options.batch} must be at least 1")
    if not 0 < options.alpha < np.inf:
        raise InputError(f"--alpha {options.alpha:g} must be above 0 and finite")
    tracklets = read_list(options.list)
    if options.json and not options.score:
        raise InputError(f"--json {options.json} holds PCKh: give --score too")
    if not options.out and not options.score:
        raise InputError("nothing to do: name a table to write with --out, or compare with the list's joints by --score")
    truth = heads = None
    if options.score:
        truth = read_joints(joints_path(options.list), tracklets)
        heads, origin = find_heads(options.list, truth)
    from stal.caffe_net import PoseNet  # after the arguments: --help needs no Caffe
    from stal.extraction import find_joints
    found = find_joints(PoseNet(options.net, options.weights), tracklets, options.root, options.batch)
    if options.out:
        images = [frame for tracklet in tracklets for frame in tracklet.frames]
        write_joints_table(options.out, dict(zip(images, found)))  # one row for a frame that is in two tracklets
        print(f"Done, joints are in {options.out}")
    if truth is None:
        return
    scores = pckh(found, truth, heads, options.alpha)
    print(text(scores, f"PCKh@{options.alpha:g} against {joints_path(options.list)}, head length: {origin}"))
    if options.json:
        write_json(options.json, {"list": options.list, "alpha": options.alpha, "head": origin, **values(scores)})


def find_heads(list_path, truth):
    """(F,) head lengths, and where they come from, in words."""
    path = heads_path(list_path)
    if os.path.exists(path):
        return read_heads(path, len(truth)), path
    return head_lengths(truth), "distance from J1 to J2"


def text(scores, title):
    """PCKh as people read it, in per cent."""
    lines = [title, "              PCKh  annotated"]
    rows = [*zip(JOINT_NAMES, scores.joints, scores.annotated), ("mean", scores.mean, scores.annotated.sum())]
    for name, share, count in rows:
        lines.append(f"  {name:<10}  {100 * share:6.1f}  {count:9d}" if count else f"  {name:<10}       -  {count:9d}")
    if scores.left_out:
        lines.append(f"{scores.left_out} frames have no head length and were left out")
    return "\n".join(lines)


def values(scores):
    """The same for a JSON file."""
    return {"mean": scores.mean, "frames_left_out": scores.left_out,
            "joints": {name: None if np.isnan(share) else float(share) for name, share in zip(JOINT_NAMES, scores.joints)},
            "annotated": {name: int(count) for name, count in zip(JOINT_NAMES, scores.annotated)}}


if __name__ == "__main__":
    run(main)
