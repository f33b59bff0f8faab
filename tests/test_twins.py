"""The Python twins of the attention and the losses: cases worked by hand, numeric gradients, degenerate input; no Caffe."""

import itertools

import numpy as np
import pytest
from twin_inputs import array, check_gradient, positive, random

from layers.attention_distance import attention_distance_layer as attention_distance
from layers.attention_pooling import attention_pooling_layer as attention_pooling
from layers.consistency_loss import consistency_loss_layer as consistency_loss
from layers.l1_normalize import l1_normalize_layer as l1_normalize
from layers.pairwise_distance import pairwise_distance_layer as pairwise_distance
from layers.triplet_loss import triplet_loss_layer as triplet_loss


class TestAttentionPooling:
    scores = array([1], [3])
    features = array([4], [8])

    def test_by_hand(self):
        parts, weights = attention_pooling.forward(self.scores, self.features, frames=2)
        assert parts.tolist() == [[[7]]] and weights.tolist() == [[2]]
        diffs = [array([[1]]), array([[0]])]
        dscores, dfeatures = attention_pooling.backward(diffs, self.scores, self.features, frames=2)
        assert dscores.tolist() == [[-0.75], [0.25]] and dfeatures.tolist() == [[0.25], [0.75]]

    def test_the_weights_gradient_has_1_over_t_unless_paper(self):
        diffs = [array([[0]]), array([[1]])]
        for gradient, expected in (("EXACT", 0.5), ("PAPER", 1)):
            dscores, dfeatures = attention_pooling.backward(diffs, self.scores, self.features, frames=2,
                                                            gradient=gradient)
            assert dscores.tolist() == [[expected], [expected]] and not dfeatures.any()

    def test_rows_are_video_major(self):
        scores, features = random(6, 2) ** 2, random(2, 6, 3, seed=1)
        both = attention_pooling.forward(scores, *features, frames=3)
        for v in range(2):
            rows = slice(3 * v, 3 * v + 3)
            one = attention_pooling.forward(scores[rows], *features[:, rows], frames=3)
            np.testing.assert_allclose(both[0][v], one[0][0])
            np.testing.assert_allclose(both[1][v], one[1][0])

    @pytest.mark.parametrize("scores, temporal", [(np.zeros((2, 1)), True), (array([1], [3]), False)])
    def test_zero_scores_and_temporal_off_give_the_plain_mean(self, scores, temporal):
        parts, weights = attention_pooling.forward(scores, self.features, frames=2, temporal=temporal)
        assert parts.tolist() == [[[6]]] and weights.tolist() == [[scores.mean()]]
        dscores, dfeatures = attention_pooling.backward([array([[1]]), array([[4]])], scores, self.features,
                                                        frames=2, temporal=temporal)
        assert dscores.tolist() == [[2], [2]] and dfeatures.tolist() == [[0.5], [0.5]]

    def test_only_the_part_without_scores_is_a_plain_mean(self):
        scores = array([0, 1], [0, 3])
        parts, _ = attention_pooling.forward(scores, self.features, self.features, frames=2)
        assert parts.tolist() == [[[6], [7]]]

    def test_one_frame(self):
        parts, weights = attention_pooling.forward(self.scores, self.features, frames=1)
        assert parts.tolist() == [[[4]], [[8]]] and weights.tolist() == [[1], [3]]
        diffs = [np.ones((2, 1, 1)), np.zeros((2, 1))]
        dscores, _ = attention_pooling.backward(diffs, self.scores, self.features, frames=1)
        assert not dscores.any()

    @pytest.mark.parametrize("temporal", [True, False])
    def test_gradient(self, temporal):
        check_gradient(attention_pooling, [positive(6, 2), *random(2, 6, 3)], range(3), frames=3,
                       temporal=temporal)


