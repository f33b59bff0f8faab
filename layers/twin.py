"""What the Python twins of the layers share: options read from JSON, checks of bottoms and tops.

A twin is the slow, obvious reference beside a C++ layer. Its module ``layers.x.x_layer`` holds three
functions on NumPy arrays, which need no Caffe, and a class that makes a Caffe Python layer of them:

    shapes(bottom_shapes, **options)       -> list of the tops' shapes; InputError for wrong bottoms
    forward(*bottoms, **options)           -> list of the tops
    backward(diffs, *bottoms, **options)   -> list of the bottoms' gradients, None where a bottom gets none;
                                              ``diffs`` is the list of the tops' gradients

The options are the fields of the layer's message in layers.proto, under their names and with their defaults;
enum values are their names. A net runs a twin on an unpatched Caffe:

    layer {
      name: "pooling" type: "Python" bottom: "scores" bottom: "part1" top: "parts" top: "weights"
      python_param {
        module: "layers.attention_pooling.attention_pooling_layer"
        layer: "AttentionPooling"
        param_str: '{"frames": 8}'
      }
    }

A loss needs its ``loss_weight`` spelt out there: Caffe gives Python layers none.
"""

import json
import math

import numpy as np

from stal.errors import InputError

try:
    import caffe
except ModuleNotFoundError as error:
    if error.name != "caffe":
        raise
    Layer = object  # the functions are of use without a Caffe build
else:
    Layer = caffe.Layer

REQUIRED = object()  # the default of an option that has none


def require(condition, sentence):
    """Raises InputError with ``sentence`` unless ``condition`` holds."""
    if not condition:
        raise InputError(sentence)


def uint32(least=0):
    """The kind of a uint32 option that is at least ``least``."""
    def read(value):
        if type(value) is not int or not least <= value < 2 ** 32:
            raise ValueError(f"an integer of at least {least}")
        return value
    return read


def uint32s(value):
    """The kind of a repeated uint32 option: a list of integers, read as a tuple."""
    if type(value) is not list or any(type(item) is not int or not 0 <= item < 2 ** 32 for item in value):
        raise ValueError("a list of integers of at least 0")
    return tuple(value)


def real(least=-math.inf, above=-math.inf):
    """The kind of a float option, at least ``least``, above ``above``; rounded to float32 as in protobuf."""
    def read(value):
        if type(value) not in (int, float) or not math.isfinite(value) or value < least or value <= above:
            bounds = {f" of at least {least:g}": least, f" above {above:g}": above}
            raise ValueError("a finite number" + "".join(text for text in bounds if bounds[text] > -math.inf))
        return float(np.float32(value))
    return read


def flag(value):
    """The kind of a bool option."""
    if type(value) is not bool:
        raise ValueError("true or false")
    return value


def choice(*names):
    """The kind of an enum option: one of the names of its values."""
    def read(value):
        if value not in names:
            raise ValueError("one of " + ", ".join(names))
        return value
    return read


def read_object(what, value, table):
    """Reads the options of a JSON object.

    Args:
        what: str, what the object is, for the sentence.
        value: the object as a dict.
        table: {name: (kind, default)}; a kind is a function of a JSON value that returns the option or raises
            ValueError with what it takes; the default REQUIRED stands for none.
    Returns:
        {name: option} for every name of ``table``.
    Raises:
        InputError: an option that ``table`` does not have, that is missing, or of another kind.
    """
    for name in value:
        require(name in table, f"{what} has no option {name!r}: it has {', '.join(table) or 'none'}")
    options = {}
    for name, (kind, default) in table.items():
        require(name in value or default is not REQUIRED, f"{what} needs the option {name}")
        try:
            options[name] = kind(value[name]) if name in value else default
        except InputError:  # of an object within this one; already a sentence
            raise
        except ValueError as error:
            raise InputError(f"{what}: {name} must be {error}, not {json.dumps(value[name])}") from None
    return options


def read_options(layer, param_str, table):
    """Reads a twin's param_str: JSON with the options of ``table`` (:func:`read_object`), empty for {}.

    Raises:
        InputError: no JSON object, an option twice, or what :func:`read_object` refuses.
    """
    def once(pairs):
        names = [name for name, _ in pairs]
        for name in names:
            require(names.count(name) == 1, f"{layer}: param_str gives {name} twice, remove one")
        return dict(pairs)

    try:
        value = json.loads(param_str or "{}", object_pairs_hook=once)
    except json.JSONDecodeError as error:
        raise InputError(f"{layer}: param_str must be a JSON object, not {param_str!r} ({error})") from None
    require(type(value) is dict, f"{layer}: param_str must be a JSON object, not {param_str!r}")
    return read_object(layer, value, table)


