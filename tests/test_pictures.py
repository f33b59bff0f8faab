"""Pictures: frames, boxes, borders and scores where they belong; t-SNE; what cannot be drawn is refused in a sentence."""

import os

import cv2
import numpy as np
import pytest

from stal.distance import Metric
from stal.errors import InputError
from stal.features import FeatureWriter, read_frames
from stal.pictures import attention, boxes, canvas, embedding, polluted, ranked
from stal.protocols import get_protocol, make_split
from stal.tracklets import Tracklet, write_joints, write_list
from tools import pictures

META = {"net": "toy", "weights_sha256": "w", "list_sha256": "l", "commit": "c", "attention_norm": "L1",
        "feature_norm": "UNNORMALIZED"}
PERSONS, LENGTH, SIZE = 6, 5, (32, 16)
ILIDS = get_protocol("ilids")
BOXED = np.tile(np.float32([2, 4, 1]), (14, 1))  # the joints of every frame
BOXED[5, :2] = 11, 20  # J6: the head's and the left arm's corner


def make(root, frames=True, joints=True, parts=6):
    """A data set in which person 3 looks like person 2 under camera 1; returns (features, list, root) for open_source."""
    tracklets = [Tracklet(f"cam{camid + 1}/person{pid:03d}", pid, camid, camid == 0,
                          tuple(f"cam{camid + 1}/{pid:03d}_{t}.png" for t in range(LENGTH)))
                 for camid in (0, 1) for pid in range(1, PERSONS + 1)]
    for tracklet in tracklets:
        for t, frame in enumerate(tracklet.frames):
            os.makedirs(os.path.dirname(root / frame), exist_ok=True)
            cv2.imwrite(str(root / frame), np.full((*SIZE, 3), 40 * tracklet.pid + t, np.uint8))
    write_list(root / "test.csv", tracklets)
    if joints:
        write_joints(root / "test.csv", np.tile(BOXED, (len(tracklets) * LENGTH, 1, 1)))
    with FeatureWriter(root / "features", tracklets, parts=parts, global_width=2, part_width=2 if parts else 0, meta=META,
                       frames=frames) as writer:
        for n, tracklet in enumerate(tracklets):
            looks = {3: 2.1}.get(tracklet.pid, tracklet.pid) if tracklet.camid == 1 else tracklet.pid
            vector, part = np.float32([looks, 0]), np.full((parts, 2 if parts else 0), looks, np.float32)
            scores = np.linspace(0.2, 0.8, parts, dtype=np.float32)
            per_frame = (np.tile(vector, (LENGTH, 1)), np.tile(part, (LENGTH, 1, 1)), np.tile(scores, (LENGTH, 1)))
            writer.add(n, vector, part, part, scores, per_frame if frames else None)
    return str(root / "features"), str(root / "test.csv"), str(root)


@pytest.fixture
def source(tmp_path):
    return canvas.open_source(*make(tmp_path))


def colours(image):
    """All colours in an image."""
    return set(map(tuple, image.reshape(-1, 3).tolist()))


def test_a_source_pairs_features_and_list(source):
    assert source.starts.tolist() == list(range(0, 2 * PERSONS * LENGTH + 1, LENGTH))
    assert source.joints.shape == (2 * PERSONS * LENGTH, 14, 3)
    assert canvas.read_frame(source, 7, 3)[0, 0].tolist() == [83] * 3  # camera 1's person 2, fourth frame


def test_a_list_of_another_set_is_refused(tmp_path):
    directory, path, root = make(tmp_path)
    write_list(tmp_path / "other.csv", [Tracklet("cam1/person001", 1, 0, True, ("a.png",))])
    with pytest.raises(InputError, match="not of the tracklets in .*other.csv"):
        canvas.open_source(directory, tmp_path / "other.csv", root)


@pytest.mark.parametrize("length, count, wanted", [(16, 4, [0, 5, 10, 15]), (2, 4, [0, 1]), (1, 3, [0]), (9, 1, [0])])
def test_frames_are_spread_evenly(length, count, wanted):
    assert canvas.spread(length, count) == wanted


def test_scores_go_from_red_over_yellow_to_green():
    low, middle, high = (np.array(canvas.score_colour(score)) for score in (0, 0.5, 1))
    assert low.argmax() == 2 and high.argmax() == 1
    assert middle[1] == middle[2] > middle[0]
    assert canvas.score_colour(7) == tuple(high) and canvas.score_colour(-1) == tuple(low)


def test_a_png_holds_the_image(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    canvas.write_png(tmp_path / "new" / "x.png", image)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "new" / "x.png")), image)
    assert (tmp_path / "new" / "x.png").read_bytes() == canvas.png_bytes(image)


def test_boxes_follow_equation_7():
    np.testing.assert_array_equal(boxes.part_boxes(BOXED[None])[0],
                                  [[2, 4, 11, 20]] * 2 + [[2, 4, 2, 4], [2, 4, 11, 20]] + [[2, 4, 2, 4]] * 2)