class TestAttentionDistance:
    parts = array([[0], [0]], [[1], [2]])
    weights = array([1, 3], [1, 1])

    def test_by_hand(self):
        (psi,) = attention_distance.forward(self.parts, self.weights)
        np.testing.assert_allclose(psi, [[0, 0.875], [0.875, 0]])
        (psi,) = attention_distance.forward(self.parts, self.weights, norm="L2")
        np.testing.assert_allclose(psi[0, 1], 7 / np.sqrt(20))

    def test_gradients_by_hand(self):
        for entry in ((0, 1), (1, 0)):
            dpsi = np.zeros((2, 2))
            dpsi[entry] = 1
            dparts, exact = attention_distance.backward([dpsi], self.parts, self.weights)
            np.testing.assert_allclose(dparts, [[[-0.125], [-0.375]], [[0.125], [0.375]]])
            np.testing.assert_allclose(exact, [[-0.09375, 0.03125], [-0.3125, 0.3125]])
            same, printed = attention_distance.backward([dpsi], self.parts, self.weights, gradient="PAPER")
            np.testing.assert_allclose(same, dparts)
            np.testing.assert_allclose(printed, [[0.28125, 0.09375], [0.4375, 0.4375]])

    def test_paper_divides_by_the_chosen_norm(self):
        _, printed = attention_distance.backward([array([0, 1], [0, 0])], self.parts, self.weights, norm="L2",
                                                 gradient="PAPER")
        w, length = array(1, 3) / np.sqrt(10), np.sqrt(10)
        np.testing.assert_allclose(printed[0], 3 / np.sqrt(2) * (1 - w) / length)

    def test_both_entries_of_a_pair_count_and_the_diagonal_does_not(self):
        parts, weights, dpsi = random(3, 2, 4), positive(3, 2), random(3, 3, seed=3)
        for options in ({}, {"gradient": "PAPER"}):
            whole = attention_distance.backward([dpsi], parts, weights, **options)
            upper = np.triu(dpsi + dpsi.T, 1)
            for a, b in zip(whole, attention_distance.backward([upper], parts, weights, **options)):
                np.testing.assert_allclose(a, b, atol=1e-14)

    @pytest.mark.parametrize("norm, each", [("L1", 0.5), ("L2", np.sqrt(0.5))])
    @pytest.mark.parametrize("gradient", ["EXACT", "PAPER"])
    def test_zero_scores_count_as_equal_ones(self, norm, each, gradient):
        weights = array([0, 0], [1, 1])
        (psi,) = attention_distance.forward(self.parts, weights, norm=norm)
        np.testing.assert_allclose(psi[0, 1], each * each * 3)
        dparts, dweights = attention_distance.backward([np.ones((2, 2))], self.parts, weights, norm=norm,
                                                       gradient=gradient)
        assert not dweights[0].any() and dweights[1].any() and np.isfinite(dparts).all()

    def test_spatial_off_is_equal_scores_without_gradient(self):
        bottoms = self.parts, self.weights
        for norm, mean in (("L1", 0.75), ("L2", 1.5)):
            for gradient in ("EXACT", "PAPER"):
                options = dict(norm=norm, spatial=False, gradient=gradient)
                assert attention_distance.forward(*bottoms, **options)[0][0, 1] == pytest.approx(mean)
                _, dweights = attention_distance.backward([np.ones((2, 2))], *bottoms, **options)
                assert not dweights.any()

    def test_equal_features_have_no_gradient(self):
        for feature_norm in ("UNNORMALIZED", "L2_UNIT"):
            parts = np.ones((2, 2, 3))
            (psi,) = attention_distance.forward(parts, self.weights, feature_norm=feature_norm)
            gradients = attention_distance.backward([np.ones((2, 2))], parts, self.weights,
                                                    feature_norm=feature_norm)
            assert not psi.any() and not any(gradient.any() for gradient in gradients)

    @pytest.mark.parametrize("norm, spatial, feature_norm", itertools.product(
        ("L1", "L2"), (True, False), ("UNNORMALIZED", "L2_UNIT")))
    def test_gradient(self, norm, spatial, feature_norm):
        weights = positive(3, 2) * array([1, -1], [1, 1], [1, 1])
        check_gradient(attention_distance, [random(3, 2, 4), weights], (0, 1) if spatial else (0,), norm=norm,
                       spatial=spatial, feature_norm=feature_norm)


