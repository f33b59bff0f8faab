"""Time and peak memory of tools/eval.py at the size of MARS, and its metrics against straightforward ones.

    OMP_NUM_THREADS=1 python benchmarks/mars_eval.py

Features of 12,180 tracklets (a global feature and six parts of 1024) are made up in a temporary directory, 0.65 GB,
under labels with the published counts of MARS's test set: 1,980 queries of 626 pids, 870 tracklets of pid -1, 3,248 of
pid 0. tools/eval.py's main() then runs in a process of its own for each case, and the process says how long it took
and the most memory it held (GB of 1e9 bytes, VmHWM: Python itself and mapped pages of the feature files included, the
system's cache of them not).

Then CMC and mAP once more, by the definitions, query by query: the ranked list walked down as MARS-evaluation does
(evaluation_mars.m, compute_AP.m) for the protocol mars, and as torchreid does (eval_market1501) for mars-torchreid. The
distances are those of stal/distance.py; ties count against the matcher, as everywhere here.

Prints a table and writes --out. It takes minutes; --scale 0.02 --width 16 --out /tmp/x.json only shows that it runs.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile

import numpy as np

from stal.distance import Metric, distance_blocks
from stal.errors import InputError, run
from stal.features import FeatureWriter, read_features
from stal.files import write_json
from stal.metrics import RANKS
from stal.tracklets import Tracklet

PARTS = 6
CAMERA_QUERIES = (524, 456, 319, 191, 384, 106)          # of the six cameras; one query a (pid, camera)
PIDS_BY_CAMERAS = {2: 204, 3: 216, 4: 126, 5: 60, 6: 20}  # made up to add up to 626 pids and 1,980 queries
NEVER_QUERIED = 8      # pids of one camera
ONLY_QUERIES = 14      # pids without any other tracklet
ONE_CAMERA_MORE = 112  # pids whose other tracklets are of one camera; 2 * 14 + 112 = the 140 queries torchreid drops
REAL, JUNK, DISTRACTORS = 8062, 870, 3248  # tracklets
CASES = {"one metric": ["--protocol", "mars"],
         "four switches": ["--protocol", "mars", "--attention", "all", "--camera-pairs"],
         "mars-torchreid": ["--protocol", "mars-torchreid"],
         "re-ranking": ["--protocol", "mars", "--rerank"]}
CHILD = """
import sys, time
from tools.eval import main
start = time.perf_counter()
main(sys.argv[1:])
seconds = time.perf_counter() - start
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print("MEASURED", seconds, int(peak) * 1024 / 1e9)
"""


def mars_labels(seed=0):
    """Labels with the counts of MARS's test set; who is where is random.

    Returns:
        (pids, camids, query), each (12180,), sorted by pid.
    """
    rng = np.random.default_rng(seed)
    degrees = np.repeat(list(PIDS_BY_CAMERAS), list(PIDS_BY_CAMERAS.values()))[::-1]
    left = np.array(CAMERA_QUERIES)
    rows = []  # (pid, camid, query)
    pids = 2 * rng.permutation(len(degrees) + NEVER_QUERIED) + 2
    extra, weights = [], []  # (pid, camid) where more tracklets may be
    for index, (pid, degree) in enumerate(zip(pids, degrees)):
        cameras = np.lexsort((rng.random(6), -left))[:degree]
        left[cameras] -= 1
        rows += [(pid, camera, 1) for camera in cameras]
        from_the_end = len(degrees) - 1 - index  # there are the pids of two cameras
        some = 0 if from_the_end < ONLY_QUERIES else 1 if from_the_end < ONLY_QUERIES + ONE_CAMERA_MORE else degree
        rows += [(pid, camera, 0) for camera in cameras[:min(some, 2)]]
        extra += [(pid, camera, 0) for camera in cameras[:some]]
        weights += [rng.lognormal()] * some
    rows += [(pid, camera, 0) for pid, camera in zip(pids[len(degrees):], rng.integers(0, 6, NEVER_QUERIED))]
    more = rng.choice(len(extra), REAL - len(rows), p=np.array(weights) / sum(weights))
    rows += [extra[index] for index in more]
    for pid, count in ((-1, JUNK), (0, DISTRACTORS)):
        rows += [(pid, camera, 0) for camera in rng.integers(0, 6, count)]
    table = np.array(sorted(rows, key=lambda row: (row[0], row[1], -row[2])))
    return table[:, 0], table[:, 1], table[:, 2].astype(bool)


def thinned(labels, scale):
    """Every 1/scale-th pid, -1 and 0 thinned alike, for a quick look."""
    pids, camids, query = labels
    step = round(1 / scale)
    kept = np.where(pids > 0, pids // 2 % step == 0, np.arange(len(pids)) % step == 0)
    return pids[kept], camids[kept], query[kept]


def write_features(directory, labels, width, seed=0):
    """A feature directory of persons at random places, seen with noise; one tracklet at a time."""
    pids, camids, query = labels
    meta = {"net": "none", "weights_sha256": "", "list_sha256": "", "commit": "", "attention_norm": "L1",
            "feature_norm": "UNNORMALIZED"}
    tracklets = [Tracklet(f"{index:05d}", int(pid), int(camid), bool(asked), ("frame",))
                 for index, (pid, camid, asked) in enumerate(zip(pids, camids, query))]
    views = np.random.default_rng([seed, 0]).standard_normal((6, PARTS + 1, width), np.float32)
    with FeatureWriter(directory, tracklets, parts=PARTS, global_width=width, part_width=width, meta=meta) as writer:
        for index, tracklet in enumerate(tracklets):
            rng = np.random.default_rng([seed, 1, index])
            whose = [seed, 2, tracklet.pid] if tracklet.pid > 0 else [seed, 3, index]
            place = np.random.default_rng(whose).standard_normal((PARTS + 1, width), np.float32)
            noise = rng.standard_normal((2, PARTS + 1, width), np.float32)
            weighted, plain = 2 * (place + views[tracklet.camid] / 2) / width ** 0.25 + noise
            writer.add(index, weighted[0], weighted[1:], plain[1:], 1 + rng.random(PARTS, np.float32) / 10)


def official(distances, pid, camid, pids, camids):
    """(first ranks hit, AP) of a query as MARS-evaluation defines them: pid -1 and the query's pid under its own camera
    are skipped, AP is the area under precision over recall by trapezoids, from recall 0 and precision 1."""
    good = (pids == pid) & (camids != camid)
    junk = (pids == -1) | ((pids == pid) & (camids == camid))
    ranked = np.lexsort((good, distances))
    hit = good[ranked[~junk[ranked]]]
    found = np.cumsum(hit)
    recall, precision = found / good.sum(), found / np.arange(1, len(hit) + 1)
    before = np.concatenate([[1], precision[:-1]])
    return found > 0, np.sum(np.diff(recall, prepend=0) * (before + precision) / 2)


def torchreids(distances, pid, camid, pids, camids):
    """The same as torchreid defines them: the query's pid under its own camera is removed, AP is the mean precision at
    the hits; None without a hit."""
    ranked = np.lexsort((pids == pid, distances))
    kept = ranked[~((pids[ranked] == pid) & (camids[ranked] == camid))]
    hit = pids[kept] == pid
    if not hit.any():
        return None
    precision = np.cumsum(hit) / np.arange(1, len(hit) + 1)
    return np.cumsum(hit) > 0, np.sum(precision * hit) / hit.sum()


def straightforward(one_query, rows, pids, camids, gallery):
    """CMC and mAP by :func:`official` or :func:`torchreids`.

    Args:
        rows: of (row of a query, (G,) distances).
        pids, camids: (N,) of all tracklets.
        gallery: (G,) rows.
    Returns:
        dict of "cmc" ("1", "5", "10", "20"), "mAP", "queries", "queries_without_match".
    """
    scores = [one_query(distances, pids[row], camids[row], pids[gallery], camids[gallery]) for row, distances in rows]
    counted = [score for score in scores if score is not None]
    return {"cmc": {str(rank): float(np.mean([found[:rank][-1] for found, _ in counted])) for rank in RANKS},
            "mAP": float(np.mean([ap for _, ap in counted])),
            "queries": len(scores), "queries_without_match": len(scores) - len(counted)}


def difference(one, other):
    """The largest absolute difference of mAP and CMC; the counts must be the same."""
    for count in ("queries", "queries_without_match"):
        if one[count] != other[count]:
            raise InputError(f"{count}: {one[count]} and {other[count]}, which must be the same")
    return max(abs(one["mAP"] - other["mAP"]), *(abs(one["cmc"][rank] - other["cmc"][rank]) for rank in one["cmc"]))


def measure(arguments):
    """Runs tools/eval.py in a process of its own.

    Returns:
        (seconds, peak GB).
    """
    ended = subprocess.run([sys.executable, "-c", CHILD, *arguments], capture_output=True, text=True)
    if ended.returncode:
        raise InputError(f"tools/eval.py {' '.join(arguments)} ended with {ended.stderr.strip().splitlines()[-1]}")
    _, seconds, peak = ended.stdout.splitlines()[-1].split()
    return float(seconds), float(peak)


def benchmark(scale, width):
    """The whole run: a dict, as it is written."""
    from cpu_step import cpu_name
    labels = mars_labels() if scale == 1 else thinned(mars_labels(), scale)
    pids, camids, query = labels
    result = {"queries": int(query.sum()), "gallery": len(pids), "width": width, "parts": PARTS,
              "threads": os.environ.get("OMP_NUM_THREADS", "not set"), "load": os.getloadavg()[0], "cpu": cpu_name(),
              "cases": {}}
    with tempfile.TemporaryDirectory() as folder:
        directory = os.path.join(folder, "features")
        write_features(directory, labels, width)
        scored = {}
        for case, arguments in CASES.items():
            out = os.path.join(folder, "results.json")
            seconds, peak = measure([directory, *arguments, "--json", out])
            with open(out, encoding="utf-8") as stream:
                scored[case] = json.load(stream)
            result["cases"][case] = {"seconds": seconds, "peak_GB": peak}
        features, asked = read_features(directory), np.flatnonzero(query)
        for case, one_query, gallery in (
                ("one metric", official, np.arange(len(pids))),
                ("mars-torchreid", torchreids, np.flatnonzero(~query & (pids != -1)))):
            rows = ((asked[rows][index], block[index])
                    for rows, (block,) in distance_blocks(features, asked, gallery, [Metric()])
                    for index in range(len(block)))
            by_definition = straightforward(one_query, rows, pids, camids, gallery)
            result["cases"][case].update(
                mAP=scored[case]["mAP"], rank1=scored[case]["cmc"]["1"],
                queries_without_match=scored[case]["queries_without_match"],
                largest_difference_from_the_definition=difference(scored[case], by_definition))
    return result


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1, help="share of the pids, 0.01 to 1 (default: %(default)s)")
    parser.add_argument("--width", type=int, default=1024, help="of a feature (default: %(default)s)")
    parser.add_argument("--out", default=os.path.join("benchmarks", "results", "mars_eval.json"),
                        help="(default: %(default)s)")
    options = parser.parse_args(argv)
    if not 0.01 <= options.scale <= 1 or options.width < 1:
        raise InputError(f"--scale {options.scale:g} --width {options.width}: give a scale of 0.01 to 1 and a width of "
                         "1 or more")
    result = benchmark(options.scale, options.width)
    write_json(options.out, result)
    print(f"{result['cpu']}, threads {result['threads']}, load {result['load']:.2f} at the start\n"
          f"{result['queries']} queries, {result['gallery']} gallery tracklets, 1 global and {PARTS} part features of "
          f"{result['width']}")
    for case, numbers in result["cases"].items():
        agreement = numbers.get("largest_difference_from_the_definition")
        print(f"{case:16} {numbers['seconds']:8.1f} s {numbers['peak_GB']:8.2f} GB"
              + ("" if agreement is None else f"   differs from the definition by {agreement:.1e} at most"))


if __name__ == "__main__":
    run(main)
