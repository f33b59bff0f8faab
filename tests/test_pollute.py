"""data_prep/pollute.py: a black box wholly inside every frame, the rest as it was; resumed, repeated, refused."""

import json
import os

import cv2
import numpy as np
import pytest

from data_prep import ilids_vid, pollute
from stal.errors import InputError
from stal.images import read_image
from stal.tracklets import read_list

MARK, UNFINISHED = "polluted.json", "polluted.unfinished.json"
SEQUENCES = "i-LIDS-VID/sequences"


def use(root, out, *options):
    pollute.main(["--root", str(root), "--out", str(out), "--workers", "1", *options])


def contents(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def root(tmp_path):
    """A small iLIDS-VID of noise (never black), prepared, with the files of a synthetic set beside."""
    rng, root = np.random.default_rng(0), tmp_path / "set"
    for camera in ("cam1", "cam2"):
        for person in ("person003", "person010"):
            (root / SEQUENCES / camera / person).mkdir(parents=True)
            for number in (9, 10, 11):
                path = root / SEQUENCES / camera / person / f"{camera}_{person}_{number:05d}.png"
                cv2.imwrite(str(path), rng.integers(1, 256, (128, 64, 3), np.uint8))
    ilids_vid.main(["--root", str(root), "--lists", str(root / "lists/split0")])
    for name in ("synthetic.json", "occlusion.csv", "notes.txt", "half.png.part.12"):
        (root / name).write_text("{}")
    return root


def boxes(root, out):
    """(left, top, width, height) of what is black in each frame, which differs from the original nowhere else."""
    found = {}
    for path in sorted(root.rglob("*.png")):
        before, after = read_image(path), read_image(out / path.relative_to(root))
        y, x = np.nonzero((before != after).any(2))
        left, top, right, bottom = x.min(), y.min(), x.max() + 1, y.max() + 1
        assert before.shape == after.shape and len(x) == (right - left) * (bottom - top)
        assert not after[top:bottom, left:right].any()
        found[path.name] = left, top, right - left, bottom - top
    return found


def test_each_frame_has_one_black_box_and_is_else_unchanged(root, tmp_path, capsys):
    use(root, tmp_path / "out")
    found = boxes(root, tmp_path / "out")
    assert len(found) == 12 and {box[2:] for box in found.values()} == {(25, 25)}
    assert len({box[:2] for box in found.values()}) > 10
    assert "wrote 12 frames with a black box of 25 x 25 pixels" in capsys.readouterr().out


def test_size_and_seed_are_options(root, tmp_path):
    use(root, tmp_path / "one", "--size", "64")
    assert {box[0::2] for box in boxes(root, tmp_path / "one").values()} == {(0, 64)}  # 64 is the frame's width
    use(root, tmp_path / "two", "--size", "10", "--seed", "1")
    use(root, tmp_path / "three", "--size", "10")
    first, second = boxes(root, tmp_path / "two"), boxes(root, tmp_path / "three")
    assert {box[2:] for box in first.values()} == {(10, 10)} and first != second


def test_places_are_uniform_over_all_that_lie_inside():
    drawn = np.array([pollute.place(f"frame{k}", 27, 26, 25, 0) for k in range(600)])
    counts = np.array([[np.sum((drawn == (x, y)).all(1)) for x in range(3)] for y in range(2)])
    assert counts.sum() == 600 and counts.min() > 70 and counts.max() < 130


def test_a_place_depends_on_the_seed_and_the_path_alone(root, tmp_path):
    use(root, tmp_path / "out")
    for path in sorted((root / SEQUENCES / "cam1").rglob("*.png")):
        path.unlink()
    before = boxes(root, tmp_path / "out")
    use(root, tmp_path / "fewer")
    assert boxes(root, tmp_path / "fewer") == before


def test_the_other_files_are_copied_and_the_lists_hold(root, tmp_path):
    use(root, tmp_path / "out")
    before, after = contents(root), contents(tmp_path / "out")
    assert set(before) - set(after) == {"synthetic.json", "occlusion.csv", "half.png.part.12"}
    assert set(after) - set(before) == {MARK}
    assert all(before[name] == after[name] for name in set(before) & set(after) if not name.endswith(".png"))
    rows = read_list(tmp_path / "out/lists/split0/train.csv")
    assert all((tmp_path / "out" / frame).is_file() for row in rows for frame in row.frames)
    ilids_vid.main(["--root", str(tmp_path / "out"), "--lists", str(tmp_path / "out/lists/split0")])
    assert contents(tmp_path / "out") == after


def test_the_number_of_workers_changes_no_byte(root, tmp_path):
    use(root, tmp_path / "one")
    pollute.main(["--root", str(root), "--out", str(tmp_path / "two"), "--workers", "2"])
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_a_complete_set_is_left_alone(root, tmp_path, capsys):
    use(root, tmp_path / "out")
    (tmp_path / "out/notes.txt").write_text("mine")  # lists that were prepared there since stay too
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    use(root, tmp_path / "out")
    assert "holds this set already: 12 frames" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == before


def test_a_killed_run_goes_on_where_it_was(root, tmp_path, monkeypatch):
    use(root, tmp_path / "whole")
    real, done = pollute._pollute_file, []

    def failing(*arguments):
        if len(done) == 5:
            raise KeyboardInterrupt
        real(*arguments)
        done.append(arguments[-1])

    monkeypatch.setattr(pollute, "_pollute_file", failing)
    with pytest.raises(KeyboardInterrupt):
        use(root, tmp_path / "out")
    assert (tmp_path / "out" / UNFINISHED).exists() and not (tmp_path / "out" / MARK).exists()
    assert not (tmp_path / "out/notes.txt").exists()
    with pytest.raises(InputError, match=f"{UNFINISHED} marks a polluted set that was interrupted"):
        ilids_vid.main(["--root", str(tmp_path / "out")])
    kept = {name: os.stat(tmp_path / "out" / name).st_mtime_ns for name in done}
    monkeypatch.setattr(pollute, "_pollute_file", real)
    use(root, tmp_path / "out")
    assert {name: os.stat(tmp_path / "out" / name).st_mtime_ns for name in kept} == kept and len(kept) == 5
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_a_run_killed_between_the_frames_and_the_rest_is_completed(root, tmp_path):
    use(root, tmp_path / "out")
    whole = contents(tmp_path / "out")
    (tmp_path / "out" / MARK).rename(tmp_path / "out" / UNFINISHED)
    (tmp_path / "out/splits.json").unlink()
    use(root, tmp_path / "out")
    assert contents(tmp_path / "out") == whole


def test_a_set_that_lost_frames_gets_them_back(root, tmp_path, monkeypatch):
    use(root, tmp_path / "out")
    whole = contents(tmp_path / "out")
    next((tmp_path / "out").rglob("*.png")).unlink()
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(pollute, "_pollute_file", lambda *_: 1 / 0)
        use(root, tmp_path / "out")
    assert not (tmp_path / "out" / MARK).exists()
    use(root, tmp_path / "out")
    assert contents(tmp_path / "out") == whole


@pytest.mark.parametrize("options, words", [(("--size", "9"), "size 25 instead of 9"),
                                            (("--seed", "2"), "seed 0 instead of 2")])
def test_another_polluted_set_is_not_mixed_with_this_one(root, tmp_path, options, words):
    use(root, tmp_path / "out")
    before = contents(tmp_path / "out")
    with pytest.raises(InputError, match=f"holds another polluted set \\({words}\\)"):
        use(root, tmp_path / "out", *options)
    assert contents(tmp_path / "out") == before


def test_frames_of_another_set_are_noticed(root, tmp_path):
    use(root, tmp_path / "out")
    path = next(root.rglob("*.png"))
    cv2.imwrite(str(path), np.full((128, 64, 3), 7, np.uint8))
    with pytest.raises(InputError, match="holds another polluted set \\(other frames\\)"):
        use(root, tmp_path / "out")


def test_what_another_program_wrote_stays(root, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.txt").write_text("text")
    with pytest.raises(InputError, match="out was not written by this program"):
        use(root, tmp_path / "out")
    assert contents(tmp_path / "out") == {"thesis.txt": b"text"}


def test_a_damaged_mark_is_named(root, tmp_path):
    use(root, tmp_path / "out")
    (tmp_path / "out" / MARK).write_text("{")
    with pytest.raises(InputError, match="polluted.json is damaged"):
        use(root, tmp_path / "out")


def test_a_frame_smaller_than_the_box_is_refused_in_a_sentence(root, tmp_path):
    with pytest.raises(InputError, match="cam1_person003_00009.png is 64 x 128 pixels, smaller than the box of 65: give"):
        use(root, tmp_path / "out", "--size", "65")
    use(root, tmp_path / "out")  # nothing was written, so a smaller one needs no cleaning up
    assert len(boxes(root, tmp_path / "out")) == 12


def test_a_damaged_frame_is_named(root, tmp_path):
    path = next(root.rglob("cam2_person010_00010.png"))
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(InputError, match="cam2_person010_00010.png is a PNG file that is cut short"):
        use(root, tmp_path / "out")


def test_jpeg_frames_keep_their_kind(tmp_path):
    (tmp_path / "set").mkdir()
    cv2.imwrite(str(tmp_path / "set/0001C1T0001F001.jpg"), np.full((256, 128, 3), 180, np.uint8))
    use(tmp_path / "set", tmp_path / "out")
    path = tmp_path / "out/0001C1T0001F001.jpg"
    image = read_image(path)
    left, top = pollute.place(path.name, 128, 256, 25, 0)
    assert path.read_bytes().startswith(b"\xff\xd8") and image.shape == (256, 128, 3)
    assert image[top + 8:top + 17, left + 8:left + 17].max() < 16
    outside = np.ones((256, 128), bool)
    outside[max(top - 16, 0):top + 41, max(left - 16, 0):left + 41] = False
    assert np.abs(image[outside].astype(int) - 180).max() < 3


@pytest.mark.parametrize("options, sentence", [
    (("--size", "0"), "--size 0: give at least 1"), (("--seed", "-1"), "--seed -1"), (("--workers", "0"), "--workers 0")])
def test_a_wrong_option_is_named(root, tmp_path, options, sentence):
    with pytest.raises(InputError, match=sentence):
        use(root, tmp_path / "out", *options)
    assert not (tmp_path / "out").exists()


def test_wrong_directories_are_named(root, tmp_path):
    for source, out, sentence in (
            (tmp_path / "nothing", tmp_path / "out", "there is no directory .*nothing"),
            (root / "lists", tmp_path / "out", "lists holds no images"),
            (root, root, "lie within one another"), (root, root / "polluted", "lie within one another"),
            (root / SEQUENCES, root, "lie within one another"),
            (root, tmp_path / "file", "cannot make the directory .*file")):
        (tmp_path / "file").write_text("")
        with pytest.raises(InputError, match=sentence):
            use(source, out)
    use(root, tmp_path / "out")
    with pytest.raises(InputError, match="out is a polluted set already"):
        use(tmp_path / "out", tmp_path / "twice")
    (root / "synthetic.unfinished.json").write_text("{}")
    with pytest.raises(InputError, match="synthetic.unfinished.json marks a synthetic set that was interrupted"):
        use(root, tmp_path / "other")


def test_the_mark_says_how_it_was_made(root, tmp_path):
    use(root, tmp_path / "out", "--seed", "4")
    mark = json.loads((tmp_path / "out" / MARK).read_text())
    assert (mark["size"], mark["seed"], mark["frames"], len(mark["source"])) == (25, 4, 12, 64)
