"""The page about a run: it stands alone, its tags close, its pictures decode, it escapes, and says what is missing."""

import base64
import json
import os
import re
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from stal import html_chart, html_report
from stal.errors import InputError
from stal.features import FeatureWriter
from stal.tracklets import Tracklet, write_joints, write_list
from tools import report

META = {"net": "toy.prototxt", "weights": "toy.caffemodel", "weights_sha256": "abc123", "list_sha256": "l",
        "commit": "c0ffee", "attention_norm": "L1", "feature_norm": "UNNORMALIZED"}
PERSONS, LENGTH, SIZE = 6, 2, (16, 8)
VOID = {"meta", "img", "br"}
LOG = """I1122 solver.cpp:239] Iteration 0 (0 iter/s, 0s/20 iters), loss = 9
I1122 solver.cpp:258]     Train net output #0: loss_cls = 7 (* 1 = 7 loss)
I1122 solver.cpp:239] Iteration 20 (1 iter/s, 1s/20 iters), loss = 8
I1122 solver.cpp:258]     Train net output #0: loss_cls = 6 (* 1 = 6 loss)
I1122 solver.cpp:239] Iteration 20 (1 iter/s, 1s/20 iters), loss = 4.5
I1122 solver.cpp:258]     Train net output #0: loss_cls = 2.25 (* 1 = 2.25 loss)
"""


