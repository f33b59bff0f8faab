"""Inputs that the tests of the twins share."""

import numpy as np


def array(*values):
    return np.array(values, float)


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def positive(*shape, seed=0):
    return np.random.default_rng(seed).uniform(0.2, 1, shape)
