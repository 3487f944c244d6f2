"""Downloads: cache, resuming, hash, and what a user reads without a network."""

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from van_dense.backbones.download import (
    IMAGENET,
    PUBLISHED,
    DownloadError,
    Published,
    fetch_weights,
)

CONTENT = bytes(range(256)) * 400
DIGEST = hashlib.sha256(CONTENT).hexdigest()[:8]


class Handler(BaseHTTPRequestHandler):
    """Serves CONTENT with ranges; ``/short`` breaks off, ``/plain`` knows no ranges."""

    ranges: list[str | None] = []  # noqa: RUF012  (one list for all requests of a test)

    def do_GET(self) -> None:
        asked = self.headers.get("Range")
        self.ranges.append(asked)
        start = 0 if asked is None or "plain" in self.path else int(asked[6:-1])
        if start >= len(CONTENT):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(CONTENT)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        stop = len(CONTENT) // 2 if "short" in self.path and not start else len(CONTENT)
        self.wfile.write(CONTENT[start:stop])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Address of a local server; every published name is served from it."""
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=httpd.serve_forever, args=(0.01,), daemon=True).start()
    address = f"http://127.0.0.1:{httpd.server_port}"
    Handler.ranges.clear()
    for name, path in {
        "good": f"van-{DIGEST}.pth",
        "bad": "van-00000000.pth",
        "nameless": "van.pth",
        "short": "short/van.pth",
        "plain": "plain/van.pth",
    }.items():
        monkeypatch.setitem(PUBLISHED, name, Published(f"{address}/{path}", IMAGENET))
    yield address
    httpd.shutdown()
    httpd.server_close()


def test_a_local_file_is_taken_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "mine.pth"
    file.write_bytes(b"x")
    assert fetch_weights(file) == file
    assert fetch_weights(str(file)) == file


def test_an_unknown_name_gets_the_nearest_ones() -> None:
    with pytest.raises(ValueError, match=r"'van_b2_1k' are neither a file nor.*'van_b2_in1k'"):
        fetch_weights("van_b2_1k")


def test_a_file_is_fetched_once_and_kept(server: str, tmp_path: Path) -> None:
    file = fetch_weights("good", tmp_path / "cache")
    assert file == tmp_path / "cache" / f"van-{DIGEST}.pth"
    assert file.read_bytes() == CONTENT
    assert fetch_weights("good", tmp_path / "cache") == file
    assert Handler.ranges == [None]
    assert not list(file.parent.glob("*.part"))


def test_the_cache_follows_the_environment(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert fetch_weights("nameless") == tmp_path / "xdg" / "van_dense" / "van.pth"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert fetch_weights("nameless") == tmp_path / "home" / ".cache" / "van_dense" / "van.pth"


def test_a_broken_download_goes_on_where_it_stopped(server: str, tmp_path: Path) -> None:
    half = len(CONTENT) // 2
    with pytest.raises(DownloadError, match=f"after {half} of {len(CONTENT)} bytes.*run again"):
        fetch_weights("short", tmp_path)
    assert (tmp_path / "van.pth.part").stat().st_size == half
    assert fetch_weights("short", tmp_path).read_bytes() == CONTENT
    assert Handler.ranges == [None, f"bytes={half}-"]


def test_a_server_without_ranges_starts_over(server: str, tmp_path: Path) -> None:
    (tmp_path / "van.pth.part").write_bytes(b"leftover")
    assert fetch_weights("plain", tmp_path).read_bytes() == CONTENT


def test_a_complete_part_is_only_renamed(server: str, tmp_path: Path) -> None:
    (tmp_path / f"van-{DIGEST}.pth.part").write_bytes(CONTENT)
    assert fetch_weights("good", tmp_path).read_bytes() == CONTENT


def test_a_part_that_is_too_long_is_thrown_away(server: str, tmp_path: Path) -> None:
    (tmp_path / "van.pth.part").write_bytes(CONTENT + b"more")
    with pytest.raises(DownloadError, match="run again"):
        fetch_weights("nameless", tmp_path)
    assert fetch_weights("nameless", tmp_path).read_bytes() == CONTENT


def test_another_hash_than_the_name_says_is_refused(server: str, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=f"begins with {DIGEST}, but the name says 00000000"):
        fetch_weights("bad", tmp_path)
    assert not list(tmp_path.glob("van-*.pth*[!k]"))  # nothing is left but the lock


def test_without_network_the_message_says_where_to_put_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PUBLISHED, "away", Published("http://127.0.0.1:9/van.pth", IMAGENET))
    with pytest.raises(
        DownloadError, match=r"http://127\.0\.0\.1:9/van\.pth.*put it at .*van\.pth"
    ):
        fetch_weights("away", tmp_path)


def test_published_names_say_size_and_data_set() -> None:
    assert {f"van_b{i}_in1k" for i in range(5)} | {f"van_b{i}_in22k" for i in (4, 5, 6)} <= set(
        PUBLISHED
    )
    for published in PUBLISHED.values():
        assert published.url.startswith("https://")
    hashed = PUBLISHED["van_b0_in1k_mmpretrain"].url
    assert hashed.endswith("-385941af.pth")


def test_weights_of_1k_and_22k_expect_other_statistics() -> None:
    """VAN's 1K ones 127.5 of 255, as VAN-Classification and mmpretrain; the 22K ones ImageNet's."""
    for name, published in PUBLISHED.items():
        if not name.startswith("van_"):
            continue
        assert published.normalization is not None
        mean, std = published.normalization
        if "in22k" in name:
            assert (mean, std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
        else:
            assert mean == std == (0.5, 0.5, 0.5)


def test_an_address_is_fetched_once(server: str, tmp_path: Path) -> None:
    address = f"{server}/zoo/van-{DIGEST}.pkl?download=true"
    path = fetch_weights(address, tmp_path)
    assert path.name == f"van-{DIGEST}.pkl" and path.read_bytes() == CONTENT
    assert fetch_weights(address, tmp_path) == path and len(Handler.ranges) == 1


def test_files_of_one_name_and_two_addresses_are_two_files(server: str, tmp_path: Path) -> None:
    first, second = (fetch_weights(f"{server}/{i}/model.pth", tmp_path) for i in "ab")
    assert first.name == second.name and first != second


def test_an_address_of_no_file_is_refused(server: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nor the address of a file"):
        fetch_weights(f"{server}/folder/", tmp_path)
