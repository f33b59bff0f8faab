"""ConsistencyLoss: every part alone shall tell the identity (Eq. 6, with the logarithm of a softmax loss).

V videos, T = frames, F = V*T frames video-major, R parts, C channels, K = num_output identities.
    parameter  weights W (R, K, C), one softmax matrix a part, no bias
    bottoms    FRAMES           for each part its features f (F, C); label (V)
               WEIGHTED_FRAMES  the same; scores a (F, R)
               AGGREGATED       parts f (V, R, C); label (V)
    top        scalar, with CE = -log softmax(W_r f)[label]:
               FRAMES           mean of CE over the F*R features (the paper sums)
               WEIGHTED_FRAMES  sum over v, r, t of a_t / sum_t a_t * CE, divided by V*R
               AGGREGATED       mean of CE over the V*R features

``normalization="NONE"`` (loss_param of the C++ layer) does not divide by F*R and V*R. A part without a
positive score in a video weighs its frames by 1/T and gives the scores no gradient. Labels get none.
"""

import numpy as np

from layers.attention_pooling.attention_pooling_layer import shares
from layers.twin import (REQUIRED, Twin, check_axes, check_shape, choice, count_videos, data, diffs, each,
                         overwrite, read_object, real, require, uint32)

NAME = "ConsistencyLoss"
# The fields of Caffe's FillerParameter that the twin's three fillers read.
FILLER = {"type": (choice("constant", "gaussian", "xavier"), "constant"), "value": (real(), 0.0),
          "mean": (real(), 0.0), "std": (real(), 1.0),
          "variance_norm": (choice("FAN_IN", "FAN_OUT", "AVERAGE"), "FAN_IN")}


def filler(value):
    """The kind of a FillerParameter: a JSON object with the fields of FILLER."""
    if type(value) is not dict:
        raise ValueError('an object such as {"type": "xavier"}')
    return read_object(f"{NAME}: weight_filler", value, FILLER)


OPTIONS = {"input": (choice("FRAMES", "WEIGHTED_FRAMES", "AGGREGATED"), "FRAMES"),
           "num_output": (uint32(1), REQUIRED), "frames": (uint32(1), 8),
           "weight_filler": (filler, filler({})), "normalization": (choice("VALID", "NONE"), "VALID")}


def fill(weight_filler, parts, num_output, channels):
    """Weights (R, K, C) to begin with. Each part's (K, C) is a matrix of its own: xavier's fan-in is C."""
    rng = np.random.default_rng(0)
    shape = (parts, num_output, channels)
    if weight_filler["type"] == "gaussian":
        return rng.normal(weight_filler["mean"], weight_filler["std"], shape)
    if weight_filler["type"] == "xavier":
        fans = {"FAN_IN": channels, "FAN_OUT": num_output, "AVERAGE": (channels + num_output) / 2}
        limit = np.sqrt(3 / fans[weight_filler["variance_norm"]])
        return rng.uniform(-limit, limit, shape)
    return np.full(shape, weight_filler["value"])


def weights_shape(bottom_shapes, num_output, input="FRAMES"):
    """Shape (R, K, C) of the parameter."""
    if input == "AGGREGATED":
        _, parts, channels = check_axes(NAME, "parts", bottom_shapes[0], "V, R, C")
    else:
        parts = len(bottom_shapes) - (2 if input == "WEIGHTED_FRAMES" else 1)
        _, channels = check_axes(NAME, "features 1", bottom_shapes[0], "F, C")
    return parts, num_output, channels


def shapes(bottom_shapes, num_output, input="FRAMES", frames=8, weight_filler=None, normalization="VALID"):
    """Shape of the loss. Raises InputError for bottoms that do not fit each other or T."""
    parts, _, channels = weights_shape(bottom_shapes, num_output, input)
    rows = bottom_shapes[0][0]
    if input == "AGGREGATED":
        check_shape(NAME, "label", bottom_shapes[1], (rows,), "one a video")
        return [()]
    for r, shape in enumerate(bottom_shapes[:parts], 1):
        check_shape(NAME, f"features {r}", shape, (rows, channels), "like features 1")
    check_shape(NAME, "label", bottom_shapes[parts], (count_videos(NAME, rows, frames),), "one a video")
    if input == "WEIGHTED_FRAMES":
        check_shape(NAME, "scores", bottom_shapes[-1], (rows, parts), "frames by parts")
    return [()]


