"""Scores a feature directory under a named protocol: CMC, mAP, mINP and ROC. Needs no Caffe.

    python tools/eval.py out/mars/features --protocol mars
    python tools/eval.py out/ilids/features --protocol ilids --splits data/ilids/splits.json --split 0
    python tools/eval.py "out/ilids/split_{split}/features" --protocol ilids --splits data/ilids/splits.json
    python tools/eval.py out/ilids/features --protocol ilids --attention all --plot fig5.png     # Fig. 5
    python tools/eval.py out/mars/features --protocol mars --camera-pairs --rerank

DIR was written by tools/extract.py. Where it holds {split}, each split is scored on its own directory: that
is how ten splits are done with ten networks. Without {split} all splits are scored on the same features; make
sure that their network was trained on none of the splits' test persons. Protocols (stal/protocols.py has the
details):

    mars            MARS as its authors evaluate it and the paper does (Table V)
    mars-torchreid  MARS as torchreid evaluates it: queries leave the gallery, rectangular AP
    ilids, prid     camera 0 against camera 1 of the test persons, mean over the splits (Tables III, IV)

--attention sets the switches of section IV-C: none (the paper's Baseline), temporal (TAN), spatial (SAN),
both (STAL); a comma list, or all, scores several side by side. --fusion is the weight of the global distance
in d = d_l + fusion * d_g: 0 ranks by the parts alone, inf by the global feature alone. Where a net gave only
one kind of features, that kind is scored and the output says so; without parts the only switch is none.

Prints the protocol, which queries have no match and why, torchreid's block of results (of several splits: their
mean), mINP, ROC, and the paper's numbers. --camera-pairs adds a matrix of Rank-1 and one of AP by the cameras of
query and match (stal/metrics.py has the rules). --rerank adds a block of k-reciprocal re-ranked scores
(stal/rerank.py); nothing else changes. It holds the distances among all tracklets, says first how much that needs,
and refuses above --rerank-memory.

--json writes cmc (a map from "1", "5", "10", "20"), mAP, mINP, queries, queries_without_match and protocol as
fractions and counts, with cmc_curve (ranks 1 to 50), tar_at_far, distance_at_far (the thresholds), eer, roc_curve
(the TAR at 61 FARs from 1e-6 to 1; null where wrong pairs are too few), ap, attention, fusion, norm, feature_norm and
splits (mean, std, per_split; std is the sample deviation, null for one split); with --camera-pairs camera_pairs
(cameras, rank1, AP, queries; null: no such query), with --rerank reranked (k1, k2, lambda, and scores of the same
names). Of several switches it holds {"switches": {name: the same}}. Queries are summed over the splits. --plot draws
the CMC curves as PNG.
"""

import argparse
import math
import os

from stal import protocols, report
from stal.distance import SWITCHES, Metric, branches, chosen_switches
from stal.errors import InputError, run
from stal.features import NORMS, read_features
from stal.files import write_json
from stal.metrics import mean_and_deviation
from stal.rerank import Rerank, check_memory