class TestPaperGradient:
    """Eq. 10-13 as printed against the derivative, from psi of two videos to the scores of the first."""

    frames, parts = 8, 6

    def gradients(self, seed, channels, gradient):
        """By the normalised score map (48) and by the map before L1Normalize (48); the normalised map (48).

        Scores are uniform in (0, 1), features standard normal, the seed is the draw's.
        """
        rng = np.random.default_rng(seed)
        scores = rng.uniform(size=(2 * self.frames, self.parts))
        features = rng.normal(size=(self.parts, 2 * self.frames, channels))
        (a,) = l1_normalize.forward(scores, frames=self.frames)
        pooled = attention_pooling.forward(a, *features, frames=self.frames)
        dpooled = attention_distance.backward([array([0, 1], [0, 0])], *pooled, gradient=gradient)
        da, *_ = attention_pooling.backward(dpooled, a, *features, frames=self.frames, gradient=gradient)
        (dscores,) = l1_normalize.backward([da], scores, frames=self.frames)
        return [d[:self.frames].ravel() for d in (da, dscores, a)]

    def printed(self, seed, channels):
        """Eq. 13 spelt out, one score at a time."""
        rng = np.random.default_rng(seed)
        scores = rng.uniform(size=(2, self.frames, self.parts))
        f = np.moveaxis(rng.normal(size=(self.parts, 2, self.frames, channels)), 0, 2)
        a = scores / scores.sum(axis=(1, 2), keepdims=True)
        f_r = (a[..., None] * f).sum(axis=1) / a.sum(axis=1)[..., None]
        a_bar = a.mean(axis=1)
        a_n = a_bar / a_bar.sum(axis=1, keepdims=True)
        distance = np.linalg.norm(f_r[0] - f_r[1], axis=1)
        by_a_n = (a_n[1] * distance).sum()
        gradient = np.zeros((self.frames, self.parts))
        for t, r in np.ndindex(gradient.shape):
            by_f = a_n[0, r] * a_n[1, r] * (f_r[0, r] - f_r[1, r]) / distance[r]
            gradient[t, r] = (by_f @ (f[0, t, r] - f_r[0, r]) / a[0, :, r].sum()
                              + by_a_n * (1 - a_n[0, r]) / a_bar[0].sum())
        return gradient.ravel()

    @staticmethod
    def compare(printed, exact):
        lengths = np.linalg.norm(printed), np.linalg.norm(exact)
        return lengths[0] / lengths[1], printed @ exact / lengths[0] / lengths[1]

    def test_paper_is_eq_13(self):
        np.testing.assert_allclose(self.gradients(0, 5, "PAPER")[0], self.printed(0, 5))

    def test_exact_is_blind_to_scale_and_paper_is_not(self):
        exact, _, a = self.gradients(0, 16, "EXACT")
        printed, _, _ = self.gradients(0, 16, "PAPER")
        assert abs(self.compare(exact, a)[1]) < 1e-9  # psi does not change with the length of a
        assert self.compare(printed, a)[1] > 0.5

    @pytest.mark.parametrize("channels, by_map, by_scores", [
        (16, (77.7, -0.194), (2.69, 0.298)),
        (1024, (145.4, -0.394), (4.86, 0.123)),
    ])
    def test_how_much_they_differ(self, channels, by_map, by_scores):
        """(length of the printed gradient over the exact one's, their cosine), means of 20 draws.

        L1Normalize's own Backward takes most of the difference out again: the printed gradient is nearly the
        same for every score, and the sum of a normalised map cannot change.
        """
        draws = [[self.gradients(seed, channels, gradient) for gradient in ("PAPER", "EXACT")]
                 for seed in range(20)]
        for i, expected in enumerate((by_map, by_scores)):
            measured = np.mean([self.compare(printed[i], exact[i]) for printed, exact in draws], axis=0)
            assert measured == pytest.approx(expected, rel=0.01)


