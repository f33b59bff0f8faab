"""What the tests of the twins share: inputs, and the check of a gradient."""

import numpy as np


def array(*values):
    return np.array(values, float)


def random(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def positive(*shape, seed=0):
    return np.random.default_rng(seed).uniform(0.2, 1, shape)


def check_gradient(module, bottoms, wanted, weights=None, **options):
    """Compares backward with central differences of a random projection of the tops.

    ``wanted`` are the indices of the bottoms compared; ``weights`` is the parameter, compared too. A gradient
    too small to tell right from wrong fails.
    """
    bottoms = [np.array(bottom, float) for bottom in bottoms]
    extra = {} if weights is None else {"weights": weights}
    probes = [random(*top.shape, seed=9) for top in module.forward(*bottoms, **extra, **options)]
    gradients = module.backward(probes, *bottoms, **extra, **options)
    compared = []
    if weights is not None:
        gradients, dweights = gradients
        compared.append((weights, dweights))
    compared += [(bottoms[i], gradients[i]) for i in wanted]
    for values, gradient in compared:
        numeric = np.zeros_like(values)
        for index in np.ndindex(values.shape):
            kept, ends = values[index], []
            for step in (1e-5, -1e-5):
                values[index] = kept + step
                tops = module.forward(*bottoms, **extra, **options)
                ends.append(sum((probe * top).sum() for probe, top in zip(probes, tops)))
            values[index] = kept
            numeric[index] = (ends[0] - ends[1]) / 2e-5
        assert np.abs(numeric).max() > 1e-3
        np.testing.assert_allclose(gradient, numeric, rtol=1e-6, atol=1e-8)