def _terms(bottoms, weights, input, frames, normalization):
    """Every cross-entropy and what it counts.

    Returns:
        features (V, T, R, C), where T is 1 for AGGREGATED; cross-entropies (V, T, R); their gradient by the
        logits (V, T, R, K); the share of each (V, T, R); what all shares are multiplied by.
    """
    parts, identities, _ = weights.shape
    if input == "AGGREGATED":
        f, label = bottoms[0][:, None], bottoms[1]
    else:
        label = bottoms[parts]
        f = np.stack(bottoms[:parts], axis=1).reshape(len(label), frames, parts, -1)
    for v, y in enumerate(label):
        require(y in range(identities), f"{NAME}: label {y:g} of video {v} is none of 0 .. {identities - 1}: "
                                        "set num_output to the number of identities")
    logits = np.einsum("vtrc,rkc->vtrk", f, weights)
    logits = logits - logits.max(axis=3, keepdims=True)
    log_softmax = logits - np.log(np.exp(logits).sum(axis=3, keepdims=True))
    target = np.eye(identities)[label.astype(int)][:, None, None]
    entropy = -(target * log_softmax).sum(axis=3)
    share, units = np.ones_like(entropy), entropy.size
    if input == "WEIGHTED_FRAMES":
        share, units = shares(bottoms[-1].reshape(entropy.shape))[0], len(label) * parts
    return f, entropy, np.exp(log_softmax) - target, share, 1 / units if normalization == "VALID" else 1


def forward(*bottoms, weights, input="FRAMES", frames=8, normalization="VALID"):
    """The loss, a scalar. Raises InputError for a label outside 0 .. K-1."""
    _, entropy, _, share, scale = _terms(bottoms, weights, input, frames, normalization)
    return [np.asarray(scale * (share * entropy).sum())]


def backward(diffs, *bottoms, weights, input="FRAMES", frames=8, normalization="VALID"):
    """The list of the bottoms' gradients, and the gradient (R, K, C) of the weights."""
    f, entropy, residual, share, scale = _terms(bottoms, weights, input, frames, normalization)
    scale = scale * diffs[0]
    dlogits = scale * share[..., None] * residual
    df = np.einsum("vtrk,rkc->vtrc", dlogits, weights)
    dweights = np.einsum("vtrk,vtrc->rkc", dlogits, f)
    if input == "AGGREGATED":
        return [df[:, 0], None], dweights
    gradients = [*np.moveaxis(df.reshape(-1, *df.shape[2:]), 1, 0), None]
    if input == "WEIGHTED_FRAMES":
        scores = bottoms[-1]
        _, total, attended = shares(scores.reshape(entropy.shape))
        mean = (share * entropy).sum(axis=1, keepdims=True)
        gradients.append((scale * attended * (entropy - mean) / total).reshape(scores.shape))  # as Eq. 11
    return gradients, dweights


class ConsistencyLoss(Twin):
    OPTIONS = OPTIONS
    TOPS = ("loss",)
    shapes = staticmethod(shapes)

    def bottom_names(self):
        return {"FRAMES": ("features...", "label"), "WEIGHTED_FRAMES": ("features...", "label", "scores"),
                "AGGREGATED": ("parts", "label")}[self.options["input"]]

    def setup(self, bottom, top):
        super().setup(bottom, top)
        shape = weights_shape([tuple(blob.shape) for blob in each(bottom)], self.options["num_output"],
                              self.options["input"])
        if len(self.blobs) == 0:  # else they came with the net
            self.blobs.add_blob(*shape)
            self.blobs[0].data[...] = fill(self.options["weight_filler"], *shape)

    def _arguments(self):
        """What forward and backward take by name."""
        names = ("input", "frames", "normalization")
        return {"weights": data(self.blobs)[0], **{name: self.options[name] for name in names}}

    def compute(self, *bottoms, **_):
        return forward(*bottoms, **self._arguments())

    def backward(self, top, propagate_down, bottom):
        gradients, dweights = backward(diffs(top), *data(bottom), **self._arguments())
        self.blobs[0].diff[...] += dweights  # an iteration may hold several passes; Caffe clears it
        overwrite(bottom, propagate_down, gradients)
