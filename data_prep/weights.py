"""Pre-trained weights: what is published, getting it, and starting a net from it. Nothing is fetched unasked.

    python data_prep/weights.py list
    python data_prep/weights.py fetch googlenet_bn                 # into data/weights; --file FILE takes a copy of yours
    python data_prep/weights.py check --net prototxt/train_ilids.prototxt --weights data/weights/FILE.caffemodel
    python data_prep/weights.py init --net prototxt/train_ilids.prototxt --weights data/weights/FILE.caffemodel \\
        --out data/weights/init_ilids.caffemodel
    caffe train -solver prototxt/solver_ilids.prototxt -weights data/weights/init_ilids.caffemodel

fetch   downloads one model, goes on where it was interrupted, and keeps only what has the published hash.
check   says for each layer what caffe train -weights would do: copied; random start (not in the file); ignored (not in
        the net); FATAL (another shape: Caffe stops). Ends with 1 at a FATAL one, and when a layer of the trunk, or of
        the pose net where a file has one, would keep its random start. Two files: --weights A.caffemodel,B.caffemodel.
init    writes a weights file for the whole net: what check copies, and with --parts copy also each part net's blocks,
        from the trunk's blocks of which they are copies. Layers of another shape outside the trunk are left out.
export  FILE.caffemodel -> .npz: one float32 array a blob, under the key LAYER:NUMBER.
import  .npz -> .caffemodel for a net. There and back, the values stay the same bit by bit. Give the training net: a
        .caffemodel holds it too, and extraction reads from it how frames were prepared.
convert a PyTorch state dict (.npz or .safetensors) -> .caffemodel, for the net that it says:

    python data_prep/weights.py convert --from torchvision-resnet50 resnet50.npz data/weights/resnet50.caffemodel

data_prep/README.md has the list of models, and the line that dumps a state dict.
"""

import argparse

from data_prep.pretrained import arrays, download, registry, state_dicts
from stal.errors import run


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    command = commands.add_parser("list", help="the published models")
    command.add_argument("--markdown", action="store_true", help="as the table of data_prep/README.md")
    command.set_defaults(run=_list)

    command = commands.add_parser("fetch", help="download a published model, or copy and verify a file of yours")
    command.add_argument("name", help="a name of the list")
    command.add_argument("--out", default="data/weights", help="directory (default: data/weights)")
    command.add_argument("--file", help="a copy of the file that you have")
    command.set_defaults(run=_fetch)

    command = commands.add_parser("check", help="what a net takes from weights files")
    _net_and_weights(command)
    command.set_defaults(run=_check)

    command = commands.add_parser("init", help="write the weights a training starts from")
    _net_and_weights(command)
    command.add_argument("--out", required=True, help=".caffemodel to write")
    command.add_argument("--parts", choices=("copy", "xavier"), default="copy",
                         help="what part nets start from: the trunk's blocks (default), or the net's random fillers")
    command.set_defaults(run=_init)

    command = commands.add_parser("export", help=".caffemodel -> .npz")
    command.add_argument("weights", help=".caffemodel")
    command.add_argument("out", help=".npz to write")
    command.set_defaults(run=_export)

    command = commands.add_parser("import", help=".npz -> .caffemodel")
    command.add_argument("arrays", help=".npz of export")
    command.add_argument("out", help=".caffemodel to write")
    command.add_argument("--net", required=True, help="prototxt whose layers they are")
    command.set_defaults(run=_import)

    command = commands.add_parser("convert", help="PyTorch state dict -> .caffemodel")
    command.add_argument("--from", dest="kind", required=True, choices=sorted(state_dicts.KINDS), help="its network")
    command.add_argument("state", help=".npz or .safetensors")
    command.add_argument("out", help=".caffemodel to write")
    command.set_defaults(run=_convert)

    args = parser.parse_args(argv)
    args.run(args)


def _net_and_weights(command):
    command.add_argument("--net", required=True, help="prototxt")
    command.add_argument("--weights", required=True, help=".caffemodel, or several with commas between them")


def _list(args):
    print(registry.markdown() if args.markdown else registry.plain())


def _fetch(args):
    model = registry.find(args.name)
    print(f"{model.file}: licence {model.licence}; source {model.source}")
    path, said = download.copy(model, args.file, args.out) if args.file else download.fetch(model, args.out)
    print(f"{path}: {said}\nFor the net {registry.net_text(model.net)}. {model.note}".rstrip())


# Caffe is imported only by the commands that need it.

def _check(args):
    from data_prep.pretrained import matching
    _, files, rows = _match(args)
    print(matching.table(rows, len(files) > 1))
    matching.require(rows, args.net, args.weights)


def _init(args):
    from data_prep.pretrained import caffemodel, matching
    shapes, files, rows = _match(args)
    matching.leave_out(rows)
    if args.parts == "copy":
        matching.start_parts(rows, files)
    print(matching.table(rows, len(files) > 1))
    matching.require(rows, args.net, args.weights)
    # With the net's shapes: an old file's have four axes each.
    layers = {row.layer: (shapes.types[row.layer], [blob.reshape(shape) for blob, shape in zip(row.blobs, row.net)])
              for row in rows if row.blobs and row.net}
    caffemodel.write(args.out, shapes.name, layers)
    print(f"{args.out}: {len(layers)} layers; the others keep the random start of {args.net}")


def _match(args):
    """The net's shapes, the files' layers, and what Caffe makes of them."""
    from data_prep.pretrained import caffemodel, matching, net_shapes
    files = {path: caffemodel.read(path) for path in args.weights.split(",")}
    shapes = net_shapes.read(args.net)
    return shapes, files, matching.match(shapes, files)


def _export(args):
    from data_prep.pretrained import caffemodel
    layers = {name: layer.blobs for name, layer in caffemodel.read(args.weights).items() if layer.blobs}
    arrays.write_blobs(args.out, layers)
    print(f"{args.out}: {len(layers)} layers, {sum(map(len, layers.values()))} blobs")


def _import(args):
    from data_prep.pretrained import caffemodel, matching, net_shapes
    from stal.caffe_net import read_prototxt
    blobs = arrays.read_blobs(args.arrays)
    shapes = net_shapes.read(args.net)
    layers = matching.place(shapes, blobs, args.arrays, args.net)
    caffemodel.write(args.out, shapes.name, layers, read_prototxt(args.net))
    print(f"{args.out}: {len(layers)} of the {len(shapes.params)} layers with parameters of {args.net}")


def _convert(args):
    from data_prep.pretrained import caffemodel
    state = arrays.read_state_dict(args.state)
    layers, left = state_dicts.convert(args.kind, state, args.state)
    caffemodel.write(args.out, args.kind, layers)
    kind = state_dicts.KINDS[args.kind]
    shown = [key for key in left if not key.endswith("num_batches_tracked")]
    print(f"{args.out}: {len(layers)} layers{'; left out: ' + ', '.join(shown) if shown else ''}\n"
          f"For the net {registry.net_text(kind.net)}. {kind.note}\n"
          f"Frames: B, G, R in 0..255 less the mean {' '.join(map(str, kind.mean))}, scale 1")


if __name__ == "__main__":
    run(main)