def check_count(layer, kind, names, count):
    """Refuses a number of bottoms or tops. A name that ends in ``...`` stands for one blob or more."""
    repeats = any(name.endswith("...") for name in names)
    require(count == len(names) or repeats and count > len(names),
            f"{layer} takes {'at least ' * repeats}{len(names)} {kind}s ({', '.join(names)}), not {count}")


def check_axes(layer, name, shape, axes):
    """Refuses an empty blob, or a shape of other axes than e.g. ``"F, C"``; a number is that axis' length.

    Returns:
        the shape.
    """
    axes_list = axes.split(", ")
    require(len(shape) == len(axes_list) and min(shape) > 0
            and all(size == int(axis) for size, axis in zip(shape, axes_list) if axis.isdigit()),
            f"{layer}: {name} must have the shape ({axes}), not {tuple(shape)}")
    return shape


def check_shape(layer, name, shape, wanted, why):
    """Refuses a blob whose shape is not the ``wanted`` one."""
    require(tuple(shape) == tuple(wanted), f"{layer}: {name} must have the shape {tuple(wanted)}, {why}, "
                                           f"not {tuple(shape)}")


def count_videos(layer, rows, frames):
    """The number of videos V in ``rows`` rows of T = ``frames`` frames a video."""
    require(rows % frames == 0, f"{layer}: {rows} rows are no whole number of videos of {frames} frames: "
                                "set frames to the data's T")
    return rows // frames


def check_rois(layer, rois, maps):
    """Refuses boxes (M, 5) = [map index, x1, y1, x2, y2] that are not finite or of none of ``maps`` maps."""
    for m, roi in enumerate(rois):
        require(np.isfinite(roi).all(), f"{layer}: roi {m} is not finite: {roi.tolist()}")
        require(roi[0] in range(maps),
                f"{layer}: roi {m} is of map {roi[0]:g}, but there are {maps} maps, counted from 0")


class Twin(Layer):
    """A Caffe Python layer made of a module's functions.

    A subclass sets OPTIONS, BOTTOMS and TOPS, and the functions of its module: ``shapes``, ``compute``
    (forward) and ``differentiate`` (backward). Everything is computed in float64 from Caffe's float32.
    """

    OPTIONS = {}  # {name: (kind, default)}
    BOTTOMS = TOPS = ()  # names, for check_count

    def setup(self, bottom, top):
        layer = type(self).__name__
        self.options = read_options(layer, self.param_str, self.OPTIONS)
        check_count(layer, "bottom", self.bottom_names(), len(bottom))
        check_count(layer, "top", self.top_names(), len(top))

    def bottom_names(self):
        return self.BOTTOMS

    def top_names(self):
        return self.TOPS

    def reshape(self, bottom, top):
        bottom_shapes = [tuple(blob.shape) for blob in each(bottom)]
        for blob, shape in zip(each(top), self.shapes(bottom_shapes, **self.options)):
            blob.reshape(*shape)
        require(not any(np.may_share_memory(above.data, below.data) for above in each(top) for below in each(bottom)),
                f"{type(self).__name__} does not work in place: give its tops names of their own")

    def forward(self, bottom, top):
        for blob, value in zip(each(top), self.compute(*data(bottom), **self.options)):
            blob.data[...] = value

    def backward(self, top, propagate_down, bottom):
        overwrite(bottom, propagate_down, self.differentiate(diffs(top), *data(bottom), **self.options))


def each(vector):
    """A list of what is in one of pycaffe's vectors, which can be indexed but, of blobs, not iterated over."""
    return [vector[i] for i in range(len(vector))]


def data(blobs):
    """The data of blobs, copied as float64."""
    return [blob.data.astype(np.float64) for blob in each(blobs)]


def diffs(blobs):
    """The gradients of blobs, copied as float64."""
    return [blob.diff.astype(np.float64) for blob in each(blobs)]


def overwrite(bottom, propagate_down, gradients):
    """Writes gradients into the bottoms that want one. None is zero: labels, boxes of a max pooling."""
    for blob, wanted, gradient in zip(each(bottom), each(propagate_down), gradients):
        if wanted:
            blob.diff[...] = 0 if gradient is None else gradient
