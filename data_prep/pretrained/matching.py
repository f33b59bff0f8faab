"""What ``caffe train -weights`` makes of weights files: which layers of the net are filled, from where, with what."""

from dataclasses import dataclass

from data_prep.pretrained.caffemodel import shape_equals
from data_prep.pretrained.names import is_pose, is_trunk, trunk_of
from stal.errors import InputError

COPIED, RANDOM, IGNORED, FATAL = "copied", "random start", "ignored", "FATAL"
FROM_TRUNK, LEFT_OUT = "from the trunk", "left out"


@dataclass
class Row:
    """One layer of the net or of a file."""

    layer: str
    state: str
    net: list | None = None      # shapes of the net's blobs; None: not in the net
    stored: list | None = None   # shapes of the file's
    path: str = ""               # the file
    source: str = ""             # the file's layer, where it is another
    blobs: list | None = None    # what the layer is filled with, in the file's shapes


def match(shapes, files):
    """Matches files with a net as Net::CopyTrainedLayersFrom does: by name, a later file over an earlier one.

    Args:
        shapes: a :class:`~data_prep.pretrained.net_shapes.NetShapes`.
        files: {path: what caffemodel.read returned}.
    Returns:
        a list of :class:`Row`: the net's layers with parameters in its order, then what the files have beside them.
        FATAL: Caffe ends the process, because the layer has other blobs in the file than in the net.
    """
    rows = {name: Row(name, RANDOM, net) for name, net in shapes.params.items()}
    ignored = []
    for path, layers in files.items():
        for name, layer in layers.items():
            stored = [blob.shape for blob in layer.blobs]
            if name not in shapes.types:
                if stored:
                    ignored.append(Row(name, IGNORED, stored=stored, path=path))
                continue
            net = shapes.params.get(name, [])
            if not net and not stored:
                continue
            fits = _fits(net, layer)
            if rows.get(name, Row(name, RANDOM)).state != FATAL:
                rows[name] = Row(name, COPIED if fits else FATAL, net, stored, path, blobs=layer.blobs if fits else None)
    return [*rows.values(), *ignored]


def _fits(net, layer):
    """Whether Caffe copies a file's layer into one whose blobs have the shapes ``net``."""
    return len(net) == len(layer.blobs) and all(shape_equals(wanted, blob.shape, layer.legacy)
                                                for wanted, blob in zip(net, layer.blobs))


def start_parts(rows, files):
    """Lets the layers of the part nets that no file fills start from the trunk's, where the shapes agree; in place.

    The trunk's layers are looked up in the files: a net without a global branch has not all of them.
    """
    for row in rows:
        source = trunk_of(row.layer) if row.state == RANDOM else None
        for path, layers in files.items():
            if source in layers and _fits(row.net, layers[source]):
                row.state, row.source, row.path, row.blobs = FROM_TRUNK, source, path, layers[source].blobs


def leave_out(rows):
    """Drops what Caffe would stop at, outside the trunk and the pose net: such layers keep their random start; in place."""
    for row in rows:
        if row.state == FATAL and not (is_trunk(row.layer) or is_pose(row.layer)):
            row.state = LEFT_OUT


def require(rows, net_path, weights):
    """Raises InputError when Caffe would stop, or when a layer of the trunk is not filled.

    The trunk: :func:`~data_prep.pretrained.names.is_trunk`. The pose net's layers must be filled too as soon as a file has
    one of them.
    """
    for row in rows:
        if row.state == FATAL:
            raise InputError(f"Caffe stops at {row.path}: its layer {row.layer} has the blobs {text(row.stored)} and the "
                             f"net {net_path} has {text(row.net)}; give the weights of this net")
    layers = [row for row in rows if row.net is not None]
    pose_given = any(is_pose(row.layer) and row.state == COPIED for row in layers)
    for what, wanted in (("trunk", is_trunk), *([("pose net", is_pose)] if pose_given else [])):
        mine = [row for row in layers if wanted(row.layer)]
        empty = [row.layer for row in mine if row.state != COPIED]
        if empty:
            raise InputError(f"{weights} leaves {len(empty)} of the {len(mine)} layers of the {what} of {net_path} at their "
                             f"random start, {empty[0]} for one: give the weights of this {what}")
    if not any(is_trunk(row.layer) or is_pose(row.layer) for row in layers):
        raise InputError(f"{net_path} has no layer with a published model's name: give a net of prototxt/")


def place(shapes, blobs, path, net_path):
    """Gives arrays to the layers of a net, in the net's shapes.

    Args:
        blobs: {layer: [arrays]} of the file ``path``; an array may have an old file's four axes.
    Returns:
        {layer: (type, [arrays])} for caffemodel.write.
    Raises:
        InputError: the net has no such layer, or has it with other blobs.
    """
    layers = {}
    for name, given in blobs.items():
        wanted = shapes.params.get(name, [])
        if len(given) != len(wanted) or not all(
                shape_equals(shape, blob.shape, legacy=blob.ndim == 4) for shape, blob in zip(wanted, given)):
            raise InputError(f"{path} has the blobs {text([blob.shape for blob in given])} for the layer {name} and "
                             f"{net_path} has {text(wanted)}: give the net that they are of")
        layers[name] = shapes.types[name], [blob.reshape(shape) for blob, shape in zip(given, wanted)]
    return layers


def table(rows, several):
    """The rows as text, and a line that counts them; ``several`` files are named in it."""
    widest = max(len(row.layer) for row in rows)
    lines = []
    for row in rows:
        shapes = text(row.stored if row.net is None else row.net)
        if row.state in (FATAL, LEFT_OUT):
            shapes = f"{shapes} in the net, {text(row.stored)} in the file"
        note = f"  <- {row.source}" if row.source else ""
        where = f"  {row.path}" if several and row.path else ""
        lines.append(f"{row.state:14}  {row.layer:{widest}}  {shapes}{note}{where}")
    counts = [(sum(row.state == state for row in rows), state)
              for state in (COPIED, FROM_TRUNK, RANDOM, LEFT_OUT, IGNORED, FATAL)]
    lines.append("Layers: " + ", ".join(f"{count} {state}" for count, state in counts if count))
    return "\n".join(lines)


def text(shapes):
    """Shapes as 64x3x7x7, 64."""
    return ", ".join("x".join(map(str, shape)) or "scalar" for shape in shapes or []) or "none"