class TestPairwiseDistance:
    def test_by_hand(self):
        features = array([0, 0], [3, 4])
        assert pairwise_distance.forward(features)[0].tolist() == [[0, 5], [5, 0]]
        (gradient,) = pairwise_distance.backward([array([7, 1], [1, 7])], features)
        np.testing.assert_allclose(gradient, [[-1.2, -1.6], [1.2, 1.6]])

    def test_unit_length(self):
        (distances,) = pairwise_distance.forward(array([3, 4], [5, 0], [0, 0]), feature_norm="L2_UNIT")
        np.testing.assert_allclose(distances, [[0, np.sqrt(0.8), 1], [np.sqrt(0.8), 0, 1], [1, 1, 0]])

    def test_zero_and_equal_features(self):
        features = array([0, 0], [0, 0], [3, 4])
        (gradient,) = pairwise_distance.backward([np.ones((3, 3))], features, feature_norm="L2_UNIT")
        assert np.isfinite(gradient).all() and not gradient[:2].any()
        (gradient,) = pairwise_distance.backward([np.ones((2, 2))], np.ones((2, 3)))
        assert not gradient.any()

    def test_squared_by_hand(self):
        features = array([0, 0], [3, 4])
        assert pairwise_distance.forward(features, squared=True)[0].tolist() == [[0, 25], [25, 0]]
        (gradient,) = pairwise_distance.backward([array([7, 1], [2, 7])], features, squared=True)
        assert gradient.tolist() == [[-18, -24], [18, 24]]  # both entries of the pair: (1 + 2) * 2 (g_i - g_j)

    def test_squared_unit_length(self):
        (squares,) = pairwise_distance.forward(array([3, 4], [5, 0], [0, 0]), feature_norm="L2_UNIT", squared=True)
        np.testing.assert_allclose(squares, [[0, 0.8, 1], [0.8, 0, 1], [1, 1, 0]])

    def test_squared_has_a_gradient_that_fades_towards_equal_features(self):
        """Two units of slope at a distance of 1, 2e-9 at 1e-9: that of the distance stays 1."""
        for apart in (1, 1e-9, 0):
            features = array([0], [apart])
            (gradient,) = pairwise_distance.backward([array([0, 1], [0, 0])], features, squared=True)
            np.testing.assert_allclose(gradient, [[-2 * apart], [2 * apart]], rtol=1e-15)

    def test_squared_zero_features(self):
        features = array([0, 0], [0, 0], [3, 4])
        (gradient,) = pairwise_distance.backward([np.ones((3, 3))], features, feature_norm="L2_UNIT", squared=True)
        assert np.isfinite(gradient).all() and not gradient[:2].any()

    @pytest.mark.parametrize("squared", [False, True])
    @pytest.mark.parametrize("feature_norm", ["UNNORMALIZED", "L2_UNIT"])
    def test_gradient(self, feature_norm, squared):
        check_gradient(pairwise_distance, [random(4, 3)], (0,), feature_norm=feature_norm, squared=squared)


class TestL1Normalize:
    def test_by_hand(self):
        scores = array([1, 3], [0, 4], [-1, 0], [0, 1])
        (top,) = l1_normalize.forward(scores, frames=2)
        np.testing.assert_allclose(top, [[0.125, 0.375], [0, 0.5], [-0.5, 0], [0, 0.5]])
        (gradient,) = l1_normalize.backward([array([8, 0], [0, 0], [0, 0], [0, 0])], scores, frames=2)
        np.testing.assert_allclose(gradient, [[0.875, -0.125], [1, -0.125], [0, 0], [0, 0]] * array([1, 1])
                                   - array([0, 0], [1, 0], [0, 0], [0, 0]))

    def test_zeros_stay_zeros(self):
        (top,) = l1_normalize.forward(np.zeros((2, 2)), frames=2)
        (gradient,) = l1_normalize.backward([np.ones((2, 2))], np.zeros((2, 2)), frames=2, eps=0.5)
        assert not top.any() and (gradient == 2).all()

    @pytest.mark.parametrize("frames", [1, 2])
    def test_gradient(self, frames):
        scores = positive(4, 3) * np.sign(random(4, 3))
        check_gradient(l1_normalize, [scores], (0,), frames=frames, eps=0.1)


