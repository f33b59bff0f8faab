"""Writes the committed nets and solvers from prototxt/nets/ and prototxt/experiments.py.

    python -m prototxt.generate            # write the committed ones
    python -m prototxt.generate --check    # exit 1 with a diff if a committed file is not what would be written
    python -m prototxt.generate --list     # every experiment and what it serves
    python -m prototxt.generate --only mars_margin_local_0.4    # one that is not committed: net, solver, deploy net
    python -m prototxt.generate --only ilids --identities 200   # for a list of another number of identities
    python -m prototxt.generate --twins --out out/twins         # with Python layers, for a Caffe without layers/

Nobody edits a .prototxt: change the program and run it.
"""

import argparse
import difflib
import glob
import os
from dataclasses import replace

from google.protobuf import text_format

from prototxt import experiments
from prototxt.nets import pose, qan, stal
from prototxt.nets.solver import solver
from stal.errors import InputError, run
from stal.files import replacing

HERE = os.path.dirname(os.path.abspath(__file__))
HEADER = "# Written by python -m prototxt.generate from prototxt/nets/ and prototxt/experiments.py. Do not edit.\n"


def text(message):
    """The message as prototxt with a header and, in a net, a title before each layer or group of layers.

    Raises AssertionError if the text does not parse back to the same message.
    """
    result = HEADER + (_sections(message) if message.DESCRIPTOR.name == "NetParameter"
                       else text_format.MessageToString(message))
    assert text_format.Parse(result, type(message)()) == message, "the text of a float does not survive"
    return result


def _sections(net):
    result, section = [f"name: \"{net.name}\"\n"], None
    for layer in net.layer:
        here = layer.name.split("/")[0]
        if here != section:
            section = here
            result.append(f"\n# ---- {section} ----\n")
        result.append("layer {\n" + text_format.MessageToString(layer, indent=2) + "}\n")
    return "".join(result)


KINDS = {"stal": stal, "qan": qan, "pose": pose}


def files(only=None, identities=None, twins=False, folder="prototxt"):
    """{file name: text} of every committed file, or of the experiment ``only``.

    Args:
        folder: where the files are going to lie, relative to the repository's root; solvers name their net by it.
    Raises:
        InputError: there is no experiment ``only``.
    """
    result = {}
    for name in (only,) if only else experiments.COMMITTED:
        experiment = experiments.experiment(name)
        kind = KINDS[experiment.kind]
        options = replace(experiment.options, twins=twins, identities=identities or experiment.options.identities)
        result[f"train_{name}.prototxt"] = text(kind.train_net(options))
        # Data sets, and variants that differ in training only, share one net for deployment: named after the file.
        shared = experiment.deploy.replace("deploy", "stal", 1)
        result[f"{experiment.deploy}.prototxt"] = text(kind.deploy_net(replace(options, name=shared)))
        if options.pose:  # the pose net alone, for the same frames
            alone = "deploy_demo_pose" if experiment.deploy.startswith("deploy_demo") else "deploy_pose"
            result[f"{alone}.prototxt"] = text(pose.deploy_net(replace(options, name=alone.replace("deploy", "stal", 1),
                                                                       pose="ARG_MAX", pose_lr_mult=1.0)))
        result[f"solver_{name}.prototxt"] = text(
            solver(f"{folder}/train_{name}.prototxt", f"snapshots/{name}", experiment.solver))
    return result


def table():
    """The list of experiments as Markdown: name, what it serves, which are committed, its net for deployment."""
    rows = ["| experiment | serves | committed | net for deployment |", "|---|---|---|---|"]
    for variant, entry in experiments.VARIANTS.items():
        names = ["_".join(filter(None, (data, variant))) for data in experiments.DATASETS]
        committed = ", ".join(f"`{name}`" for name in names if name in experiments.COMMITTED) or "on request"
        deploy = "_".join(filter(None, ("deploy", entry.deploy)))
        rows.append(f"| `{'_'.join(filter(None, ('DATA', variant)))}` | {entry.serves} | {committed} | `{deploy}` |")
    rows += [f"| `{name}` | {entry.serves} | `{name}` | `{entry.deploy}` |" for name, entry in experiments.POSE.items()]
    return "\n".join(rows)


def check(folder=HERE):
    """A unified diff between the committed files and what the program writes; empty if there is none."""
    wanted = files()
    diff = []
    for name in sorted(wanted.keys() | {os.path.basename(path) for path in glob.glob(os.path.join(folder, "*.prototxt"))}):
        path = os.path.join(folder, name)
        if name not in wanted:
            wanted |= _on_request(name)
        if name not in wanted:
            diff.append(f"{path} is written by no experiment: remove it\n")
            continue
        found = open(path).read() if os.path.exists(path) else ""
        diff += difflib.unified_diff(found.splitlines(True), wanted.get(name, "").splitlines(True), path, "generated")
    return "".join(diff)


def _on_request(name):
    """The files of an experiment that is not committed, if the file ``name`` is one of them, or {}."""
    stem = name.removesuffix(".prototxt")
    for experiment in map(experiments.experiment, experiments.names()):
        if stem in (f"train_{experiment.name}", f"solver_{experiment.name}", experiment.deploy):
            return files(experiment.name)
    return {}


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--only", metavar="NAME", help="one experiment of --list")
    parser.add_argument("--identities", type=int, help="persons in the training list")
    parser.add_argument("--twins", action="store_true", help="Python layers instead of C++ ones")
    parser.add_argument("--out", default="prototxt", help="folder to write into, relative to the repository's root")
    options = parser.parse_args(argv)
    if options.identities is not None and options.identities < 1:
        raise InputError(f"--identities {options.identities} must be at least 1")
    if options.list:
        print(f"DATA is one of {', '.join(experiments.DATASETS)}.\n\n{table()}")
        return 0
    if options.check:
        diff = check()
        print(diff or "prototxt/ is what the program writes.")
        return 1 if diff else 0
    for name, content in files(options.only, options.identities, options.twins, options.out).items():
        with replacing(os.path.join(options.out, name)) as stream:
            stream.write(content)
        print(os.path.join(options.out, name))
    return 0


if __name__ == "__main__":
    run(main)
