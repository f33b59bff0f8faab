"""Scores a feature directory under a named protocol: CMC, mAP, mINP and ROC. Needs no Caffe.

    python tools/eval.py out/mars/features --protocol mars
    python tools/eval.py out/ilids/features --protocol ilids --splits data/ilids/splits.json --split 0
    python tools/eval.py "out/ilids/split_{split}/features" --protocol ilids --splits data/ilids/splits.json
    python tools/eval.py out/ilids/features --protocol ilids --attention all --plot fig5.png     # Fig. 5

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

Prints the protocol, torchreid's block of results (of several splits: their mean), mINP, ROC, and the paper's
numbers. --json writes cmc (a map from "1", "5", "10", "20"), mAP, mINP, queries, queries_without_match and
protocol as fractions and counts, with cmc_curve (ranks 1 to 50), tar_at_far, ap, attention, fusion, norm,
feature_norm and splits (mean, std, per_split; std is the sample deviation, null for one split). Of several
switches it holds {"switches": {name: the same}}. Queries are summed over the splits. --plot draws the CMC
curves as PNG.
"""

import argparse
import math

from stal import protocols, report
from stal.distance import SWITCHES, Metric, branches, chosen_switches
from stal.errors import InputError, run
from stal.features import NORMS, read_features
from stal.files import write_json
from stal.metrics import mean_and_deviation


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
    args = parser.parse_args(argv)

    protocol = protocols.get_protocol(args.protocol)
    chosen = protocols.chosen_splits(protocol, args.splits, args.split)
    if "{split}" in args.directory and args.splits is None:
        raise InputError(f"{args.directory} asks for a split's index: name the splits with --splits FILE")

    features, scores = None, {}  # {switch: the scores of each split}
    for name, test_pids in chosen:
        if features is None or "{split}" in args.directory:
            before, features = features, read_features(args.directory.replace("{split}", name))
            norm = args.norm or features.meta["attention_norm"]
            switches = chosen_switches(features, args.attention)
            if before and branches(before) != branches(features):
                raise InputError(f"{features.directory} holds {' and '.join(branches(features))} features and "
                                 f"{before.directory} {' and '.join(branches(before))} features: evaluate each kind alone")
        split = protocols.make_split(features, protocol, name, test_pids)
        print("\n".join(protocols.describe(features, protocol, split)), flush=True)
        metrics = [Metric(switch, args.fusion, norm) for switch in switches]
        for switch, result in zip(switches, protocols.evaluate(features, protocol, split, metrics)):
            scores.setdefault(switch, []).append(result)
    names = [name for name, _ in chosen]
    combined = {switch: mean_and_deviation(results) for switch, results in scores.items()}

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
    print(report.tables(protocol, combined, names, scores, headings))

    if args.json:
        common = {"protocol": protocol.name, "ap": protocol.ap, "norm": norm,
                  "feature_norm": features.meta["feature_norm"],
                  "fusion": args.fusion if math.isfinite(args.fusion) else "inf"}
        entries = {switch: {**common, "attention": switch,
                            **report.json_values(*combined[switch], names, scores[switch])}
                   for switch in switches}
        write_json(args.json, entries[switches[0]] if len(switches) == 1 else {"switches": entries})
    if args.plot:
        report.plot_cmc(args.plot, [(headings[switch], combined[switch][0]) for switch in switches],
                        f"protocol {protocol.name}")


if __name__ == "__main__":
    run(main)