class TestTripletLoss:
    distances = array([0, 2, 1], [2, 0, 9], [1, 9, 0])
    label = array(4, 4, 7)

    def test_by_hand(self):
        assert triplet_loss.forward(self.distances, self.label, margin=0.5)[0] == 1.5
        gradient, of_label = triplet_loss.backward([np.array(3.0)], self.distances, self.label, margin=0.5)
        assert gradient.tolist() == [[0, 3, -3], [0, 0, 0], [0, 0, 0]] and of_label is None

    def test_the_hinge_has_no_gradient_at_its_foot(self):
        distances = array([0, 0.5, 1], [0, 0, 0], [0, 0, 0])
        assert triplet_loss.forward(distances, self.label, margin=0.5)[0] == 0
        assert not triplet_loss.backward([np.array(1.0)], distances, self.label, margin=0.5)[0].any()

    def test_the_mean_is_over_inactive_triplets_too(self):
        distances, label = np.zeros((6, 6)), array(1, 1, 2, 3, 3, 1)
        distances[0, 1], distances[3, 5] = 2, 9  # hinges 2 + 1 and -9 + 1
        for normalization, scale in (("VALID", 0.5), ("NONE", 1)):
            options = dict(margin=1, normalization=normalization)
            assert triplet_loss.forward(distances, label, **options)[0] == 3 * scale
            gradient, _ = triplet_loss.backward([np.array(1.0)], distances, label, **options)
            assert gradient[0, 1] == -gradient[0, 2] == scale and np.abs(gradient).sum() == 2 * scale

    def test_triplets_of_a_batch(self):
        distances, label = random(5, 5) ** 2, array(1, 2, 1, 2, 3)
        everyone = triplet_loss.select(distances, label, "ALL")
        assert sorted(everyone) == [(a, p, n) for a, p, n in itertools.product(range(5), repeat=3)
                                    if a != p and label[a] == label[p] != label[n]]
        hard = triplet_loss.select(distances, label, "HARD")
        assert [a for a, _, _ in hard] == [0, 1, 2, 3]  # video 4 has no positive
        for a, p, n in hard:
            assert distances[a, p] == max(distances[a, q] for b, q, _ in everyone if b == a)
            assert distances[a, n] == min(distances[a, q] for b, _, q in everyone if b == a)

    def test_hard_takes_the_first_on_ties(self):
        assert triplet_loss.select(np.ones((5, 5)), array(1, 1, 1, 2, 2), "HARD")[0] == (0, 1, 3)

    @pytest.mark.parametrize("triplets", ["ALL", "HARD"])
    @pytest.mark.parametrize("label", [array(1, 1, 1), array(1, 2, 3)])
    def test_no_triplet(self, triplets, label):
        assert triplet_loss.forward(self.distances, label, margin=1, triplets=triplets)[0] == 0
        gradient, _ = triplet_loss.backward([np.array(1.0)], self.distances, label, margin=1,
                                            triplets=triplets)
        assert not gradient.any()

    @pytest.mark.parametrize("triplets", ["ORDERED", "ALL", "HARD"])
    @pytest.mark.parametrize("normalization", ["VALID", "NONE"])
    def test_gradient(self, triplets, normalization):
        check_gradient(triplet_loss, [2 * random(6, 6), array(1, 1, 2, 2, 2, 1)], (0,), margin=1.9,
                       triplets=triplets, normalization=normalization)


