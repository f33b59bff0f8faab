"""One run as one HTML page: what was run, losses, results, ranked lists, attention, part boxes, t-SNE. Needs no Caffe.

    python tools/report.py out/demo --list data/demo/test.csv --root data/demo                 # out/demo/report.html
    python tools/report.py out/ilids --list data/ilids/all.csv --root data/ilids \\
        --protocol ilids --splits data/ilids/splits.json --split 0
    python tools/report.py out/demo                                                            # without frames

DIR is a run's directory, which holds features/ and, if there are any, train.log, run.json and solver.prototxt (its
random_seed is the training's seed), or a feature directory of tools/extract.py itself. --list is the tracklet list the
features were extracted from, --root its data set; the joints beside the list are drawn where there are some. What is
absent is said in the page in a sentence.

The page holds its pictures and its style itself, loads nothing, needs no JavaScript, is below 8 MB, and the same run
gives the same bytes. Attention switches are scored as by tools/eval.py --attention all. The paper's numbers stand
beside the run's only where --protocol names the paper's data set and its people are real: --synthetic, or
synthetic.json in the root or beside the list, says that they are drawn. Without --protocol two cameras are compared
by the rule of ilids.

The page was looked at in a browser, wide and as on a phone; repeat it after a change of its form and look at the two
pictures (text or pictures cut off, labels on one another, a page that scrolls sideways):

    chromium --headless --no-sandbox --disable-gpu --window-size=1200,6000 --screenshot=wide.png \\
        file://$PWD/out/demo/report.html
    chromium --headless --no-sandbox --disable-gpu --window-size=400,9000 --screenshot=narrow.png \\
        file://$PWD/out/demo/report.html

Headless Chromium makes windows no narrower than about 500 pixels and cuts the picture, so for a true width of 400 put
the page into an <iframe width=400 height=9000> of a page of your own.
"""

import argparse
import os

from stal.errors import InputError, run
from stal.html_report import open_run, page, write_page
from stal.protocols import PROTOCOLS


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", metavar="DIR", help="a run's directory or a feature directory")
    parser.add_argument("--list", metavar="FILE", help="the features' tracklet list; not given: no frames in the page")
    parser.add_argument("--root", metavar="DIR", help="the data set's root, which the list's frames are relative to")
    parser.add_argument("--protocol", help=", ".join(PROTOCOLS) + "; not given: two cameras by the rule of ilids")
    parser.add_argument("--splits", metavar="FILE", help="splits of ilids and prid; none: everybody in DIR")
    parser.add_argument("--split", metavar="K", help="which of the splits, from 0 (default: 0)")
    parser.add_argument("--queries", type=int, default=3, metavar="N", help="best and worst queries each (default: 3)")
    parser.add_argument("--persons", type=int, default=3, metavar="N", help="persons with attention (default: 3)")
    parser.add_argument("--synthetic", action="store_true", help="the people are drawn: no numbers of the paper")
    parser.add_argument("--out", metavar="FILE", help="(default: report.html in a run's directory, DIR_report.html beside "
                        "a feature directory)")
    args = parser.parse_args(argv)

    told = open_run(args.directory)
    features = told.features.directory
    out = args.out or (f"{features}_report.html" if told.name == features else f"{told.name}/report.html")
    if os.path.isdir(out):
        raise InputError(f"{out} is a directory: name a file with --out")
    if os.path.dirname(os.path.abspath(out)) == os.path.abspath(features):
        raise InputError(f"{out} would lie among the features, where tools/extract.py takes no other files: name another "
                         "place with --out")
    text = page(told, args.list, args.root, args.protocol, args.splits, args.split, args.queries, args.persons,
                args.synthetic)
    write_page(out, text)
    print(f"{out}: {len(text.encode()) / 1e6:.1f} MB, open it in a browser")


if __name__ == "__main__":
    run(main)
