"""How far the attention's gradient as printed (Eq. 10-13) is from the derivative of Eq. 8 and 9.

    python benchmarks/paper_gradient.py

Two videos with random scores (uniform in 0..1) and random features (normal), T = 8, R = 6; the gradient of psi_01 by
the 48 scores of the first video, computed with the Python twins. Prints the ratio of the lengths, printed to exact, and
the cosine between them, averaged over 20 seeds: at the L1-normalised map, and before the normalisation, where it is
what reaches the sigmoid.
"""

import numpy as np

from layers.attention_distance import attention_distance_layer as distance
from layers.attention_pooling import attention_pooling_layer as pooling
from layers.l1_normalize import l1_normalize_layer as normalize

T, R, SEEDS = 8, 6, 20


def gradients(seed, channels):
    """{mode: (gradient at the normalised map, gradient before it)}, each (48,), for video 0."""
    random = np.random.default_rng(seed)
    scores = random.uniform(size=(2 * T, R))
    features = random.normal(size=(R, 2 * T, channels))
    [attention] = normalize.forward(scores, frames=T)
    parts, weights = pooling.forward(attention, *features, frames=T)
    result = {}
    for mode in ("EXACT", "PAPER"):
        diffs = distance.backward([np.array([[0.0, 1.0], [0.0, 0.0]])], parts, weights, gradient=mode)
        at_map = pooling.backward(diffs, attention, *features, frames=T, gradient=mode)[0]
        [before] = normalize.backward([at_map], scores, frames=T)
        result[mode] = at_map[:T].ravel(), before[:T].ravel()
    return result


def main():
    print(f"{'C':>5}  {'at the map: ratio':>18} {'cosine':>7}  {'before L1: ratio':>17} {'cosine':>7}")
    for channels in (16, 64, 1024):
        rows = []
        for seed in range(SEEDS):
            result = gradients(seed, channels)
            for exact, paper in zip(result["EXACT"], result["PAPER"]):
                lengths = np.linalg.norm(exact), np.linalg.norm(paper)
                rows += [lengths[1] / lengths[0], exact @ paper / (lengths[0] * lengths[1])]
        ratio, cosine, ratio_before, cosine_before = np.reshape(rows, (SEEDS, 4)).mean(0)
        print(f"{channels:5}  {ratio:18.1f} {cosine:7.2f}  {ratio_before:17.2f} {cosine_before:7.2f}")


if __name__ == "__main__":
    main()
