"""Lays the method's layers over a Caffe source tree: sources and C++ tests by file name, messages into caffe.proto."""

import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PROTO = "src/caffe/proto/caffe.proto"
LISTED = ".overlay"  # in the source tree: what the last overlay put there


def sources():
    """{path in Caffe's tree: path of ours} for each C++ and CUDA file below layers/."""
    result = {}
    for folder, _, names in sorted(os.walk(os.path.join(ROOT, "layers"))):
        for name in sorted(names):
            stem, suffix = os.path.splitext(name)
            if suffix not in (".hpp", ".cuh", ".cpp", ".cu"):
                continue
            kind = "test" if stem.startswith("test_") else "layers" if stem.endswith("_layer") else "util"
            place = "include/caffe" if suffix in (".hpp", ".cuh") else "src/caffe"
            target = f"{place}/{kind}/{name}"
            if target in result:
                sys.exit(f"error: two files of layers/ are called {name}: rename one, Caffe has one folder for both")
            result[target] = os.path.join(folder, name)
    return result


def merge_proto(upstream, ours):
    """caffe.proto with our message LayerParameter merged into Caffe's and our other messages appended."""
    addition = re.search(r"^message LayerParameter \{\n(.*?)^\}\n", ours, re.M | re.S)
    start = upstream.index("\nmessage LayerParameter {")
    end = upstream.index("\n}\n", start) + 1
    taken = set(re.findall(r"^(?:message|enum) (\w+)", upstream, re.M)) & set(
        re.findall(r"^(?:message|enum) (\w+)", ours.replace(addition[0], ""), re.M))
    if taken:
        sys.exit(f"error: layers/layers.proto defines {', '.join(sorted(taken))}, which Caffe has: rename it")
    return upstream[:end] + addition[1] + upstream[end:] + "\n" + ours.replace(addition[0], "")


def apply(tree, upstream_proto):
    """Brings ``tree`` (a patched Caffe source tree) to the state of layers/, touching only files that differ.

    ``upstream_proto`` is the text of Caffe's own caffe.proto. Refuses to overwrite a file that upstream owns.
    """
    listed = os.path.join(tree, LISTED)
    before = set(open(listed).read().split()) if os.path.exists(listed) else set()
    wanted = {}
    for target, source in sources().items():
        if target not in before and os.path.exists(os.path.join(tree, target)):
            sys.exit(f"error: {os.path.relpath(source, ROOT)} would overwrite Caffe's own {target}: rename it")
        wanted[target] = open(source).read()
    with open(listed, "w") as stream:
        stream.write("\n".join(sorted(before | set(wanted))))
    for target in before - set(wanted):
        if os.path.exists(os.path.join(tree, target)):
            os.remove(os.path.join(tree, target))
    wanted[PROTO] = merge_proto(upstream_proto, open(os.path.join(ROOT, "layers", "layers.proto")).read())
    for target, text in wanted.items():
        path = os.path.join(tree, target)
        if not os.path.exists(path) or open(path).read() != text:
            with open(path, "w") as stream:
                stream.write(text)
    with open(listed, "w") as stream:
        stream.write("\n".join(sorted(set(wanted) - {PROTO})))
