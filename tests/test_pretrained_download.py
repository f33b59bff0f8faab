"""data_prep/pretrained/download.py against a server on this machine: what is kept, what is refused, what goes on."""

import contextlib
import hashlib
import http.server
import os
import threading

import numpy as np
import pytest

from data_prep.pretrained import download
from data_prep.pretrained.registry import Model
from stal.errors import InputError

CONTENT = np.random.default_rng(1).bytes(700_000)  # several blocks
SHA1 = hashlib.sha1(CONTENT).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Serves CONTENT: /good; /whole knows no ranges; /short stops after 300,000 bytes; /other is another file; /shifted
    answers with a wrong range; all else is 404. ``asked``: (path, Range) of each request."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked = []

    def url(self, path):
        return f"http://127.0.0.1:{self.server_port}{path}"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        wanted = self.headers.get("Range")
        self.server.asked.append((self.path, wanted))
        if self.path not in ("/good", "/whole", "/short", "/other", "/shifted"):
            return self.send_error(404)
        content = CONTENT[::-1] if self.path == "/other" else CONTENT
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and self.path != "/whole" else 0
        if start >= len(content):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        if start:
            told = start + 1 if self.path == "/shifted" else start
            self.send_header("Content-Range", f"bytes {told}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        end = 300_000 if self.path == "/short" else len(content)
        with contextlib.suppress(ConnectionError):  # the client may have left
            self.wfile.write(content[start:end])

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def model(server, *paths, kind=("sha1", SHA1)):
    return Model("some", "net", "some.caffemodel", "0.7 MB", tuple(map(server.url, paths)), kind, "", "")


def part(tmp_path, content):
    (tmp_path / "some.caffemodel.part").write_bytes(content)


def files(tmp_path):
    return {path.name: path.read_bytes() for path in tmp_path.iterdir()}


DONE = {"some.caffemodel": CONTENT}


def test_a_download_is_verified_and_then_named(server, tmp_path):
    path, said = download.fetch(model(server, "/good"), tmp_path / "new")
    assert path == str(tmp_path / "new" / "some.caffemodel") and files(tmp_path / "new") == DONE
    assert said == f"sha1 {SHA1}, as published"


def test_what_is_there_is_verified_and_not_fetched_again(server, tmp_path):
    wanted = model(server, "/good")
    download.fetch(wanted, tmp_path)
    assert download.fetch(wanted, tmp_path)[1].startswith("already there; sha1 ")
    assert len(server.asked) == 1
    (tmp_path / "some.caffemodel").write_bytes(b"something else")
    with pytest.raises(InputError, match="is not the published some.caffemodel .*: remove it and get it again"):
        download.fetch(wanted, tmp_path)
    assert len(server.asked) == 1


def test_an_interrupted_transfer_goes_on_where_it_stopped(server, tmp_path):
    with pytest.raises(InputError, match="the connection ended after 300000 of 700000 bytes"):
        download.fetch(model(server, "/short"), tmp_path)
    assert files(tmp_path) == {"some.caffemodel.part": CONTENT[:300_000]}
    download.fetch(model(server, "/good"), tmp_path)
    assert files(tmp_path) == DONE and server.asked[-1] == ("/good", "bytes=300000-")


def test_the_next_address_takes_over(server, tmp_path):
    download.fetch(model(server, "/nowhere", "/short", "/good"), tmp_path)
    assert files(tmp_path) == DONE
    assert server.asked == [("/nowhere", None), ("/short", None), ("/good", "bytes=300000-")]


def test_a_server_without_ranges_sends_all_of_it(server, tmp_path):
    part(tmp_path, CONTENT[:1000])
    download.fetch(model(server, "/whole"), tmp_path)
    assert files(tmp_path) == DONE and server.asked == [("/whole", "bytes=1000-")]


def test_a_whole_part_is_only_verified(server, tmp_path):
    part(tmp_path, CONTENT)
    download.fetch(model(server, "/good"), tmp_path)
    assert files(tmp_path) == DONE and server.asked == [("/good", "bytes=700000-")]


def test_a_wrong_part_is_not_gone_on_with_twice(server, tmp_path):
    for wrong in (b"x" * 1000, b"x" * 800_000):
        part(tmp_path, wrong)
        download.fetch(model(server, "/good"), tmp_path)
        assert files(tmp_path) == DONE and server.asked[-1] == ("/good", None)
        os.remove(tmp_path / "some.caffemodel")


def test_a_range_that_was_not_asked_for_is_refused(server, tmp_path):
    part(tmp_path, CONTENT[:1000])
    with pytest.raises(InputError, match="another part of the file than asked for"):
        download.fetch(model(server, "/shifted"), tmp_path)
    assert files(tmp_path) == {"some.caffemodel.part": CONTENT[:1000]}


def test_another_file_is_refused_and_the_next_address_tried(server, tmp_path):
    with pytest.raises(InputError, match=r"/other: gave a file with another sha1; .*/nowhere: 404 Not Found\).*--file"):
        download.fetch(model(server, "/other", "/nowhere"), tmp_path)
    assert files(tmp_path) == {}
    download.fetch(model(server, "/other", "/good"), tmp_path)
    assert files(tmp_path) == DONE


def test_no_server_at_all_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as gone:
        wanted = model(gone, "/good")
    with pytest.raises(InputError, match="Connection refused"):
        download.fetch(wanted, tmp_path)


def test_the_user_may_interrupt_it(server, tmp_path, monkeypatch):
    def interrupted(answer):
        yield answer.read(1000)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(download, "_blocks", interrupted)
        with pytest.raises(InputError, match="some.caffemodel.part kept: the same command goes on from there"):
            download.fetch(model(server, "/good"), tmp_path)
    assert files(tmp_path) == {"some.caffemodel.part": CONTENT[:1000]}
    download.fetch(model(server, "/good"), tmp_path)
    assert files(tmp_path) == DONE and server.asked[-1] == ("/good", "bytes=1000-")


def test_without_a_published_hash_nothing_is_put_together(server, tmp_path):
    part(tmp_path, CONTENT[:1000])
    said = download.fetch(model(server, "/short", "/good", kind=None), tmp_path)[1]
    assert files(tmp_path) == DONE and server.asked == [("/short", None), ("/good", None)]
    assert said.startswith(f"sha256 {hashlib.sha256(CONTENT).hexdigest()}; nobody has published a hash")


def test_a_folder_that_cannot_be_written_is_named(server, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="cannot write .*: choose another folder with --out"):
        download.fetch(model(server, "/good"), tmp_path / "file" / "below")


def test_a_local_file_is_verified_and_copied(server, tmp_path):
    (tmp_path / "mine").write_bytes(CONTENT)
    wanted = model(server, "/good")
    assert download.copy(wanted, tmp_path / "mine", tmp_path / "out")[1] == f"sha1 {SHA1}, as published"
    assert files(tmp_path / "out") == DONE and server.asked == []
    (tmp_path / "mine").write_bytes(CONTENT[1:])
    with pytest.raises(InputError, match="mine is not the published some.caffemodel"):
        download.copy(wanted, tmp_path / "mine", tmp_path / "other")
    assert not (tmp_path / "other").exists()
    with pytest.raises(InputError, match="cannot copy .*nothing"):
        download.copy(wanted, tmp_path / "nothing", tmp_path / "out")


def test_hashes(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    assert download.digest(path, "sha1") == SHA1
    assert download.digest(path, "sha256") == hashlib.sha256(CONTENT).hexdigest()
    path.write_bytes(b"hello\n")  # what git hash-object says of it is in every tutorial
    assert download.digest(path, "git blob") == "ce013625030ba8dba906f756967f9e9ca394464a"


def test_the_first_digits_of_a_sha256_are_enough(server, tmp_path):
    value = hashlib.sha256(CONTENT).hexdigest()
    download.fetch(model(server, "/good", kind=("sha256", value[:8])), tmp_path)
    assert files(tmp_path) == DONE
