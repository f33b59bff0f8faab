"""Which layers of a net a program that looks at each must run together, to see what a training step runs."""

TOGETHER = ["BatchNorm", "Scale", "ReLU"]  # which Caffe computes in one pass (layers/common/batch_norm_unit.hpp)


def passes(types):
    """[(first layer, last layer, type)] that cover a net in order, of the types of its layers."""
    result, first = [], 0
    while first < len(types):
        together = types[first:first + len(TOGETHER)] == TOGETHER
        last = first + (len(TOGETHER) - 1 if together else 0)
        result.append((first, last, "+".join(types[first:last + 1])))
        first = last + 1
    return result