def test_boxes_lie_at_their_pixels():
    before, image = np.zeros((*SIZE, 3), np.uint8), np.zeros((8 * SIZE[0], 8 * SIZE[1], 3), np.uint8)
    boxes.draw_boxes(image, np.float64([[2, 4, 11, 20]]), before, [(0, 0, 255)], thickness=1)
    y, x = np.nonzero(image[..., 2])
    # Centre 2.5 of the small image is 20 of the large one, whose pixel 19.5 rounds to 20.
    assert (x.min(), x.max(), y.min(), y.max()) == (20, 92, 36, 164)


def test_the_boxes_picture_shows_every_part(source):
    picture = boxes.boxes_picture(source, 0, count=3)
    assert picture.shape[0] > 256 and picture.shape[1] > 3 * 128
    assert set(boxes.COLOURS) <= colours(picture)


def test_boxes_need_joints(tmp_path):
    with pytest.raises(InputError, match="no joints beside the list"):
        boxes.boxes_picture(canvas.open_source(*make(tmp_path, joints=False)), 0)


def test_attention_shows_both_cameras_in_the_colours_of_the_scores(source):
    frames = read_frames(source.features)
    picture = attention.attention_picture(source, frames, 2, count=2)
    assert {canvas.score_colour(score / 0.8) for score in np.linspace(0.2, 0.8, 6)} <= colours(picture)
    assert {(80,) * 3, (84,) * 3} <= colours(picture)  # the first and the last frame of person 2
    one_more = attention.attention_picture(source, frames, 2, count=3)
    assert one_more.shape[0] == picture.shape[0] > 2 * 256 and one_more.shape[1] > picture.shape[1]


def test_attention_bars_are_as_long_as_the_scores(tmp_path):
    source = canvas.open_source(*make(tmp_path, joints=False))  # no boxes in the same colours
    picture = attention.attention_picture(source, read_frames(source.features), 1, count=1)
    found = (picture[300:] == canvas.score_colour(0.2 / 0.8)).all(axis=-1)  # below the legend
    lengths = found.sum(axis=1)
    assert lengths.max() == round(70 * 0.2 / 0.8) + 1


@pytest.mark.parametrize("pid, parts, sentence", [(99, 6, "no tracklet of pid 99"), (1, 0, "without parts")])
def test_attention_refuses(tmp_path, pid, parts, sentence):
    source = canvas.open_source(*make(tmp_path, parts=parts))
    with pytest.raises(InputError, match=sentence):
        attention.attention_picture(source, read_frames(source.features), pid)


def borders(picture, entries):
    """Colours of the first line's borders, left to right, by a line of pixels through it."""
    line = picture[80].tolist()
    marks = [tuple(pixel) for pixel in line if tuple(pixel) in (canvas.GREEN, canvas.RED)]
    changes = marks[::8]  # four pixels left and four right of an entry
    assert len(marks) == 8 * entries
    return changes


def test_borders_tell_matches_from_others(source):
    split = make_split(source.features, ILIDS)
    picture = ranked.ranked_picture(source, ILIDS, split, Metric(), [1], k=3)  # person 2, nearest: 2, "2.1" (3), 1
    assert borders(picture, 3) == [canvas.GREEN, canvas.RED, canvas.RED]
    picture = ranked.ranked_picture(source, ILIDS, split, Metric(), [2], k=3)  # person 3: "2.1" is it, 2, 4 are not
    assert borders(picture, 3) == [canvas.GREEN, canvas.RED, canvas.RED]
    picture = ranked.ranked_picture(source, ILIDS, split, Metric(), [3], k=2)
    assert borders(picture, 2) == [canvas.GREEN, canvas.RED]


def test_ranked_lists_end_with_the_gallery(source):
    split = make_split(source.features, ILIDS)
    wide = ranked.ranked_picture(source, ILIDS, split, Metric(), [0], k=50)
    assert len(borders(wide, PERSONS)) == PERSONS
    assert ranked.ranked_picture(source, ILIDS, split, Metric(), [0, 1]).shape[0] > wide.shape[0]


def test_best_and_worst_by_average_precision_then_name(source):
    swapped = source.features.global_mean.copy()
    parts = source.features.parts.copy()
    swapped[PERSONS + 5], parts[PERSONS + 5] = [0.5, 0], 0.5  # camera 1's person 6 looks like nobody, nearest to 1
    features = source.features.__class__(**{**vars(source.features), "global_mean": swapped, "parts": parts})
    source = source._replace(features=features)
    best, worst = ranked.best_and_worst(source, ILIDS, make_split(features, ILIDS), Metric(), 2)
    assert best == [0, 1] and worst[0] == 5