class _Help(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """The docstring as written, and the defaults."""


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_Help)
    parser.add_argument("directory", metavar="DIR", help="features; {split} stands for the split's index")
    parser.add_argument("--protocol", required=True, help=", ".join(protocols.PROTOCOLS))
    parser.add_argument("--splits", metavar="FILE", help="splits of ilids and prid; none: everybody in DIR")
    parser.add_argument("--split", metavar="K|all", default="all", help="which of the splits, from 0")
    parser.add_argument("--attention", metavar="LIST|all", help=f"comma list of {', '.join(SWITCHES)}; not given: "
                        "both, or none where there are no parts")
    parser.add_argument("--fusion", type=float, default=0.3, help="weight of the global distance, 0 to inf")
    parser.add_argument("--norm", choices=NORMS, help="of the scores in Eq. 8; none: what meta.json says")
    parser.add_argument("--json", metavar="FILE", help="write the results here")
    parser.add_argument("--plot", metavar="FILE.png", help="draw the CMC curves here")
    parser.add_argument("--camera-pairs", action="store_true", help="score the pairs of cameras as well")
    parser.add_argument("--rerank", action="store_true", help="k-reciprocal re-ranking, in a block of its own")
    parser.add_argument("--rerank-memory", metavar="GB", type=float, default=4, help="most that --rerank may need")
    args = parser.parse_args(argv)

    if not args.rerank_memory > 0:
        raise InputError(f"--rerank-memory {args.rerank_memory:g} is no limit: give GB above 0")
    for path in filter(None, (args.json, args.plot)):
        _check_output(path)
    protocol = protocols.get_protocol(args.protocol)
    chosen = protocols.chosen_splits(protocol, args.splits, args.split)
    if "{split}" in args.directory and args.splits is None:
        raise InputError(f"{args.directory} asks for a split's index: name the splits with --splits FILE")

    features, scores, reranked = None, {}, {}  # {switch: the scores of each split}
    for name, *halves in chosen:
        if features is None or "{split}" in args.directory:
            before, features = features, read_features(args.directory.replace("{split}", name))
            norm = args.norm or features.meta["attention_norm"]
            switches = chosen_switches(features, args.attention)
            for one, other in zip(_kind(before, args.norm), _kind(features, args.norm)) if before else ():
                if one != other:
                    raise InputError(f"{features.directory} holds {other} and {before.directory} {one}: evaluate each "
                                     "kind alone")
        split = protocols.make_split(features, protocol, name, *halves)
        print("\n".join(protocols.describe(features, protocol, split)), flush=True)
        if args.rerank:
            print(f"  {check_memory(len(protocols.to_rerank(split)), args.rerank_memory)}", flush=True)
        metrics = [Metric(switch, args.fusion, norm) for switch in switches]
        results = protocols.evaluate(features, protocol, split, metrics, args.camera_pairs)
        for switch, metric, result in zip(switches, metrics, results):
            scores.setdefault(switch, []).append(result)
            if args.rerank:
                reranked.setdefault(switch, []).append(protocols.evaluate_reranked(features, protocol, split, metric))
    names = [name for name, *_ in chosen]
    combined, combined_reranked = ({switch: mean_and_deviation(results) for switch, results in some.items()}
                                   for some in (scores, reranked))

    headings = report.labels(features)
    print(f"distance: d_l + {args.fusion:g} d_g, norm {norm}, features {features.meta['feature_norm']}, "
          "attention " + ", ".join(f"{switch} ({headings[switch]})" for switch in switches))
    if len(branches(features)) == 1:
        only, = branches(features)
        print(f"{features.directory} holds only {only} features: "
              + ("d_l alone decides" if only == "part" else "d_g alone decides, and there is no attention to switch"))
    for switch in switches if len(switches) == 1 else ():
        print(report.torchreid_block(combined[switch][0]))
        print(report.more_lines(combined[switch][0]))
    for switch in switches if args.camera_pairs else ():
        print(report.camera_pairs_block(combined[switch][0].pairs, headings[switch]))
    print(report.tables(protocol, combined, names, scores, headings))
    if args.rerank:
        print(report.reranked_block(combined, combined_reranked, headings, Rerank()))

    if args.json:
        common = {"protocol": protocol.name, "ap": protocol.ap, "norm": norm,
                  "feature_norm": features.meta["feature_norm"],
                  "fusion": args.fusion if math.isfinite(args.fusion) else "inf"}
        entries = {switch: {**common, "attention": switch,
                            **report.json_values(*combined[switch], names, scores[switch])}
                   for switch in switches}
        for switch, results in reranked.items():
            k1, k2, weight = Rerank()
            entries[switch]["reranked"] = {
                "k1": k1, "k2": k2, "lambda": weight,
                **report.json_values(*combined_reranked[switch], names, results)}
        write_json(args.json, entries[switches[0]] if len(switches) == 1 else {"switches": entries})
    if args.plot:
        report.plot_cmc(args.plot, [(headings[switch], combined[switch][0]) for switch in switches],
                        f"protocol {protocol.name}")


def _check_output(path):
    """Before the work rather than after it."""
    try:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write {path} ({error.strerror}): name another file") from None
    if os.path.isdir(path):
        raise InputError(f"{path} is a directory: name a file for the results")


def _kind(features, norm):
    """What the directories of several splits must have in common, in words; ``norm`` as --norm gives it."""
    meta = features.meta
    return (f"{' and '.join(branches(features))} features", f"features of feature_norm {meta['feature_norm']}",
            f"features trained with scores of norm {norm or meta['attention_norm']}")


if __name__ == "__main__":
    run(main)