class TestConsistencyLoss:
    def test_zero_weights_give_log_k(self):
        bottoms = [*random(2, 4, 3), array(0, 4)]
        weights = np.zeros((2, 5, 3))
        assert consistency_loss.forward(*bottoms, weights=weights, frames=2)[0] == pytest.approx(np.log(5))
        total = consistency_loss.forward(*bottoms, weights=weights, frames=2, normalization="NONE")[0]
        assert total == pytest.approx(8 * np.log(5))

    def test_by_hand(self):
        f, label, weights = array([0.5], [2]), array(1), array([[1], [-1]])
        entropy = np.log1p(np.exp(2 * f[:, 0]))
        (loss,) = consistency_loss.forward(f, label, weights=weights, frames=2)
        assert loss == pytest.approx(entropy.mean())
        scores = array([1], [3])
        options = dict(weights=weights, input="WEIGHTED_FRAMES", frames=2)
        (loss,) = consistency_loss.forward(f, label, scores, **options)
        assert loss == pytest.approx(entropy @ [0.25, 0.75])
        # d softmax: p(0) (w_0 - w_1) = p(0) * 2 at each frame, p(0) = 1 / (1 + exp(-2 f))
        (df, of_label, dscores), _ = consistency_loss.backward([np.array(1.0)], f, label, scores, **options)
        np.testing.assert_allclose(df[:, 0], 2 / (1 + np.exp(-2 * f[:, 0])) * [0.25, 0.75])
        np.testing.assert_allclose(dscores[:, 0], (entropy - entropy @ [0.25, 0.75]) / 4)
        assert of_label is None

    def test_aggregated_is_frames_of_one(self):
        parts, label, weights = random(3, 2, 4), array(0, 2, 1), random(2, 3, 4, seed=1)
        for normalization in ("VALID", "NONE"):
            a = consistency_loss.forward(parts, label, weights=weights, input="AGGREGATED",
                                         normalization=normalization)
            b = consistency_loss.forward(*np.moveaxis(parts, 1, 0), label, weights=weights, frames=1,
                                         normalization=normalization)
            assert a[0] == pytest.approx(b[0])

    def test_equal_and_zero_scores_weigh_frames_alike(self):
        bottoms, weights = [*random(2, 4, 3), array(1, 0)], random(2, 3, 3, seed=1)
        plain = consistency_loss.forward(*bottoms, weights=weights, frames=2)[0]
        for scores in (np.zeros((4, 2)), np.full((4, 2), 0.3)):
            options = dict(weights=weights, input="WEIGHTED_FRAMES", frames=2)
            assert consistency_loss.forward(*bottoms, scores, **options)[0] == pytest.approx(plain)
        gradients, _ = consistency_loss.backward([np.array(1.0)], *bottoms, np.zeros((4, 2)), **options)
        assert not gradients[-1].any() and all(gradient.any() for gradient in gradients[:2])

    def test_large_logits(self):
        options = dict(weights=array([[1], [-1]]), frames=1)
        for label, loss in ((0, 0), (1, 2e4)):
            bottoms = array([1e4]), array(label)
            assert consistency_loss.forward(*bottoms, **options)[0] == loss
            gradients, _ = consistency_loss.backward([np.array(1.0)], *bottoms, **options)
            assert gradients[0] == (2 if label else 0)

    def test_one_identity(self):
        bottoms, options = [random(2, 3), array(0)], dict(weights=random(1, 1, 3), frames=2)
        assert consistency_loss.forward(*bottoms, **options)[0] == 0
        gradients, dweights = consistency_loss.backward([np.array(1.0)], *bottoms, **options)
        assert not gradients[0].any() and not dweights.any()

    @pytest.mark.parametrize("normalization", ["VALID", "NONE"])
    @pytest.mark.parametrize("name", ["FRAMES", "WEIGHTED_FRAMES", "AGGREGATED"])
    def test_gradient(self, name, normalization):
        label, weights = array(2, 0), random(2, 3, 4, seed=5)
        bottoms, wanted = [*random(2, 6, 4), label], [0, 1]
        if name == "WEIGHTED_FRAMES":
            bottoms, wanted = [*bottoms, positive(6, 2)], [0, 1, 3]
        if name == "AGGREGATED":
            bottoms, wanted = [random(2, 2, 4), label], [0]
        check_gradient(consistency_loss, bottoms, wanted, weights, input=name, frames=3,
                       normalization=normalization)

    def test_fillers(self):
        def weights(**fields):
            return consistency_loss.fill(consistency_loss.filler(fields), 2, 300, 75)
        assert not weights().any() and (weights(type="constant", value=2) == 2).all()
        normal = weights(type="gaussian", mean=1, std=0.5)
        assert normal.mean() == pytest.approx(1, abs=0.02) and normal.std() == pytest.approx(0.5, abs=0.02)
        for variance_norm, limit in (("FAN_IN", 0.2), ("FAN_OUT", 0.1)):
            uniform = np.abs(weights(type="xavier", variance_norm=variance_norm))
            assert 0.99 * limit < uniform.max() <= limit


class Slope:
    """A module of one top, 3 times its bottom, whose gradient says ``slope``."""

    def __init__(self, slope):
        self.slope = slope

    def forward(self, bottom):
        return [3 * bottom]

    def backward(self, diffs, bottom):
        return [self.slope * diffs[0]]


def test_the_gradient_check_tells_wrong_from_right():
    check_gradient(Slope(3), [random(2)], (0,))
    for wrong in (3.001, 0, -3):
        with pytest.raises(AssertionError):
            check_gradient(Slope(wrong), [random(2)], (0,))