def test_polluted_frames_lie_below_the_originals(tmp_path):
    for folder, value in (("a", 90), ("b", 30)):
        os.makedirs(tmp_path / folder)
        cv2.imwrite(str(tmp_path / folder / "x.png"), np.full((*SIZE, 3), value, np.uint8))
    picture = polluted.polluted_picture(tmp_path / "a", tmp_path / "b", ["x.png", "x.png"])
    rows = [np.nonzero((picture == value).all(axis=-1).sum(axis=1) >= 2 * 64)[0] for value in (90, 30)]
    assert [len(one) for one in rows] == [canvas.HEIGHT] * 2 and rows[0].max() < rows[1].min()


def test_polluted_frames_of_another_size_or_missing_are_refused(tmp_path):
    for folder, size in (("a", (8, 8)), ("b", (9, 8))):
        os.makedirs(tmp_path / folder)
        cv2.imwrite(str(tmp_path / folder / "x.png"), np.zeros((*size, 3), np.uint8))
    with pytest.raises(InputError, match="b/x.png has another size"):
        polluted.polluted_picture(tmp_path / "a", tmp_path / "b", ["x.png"])
    with pytest.raises(InputError, match="cannot read the image .*y.png"):
        polluted.polluted_picture(tmp_path / "a", tmp_path / "b", ["y.png"])


def clusters():
    rng = np.random.default_rng(3)
    return np.concatenate([rng.normal(0, 1, (20, 8)), rng.normal(12, 1, (20, 8))])


def test_tsne_separates_two_clusters():
    plane = embedding.tsne(clusters(), perplexity=8)
    centres = plane[:20].mean(axis=0), plane[20:].mean(axis=0)
    radius = max(np.linalg.norm(half - centre, axis=1).max() for half, centre in zip((plane[:20], plane[20:]), centres))
    assert np.linalg.norm(centres[0] - centres[1]) > 2 * radius


def test_tsne_is_a_function_of_points_and_seed():
    first = embedding.tsne(clusters(), seed=1)
    np.testing.assert_array_equal(first, embedding.tsne(clusters(), seed=1))
    assert not np.array_equal(first, embedding.tsne(clusters(), seed=2))


def test_tsne_finds_the_perplexity():
    joint = embedding._joint(embedding._squares(clusters()), 5.0)
    np.testing.assert_allclose([joint.sum(), joint.diagonal().sum()], [1, 0])
    same = embedding._joint(1 - np.eye(7), 6.0)  # everybody as far: six neighbours alike
    np.testing.assert_allclose(same[~np.eye(7, dtype=bool)], 1 / 42)


def test_tsne_of_equal_points_is_finite():
    assert np.isfinite(embedding.tsne(np.ones((9, 3)))).all()


@pytest.mark.parametrize("count", [3, 1001])
def test_tsne_refuses_too_few_and_too_many(count):
    with pytest.raises(InputError, match=f"not {count}"):
        embedding.tsne(np.zeros((count, 1)))


def test_the_embedding_colours_the_persons_asked_for(source):
    shown = colours(embedding.embedding_picture(source.features, [2, 5]))
    assert embedding._colour(0) in shown and embedding._colour(1) in shown and embedding._colour(2) not in shown
    with pytest.raises(InputError, match="no tracklet of pid 77"):
        embedding.embedding_picture(source.features, [77])


def test_the_program_writes_every_picture(tmp_path, capsys):
    directory, path, root = make(tmp_path)
    out = str(tmp_path / "out")
    pictures.main([directory, "--list", path, "--root", root, "--out", out, "--persons", "2", "--queries", "1",
                   "--polluted", root])
    wanted = ["attention_1.png", "boxes_cam1_person001.png", "attention_2.png", "boxes_cam1_person002.png",
              "ranked_best.png", "ranked_worst.png", "tsne.png", "polluted.png"]
    assert capsys.readouterr().out.split() == [os.path.join(out, name) for name in wanted]
    assert sorted(os.listdir(out)) == sorted(wanted)


def test_the_program_leaves_out_what_a_net_without_parts_lacks(tmp_path, capsys):
    directory, path, root = make(tmp_path, frames=False, joints=False, parts=0)
    pictures.main([directory, "--list", path, "--root", root, "--out", str(tmp_path / "out")])
    assert "no attention pictures" in capsys.readouterr().out
    assert sorted(os.listdir(tmp_path / "out")) == ["ranked_best.png", "ranked_worst.png", "tsne.png"]


@pytest.mark.parametrize("more, sentence", [(["--persons", "0"], "--persons 0"), (["--attention", "all"], "no switch"),
                                            ([], "--frames")])
def test_the_program_refuses(tmp_path, more, sentence):
    directory, path, root = make(tmp_path, frames=False)
    with pytest.raises(InputError, match=sentence):
        pictures.main([directory, "--list", path, "--root", root, "--out", str(tmp_path / "out"), *more])


def test_a_missing_image_is_named(tmp_path):
    source = canvas.open_source(*make(tmp_path))
    os.remove(tmp_path / "cam2" / "002_0.png")
    with pytest.raises(InputError, match="cam2/002_0.png"):
        attention.attention_picture(source, read_frames(source.features), 2)