class Page(HTMLParser):
    """A page's tags, checked to close in turn; its text, attributes and images."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes, self.images, self.text = [], [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag == "img":
            self.images.append(dict(attrs))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):  # <path .../> of SVG
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def words(self):
        return " ".join("\n".join(self.text).split())


def make(root, frames=True, joints=True, parts=6, name="person", meta=META):
    """A run in ``root/run`` and its data set in ``root/set``; person 1 and 2 change places under camera 1."""
    folder = root / "set"
    tracklets = sorted((Tracklet(f"cam{camid + 1}/{name}{pid:03d}", pid, camid, camid == 0,
                                 tuple(f"{camid}_{pid}_{t}.png" for t in range(LENGTH)))
                        for camid in (0, 1) for pid in range(1, PERSONS + 1)), key=lambda tracklet: tracklet.name)
    os.makedirs(folder)
    for tracklet in tracklets:
        for frame in tracklet.frames:
            cv2.imwrite(str(folder / frame), np.full((*SIZE, 3), 40 * tracklet.pid, np.uint8))
    write_list(folder / "test.csv", tracklets)
    if joints:
        write_joints(folder / "test.csv", np.tile(np.float32([2, 4, 1]), (len(tracklets) * LENGTH, 14, 1)))
    width = 2 if parts else 0
    with FeatureWriter(root / "run/features", tracklets, parts=parts, global_width=2, part_width=width, meta=meta,
                       frames=frames) as writer:
        for n, tracklet in enumerate(tracklets):
            looks = 2 ** ({1: 2, 2: 1}.get(tracklet.pid, tracklet.pid) if tracklet.camid else tracklet.pid)
            vector, part = np.float32([looks, 0]), np.full((parts, width), looks, np.float32)
            scores = np.linspace(0.2, 0.2 + tracklet.pid / 10, parts, dtype=np.float32)
            per_frame = (np.tile(vector, (LENGTH, 1)), np.tile(part, (LENGTH, 1, 1)), np.tile(scores, (LENGTH, 1)))
            writer.add(n, vector, part, part, scores, per_frame if frames else None)
    return root / "run"


def told(root, *more, source=True, **options):
    """The page that the program writes about a run made with ``options``, as text."""
    make(root, **options)
    return again(root, *more, source=source)


def again(root, *more, source=True):
    named = ["--list", str(root / "set/test.csv"), "--root", str(root / "set")] if source else []
    report.main([str(root / "run"), *named, *more])
    return (root / "run/report.html").read_text(encoding="utf-8")


def test_the_page_refers_to_nothing_outside(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/train.log").write_text(LOG)
    text = told(tmp_path)
    page = Page(text)
    for name, value in page.attributes:
        if name in ("src", "href"):
            assert value.startswith("data:image/png;base64,") or value[1:] in re.findall(r'id="(\w+)"', text)
        assert name not in ("srcset", "data", "action", "background", "poster") and not name.startswith("on")
    assert not {"script", "link", "iframe", "object", "embed", "base"} & set(page.tags)
    assert "url(" not in text and "@import" not in text and "://" not in text
    assert {"h1", "nav", "table", "svg", "polyline", "img", "figcaption"} <= set(page.tags)
    assert ("content", "width=device-width, initial-scale=1") in page.attributes


def test_images_decode_and_are_described(tmp_path):
    images = Page(told(tmp_path)).images
    assert len(images) == 2 + 3 + 2 + 1  # best and worst queries, persons, boxes, t-SNE
    for image in images:
        picture = cv2.imdecode(np.frombuffer(base64.b64decode(image["src"].split(",")[1], validate=True), np.uint8),
                               cv2.IMREAD_COLOR)
        assert picture.shape == (int(image["height"]), int(image["width"]), 3)
        assert len(image["alt"]) > 20
    assert len({image["src"] for image in images}) == len(images)


def test_every_chart_is_described(tmp_path):
    text = told(tmp_path)
    assert text.count("<svg ") == len(re.findall(r'<svg [^>]*role="img" aria-label="[^"]{20,}"', text)) == 1


def test_the_same_run_gives_the_same_bytes(tmp_path):
    assert told(tmp_path) == again(tmp_path)


def test_whatever_the_files_say_is_escaped(tmp_path):
    wild = "<script>alert('x')</script>&\u202e\x07"
    text = told(tmp_path, name="<i>&'", meta={**META, "net": wild, 'a"<b': 1})
    page = Page(text)  # its tags close
    assert "script" not in page.tags and "i" not in page.tags
    assert "<script>alert('x')</script>&\\u202e\\x07" in page.words()
    assert "cam1/<i>&'001" in page.words() and 'a"<b' in page.words()
    assert any("cam1/<i>&'001" in image["alt"] for image in page.images)


def test_settings_are_told(tmp_path):
    run = make(tmp_path)
    (run / "run.json").write_text(json.dumps([{"command": "caffe train -solver s", "threads": "2"},
                                              {"command": "caffe train -snapshot t"}]))
    (run / "solver.prototxt").write_text('# a comment\nbase_lr: 0.03\nrandom_seed: 17\ntype: "SGD"\n')
    words = Page(again(tmp_path)).words()
    for wanted in ("net toy.prototxt", "weights sha256 abc123", "commit c0ffee", "random_seed 17", "type SGD",
                   "Start 2 of 2: command caffe train -snapshot t", "threads 2", "12, 24 frames, 6 pids, camids 0, 1"):
        assert wanted in words
    assert "a comment" not in words and "not recorded" not in words


def test_losses_of_a_resumed_run_count_once(tmp_path):
    run = make(tmp_path)
    (run / "train.log").write_text(LOG)
    text = again(tmp_path)
    assert "loss 0 9 20 4.5 4.5 loss_cls 0 7 20 2.25 2.25" in Page(text).words()
    lines = re.findall(r'<polyline points="([^"]*)"', text)
    assert [len(line.split()) for line in lines[:2]] == [2, 2]


def test_results_are_those_of_the_four_switches(tmp_path):
    words = Page(told(tmp_path)).words()
    # Persons 1 and 2 are each other's nearest; the others are found.
    row = "66.7 100.0 100.0 100.0 83.3 83.3"
    assert all(f"{name} {row}" in words for name in ("Baseline", "TAN", "SAN", "STAL"))
    assert "STAL: Rank-1 66.7%, mAP 83.3%" in words


def test_best_and_worst_queries_are_named(tmp_path):
    words = Page(told(tmp_path, "--queries", "2")).words()
    assert "Best queries by average precision From top to bottom: cam1/person003, cam1/person004." in words
    assert "Worst queries by average precision From top to bottom: cam1/person001, cam1/person002." in words


def test_the_map_tells_whom_it_colours(tmp_path):
    page = Page(told(tmp_path))
    assert "In colour: the first 6 of 6 persons by pid." in page.words()
    assert page.images[-1]["alt"] == "t-SNE of the tracklets in the plane, 6 persons in colour"


def test_attention_is_of_those_whose_scores_differ_most(tmp_path):
    words = Page(told(tmp_path, "--persons", "2")).words()
    assert "Person 6. Person 5." in words and "Person 4." not in words


def test_the_papers_numbers_stand_beside_its_own_protocol_only(tmp_path):
    named = Page(told(tmp_path, "--protocol", "ilids")).words()
    assert "paper, Table III: STAL 82.8 95.3 97.7 98.8 - -" in named and "this run is of split all persons" in named
    unnamed = Page(again(tmp_path)).words()
    assert "paper, Table" not in unnamed and "only where its protocol is named" in unnamed
    other = Page(again(tmp_path, "--protocol", "mars-torchreid")).words()
    assert "paper, Table" not in other and "under another protocol" in other


@pytest.mark.parametrize("told_by", ["--synthetic", "file"])
def test_drawn_people_are_not_beside_the_paper(tmp_path, told_by):
    make(tmp_path)
    if told_by == "file":
        (tmp_path / "set/synthetic.json").write_text("{}")
    words = Page(again(tmp_path, "--protocol", "ilids", *["--synthetic"] * (told_by != "file"))).words()
    assert "Its numbers are not comparable with the paper's" in words and "paper, Table" not in words


def test_what_is_missing_is_said(tmp_path):
    page = Page(told(tmp_path, frames=False, joints=False))
    for sentence in ("holds no train.log", "holds no run.json", "holds no frames/", "no joints beside it"):
        assert sentence in page.words()
    assert len(page.images) == 3  # ranked lists and t-SNE remain
    page = Page(again(tmp_path, source=False))
    assert "No frames are shown" in page.words() and len(page.images) == 1


def test_a_net_without_parts_has_a_page(tmp_path):
    words = Page(told(tmp_path, parts=0)).words()
    assert "holds no parts" in words and "global 66.7" in words and "of the global feature alone" in words


def test_a_feature_directory_alone_has_a_page_beside_it(tmp_path, capsys):
    run = make(tmp_path)
    report.main([str(run / "features")])
    assert str(run / "features_report.html") in capsys.readouterr().out
    Page((run / "features_report.html").read_text())


def test_a_page_too_large_is_refused(tmp_path, monkeypatch):
    make(tmp_path)
    monkeypatch.setattr(html_report, "MAX_BYTES", 10_000)
    with pytest.raises(InputError, match="fewer --queries or --persons"):
        again(tmp_path)
    assert not (tmp_path / "run/report.html").exists()


@pytest.mark.parametrize("more, sentence", [
    (["--queries", "0"], "1 or more"), (["--protocol", "mine"], "no protocol 'mine'"), (["--split", "1"], "needs --splits"),
    (["--split", "all"], "one split"), (["--out", "run/features/x.html"], "among the features"),
    (["--out", "run"], "is a directory"), (["--list", "set/test.csv"], "go together"), (["--list", "a", "--root", "b"], "b"),
    (["--list", "other.csv", "--root", "set"], "not of the tracklets in other.csv")])
def test_wrong_input_ends_with_a_sentence(tmp_path, monkeypatch, more, sentence):
    make(tmp_path)
    write_list(tmp_path / "other.csv", [Tracklet("cam1/person001", 1, 0, True, ("a.png",))])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=sentence):
        report.main(["run", *more])


@pytest.mark.parametrize("name, content, sentence", [("run.json", "{", "run.json is no readable JSON"),
                                                     ("solver.prototxt", b"\xff\xfe", "solver.prototxt is no readable")])
def test_damaged_files_of_a_run_are_named(tmp_path, name, content, sentence):
    run = make(tmp_path)
    (run / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=sentence):
        again(tmp_path)


def test_a_missing_image_is_named(tmp_path):
    make(tmp_path)
    os.remove(tmp_path / "set/1_2_0.png")
    with pytest.raises(InputError, match="1_2_0.png"):
        again(tmp_path)


def test_a_run_without_features_is_refused(tmp_path):
    with pytest.raises(InputError, match="neither features/ nor tracklets.csv"):
        report.main([str(tmp_path)])
    with pytest.raises(InputError, match="there is no directory"):
        report.main([str(tmp_path / "none")])


def test_a_chart_puts_points_where_they_belong():
    chart = html_chart.line_chart([("a & b", [(0, 0), (5, 50), (10, 100), (11, float("nan"))])], "x", "y", "alt",
                                   percent=True)
    (x0, y0), (x1, y1), (x2, y2) = [tuple(map(float, point.split(",")))
                                    for point in re.search('points="([^"]*)"', chart)[1].split()]
    assert (x0, x2, y2, y0) == (52, 548, 10, 286) and (x1, y1) == (300, 148)
    assert "a &amp; b" in chart
    assert html_chart.line_chart([("a", [(1, float("inf"))])], "x", "y", "alt") == ""


@pytest.mark.parametrize("value, percent, wanted", [(100, True, 10), (0, False, 286), (-3, False, 286)])
def test_a_flat_curve_has_its_place(value, percent, wanted):
    chart = html_chart.line_chart([("a", [(1, value), (2, value)])], "x", "y", "alt", percent)
    assert re.search('points="([^"]*)"', chart)[1] == f"52.0,{wanted:.1f} 548.0,{wanted:.1f}"


def test_a_single_point_has_its_place():
    chart = html_chart.line_chart([("a", [(3, 5)])], "x", "y", "alt")
    assert re.search('points="([^"]*)"', chart)[1] == "300.0,10.0"


def test_a_long_curve_is_thinned_and_keeps_its_end():
    chart = html_chart.line_chart([("a", [(x, x) for x in range(100_000)])], "x", "y", "alt")
    points = re.search('points="([^"]*)"', chart)[1].split()
    assert len(points) <= 401 and points[-1].startswith("548.0,")
