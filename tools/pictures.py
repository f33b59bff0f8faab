"""Draws what a trained net does with a tracklet list: attention, part boxes, ranked lists, t-SNE. Needs no Caffe.

    python tools/pictures.py out/demo/features --list data/demo/test.csv --root data/demo --out out/demo/pictures

DIR was written by tools/extract.py --frames from the same list. What you get, as PNG files in --out:

    attention_PID.png    the scores of a person's parts over time, in two cameras (Fig. 12)
    boxes_NAME.png       Eq. 7's boxes and the joints on frames of a tracklet; only where the list has joints
    ranked_best.png      the queries that went best, and the gallery tracklets nearest to them
    ranked_worst.png     those that went worst
    tsne.png             the tracklets' features in the plane
    polluted.png         frames beside the polluted ones (Fig. 13); only with --polluted

Features of a net without parts give no attention pictures, and so need no --frames.
"""

import argparse
import os

import numpy as np

from stal.distance import SWITCHES, Metric, branches, chosen_switches
from stal.errors import InputError, run
from stal.features import read_frames
from stal.pictures import attention, boxes, canvas, embedding, polluted, ranked
from stal.protocols import PROTOCOLS, get_protocol, make_split


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", metavar="DIR", help="feature directory")
    parser.add_argument("--list", required=True, help="tracklet list that DIR was extracted from")
    parser.add_argument("--root", required=True, help="folder that the list's paths are relative to")
    parser.add_argument("--out", required=True, help="folder to write to")
    parser.add_argument("--protocol", default="ilids", help=f"{', '.join(PROTOCOLS)}; who is ranked (default: %(default)s)")
    parser.add_argument("--persons", type=int, default=3, help="attention and box pictures (default: %(default)s)")
    parser.add_argument("--queries", type=int, default=3, help="queries of a ranked picture (default: %(default)s)")
    parser.add_argument("--attention", help=f"{', '.join(SWITCHES)}; not given: both, or none where there are no parts")
    parser.add_argument("--polluted", metavar="ROOT", help="folder of the polluted set (data_prep/pollute.py)")
    options = parser.parse_args(argv)
    for name in ("persons", "queries"):
        if getattr(options, name) < 1:
            raise InputError(f"--{name} {getattr(options, name)} must be at least 1")
    if options.attention and options.attention not in SWITCHES:
        raise InputError(f"--attention {options.attention} is no switch: choose one of {', '.join(SWITCHES)}")

    source = canvas.open_source(options.directory, options.list, options.root)
    for name, picture in _pictures(source, options):
        path = os.path.join(options.out, name)
        canvas.write_png(path, picture)
        print(path, flush=True)


def _pictures(source, options):
    """Yields (file name, picture); what cannot be drawn for want of parts or joints is said and left out."""
    features = source.features
    switch, = chosen_switches(features, options.attention)
    protocol = get_protocol(options.protocol)
    split = make_split(features, protocol)
    frames = read_frames(features) if "part" in branches(features) else None
    persons = _seen_twice(features)[:options.persons]
    if frames is None:
        print(f"no attention pictures: {features.directory} comes from a net without parts")
    if source.joints is None:
        print(f"no boxes: {options.list} has no joints beside it")
    for pid in persons:
        if frames is not None:
            yield f"attention_{pid}.png", attention.attention_picture(source, frames, pid)
        if source.joints is not None:
            n = int(np.flatnonzero(features.pids == pid)[0])
            yield f"boxes_{features.names[n].replace('/', '_')}.png", boxes.boxes_picture(source, n)
    metric = Metric(switch, norm=features.meta["attention_norm"])
    best, worst = ranked.best_and_worst(source, protocol, split, metric, options.queries)
    yield "ranked_best.png", ranked.ranked_picture(source, protocol, split, metric, best)
    yield "ranked_worst.png", ranked.ranked_picture(source, protocol, split, metric, worst)
    yield "tsne.png", embedding.embedding_picture(features)
    if options.polluted:
        chosen = canvas.spread(len(source.tracklets), 8)
        yield "polluted.png", polluted.polluted_picture(
            source.root, options.polluted, [source.tracklets[n].frames[0] for n in chosen])


def _seen_twice(features):
    """pids of persons under two cameras, ascending."""
    pids = np.unique(features.pids[features.pids > 0])
    return [int(pid) for pid in pids if len(np.unique(features.camids[features.pids == pid])) > 1]


if __name__ == "__main__":
    run(main)
