"""The cache: a loopback server stands for the network."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from fastconv import config
from fastconv.data import cache, cifar10, fashion_mnist, mnist
from fastconv.errors import ArgumentError, DataError, FormatError

CONTENT = bytes(range(256)) * 5000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests.append(self.path)
        if self.path == "/away":
            self.send_response(302)
            self.send_header("Location", "http://example.invalid/x")
            self.end_headers()
            return
        self.send_response(404 if self.path == "/none" else 200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        end = len(CONTENT) // 2 if self.path == "/half" else None
        self.wfile.write(CONTENT[:end])

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.requests = []
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def environment(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTCONV_CACHE", str(tmp_path / "cache"))
    for name in ("FASTCONV_OFFLINE", "FASTCONV_DATA", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)


def url(server, path: str = "/file") -> str:
    return f"http://127.0.0.1:{server.server_port}{path}"


def files(tmp_path: Path) -> list[str]:
    return [path.name for path in tmp_path.rglob("*") if path.is_file()]


def test_fetched_once(server, tmp_path):
    for _ in range(2):
        path = cache.fetch("set/file.bin", url(server), DIGEST.upper())
    assert path == tmp_path / "cache" / "set" / "file.bin"
    assert path.read_bytes() == CONTENT
    assert len(server.requests) == 1
    assert files(tmp_path) == ["file.bin"]


def test_a_damaged_file_is_fetched_again(server):
    path = cache.fetch("a", url(server), DIGEST)
    path.write_bytes(CONTENT[:-1])
    assert cache.fetch("a", url(server), DIGEST).read_bytes() == CONTENT
    assert len(server.requests) == 2


def test_another_digest(server, tmp_path):
    with pytest.raises(FormatError, match=f"expected sha256 {'0' * 64}, .*{DIGEST}"):
        cache.fetch("a", url(server), "0" * 64)
    assert files(tmp_path) == []


@pytest.mark.parametrize("path", ["/none", "/half"])
def test_a_failing_server_leaves_nothing(server, tmp_path, path):
    with pytest.raises((DataError, FormatError)):
        cache.fetch("a", url(server, path), DIGEST)
    assert files(tmp_path) == []


def test_no_server(server, tmp_path):
    gone = url(server)
    server.shutdown()
    server.server_close()
    with pytest.raises(DataError, match="download failed"):
        cache.fetch("a", gone, DIGEST)
    assert files(tmp_path) == []


def test_offline(server, monkeypatch):
    path = cache.fetch("a", url(server), DIGEST)
    monkeypatch.setenv("FASTCONV_OFFLINE", "1")
    assert cache.fetch("a", url(server), DIGEST) == path
    path.unlink()
    with pytest.raises(DataError, match="FASTCONV_OFFLINE"):
        cache.fetch("a", url(server), DIGEST)
    for module in (mnist, fashion_mnist, cifar10):
        with pytest.raises(DataError, match="FASTCONV_OFFLINE"):
            module.load_data(download=True)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "bad", ["http://example.org/x", "file:///etc/passwd", "ftp://127.0.0.1/x", "x"]
)
def test_urls(bad):
    with pytest.raises(ArgumentError, match="https"):
        cache.fetch("a", bad, DIGEST)


@pytest.mark.parametrize("name", ["../a", "/a", "a/../../b", ""])
def test_names(name):
    with pytest.raises(ArgumentError, match="inside the cache"):
        cache.fetch(name, "https://example.org/x", DIGEST)


def test_opener():
    path = cache.fetch("a", "https://x.invalid/", DIGEST, lambda _: Reader(CONTENT))
    assert path.read_bytes() == CONTENT


class Reader:
    def __init__(self, content):
        self.content = content

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def read(self, n):
        chunk, self.content = self.content[:n], self.content[n:]
        return chunk


@pytest.mark.parametrize("module", [mnist, fashion_mnist, cifar10])
def test_without_download_nothing_is_fetched(module, tmp_path):
    with pytest.raises(DataError, match=r"not found; looked in .*download=True"):
        module.load_data()
    assert files(tmp_path) == []


def test_directories(monkeypatch, tmp_path):
    assert config.cache_dir() == tmp_path / "cache"
    monkeypatch.delenv("FASTCONV_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert config.cache_dir() == tmp_path / "xdg" / "fastconv"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert config.cache_dir() == tmp_path / ".cache" / "fastconv"
    assert config.data_dir() is None
    monkeypatch.setenv("FASTCONV_DATA", "~/data")
    assert config.data_dir() == tmp_path / "data"


@pytest.mark.parametrize(
    ("value", "expected"), [("", 0), ("0", 0), ("no", 0), ("1", 1)]
)
def test_offline_values(monkeypatch, value, expected):
    monkeypatch.setenv("FASTCONV_OFFLINE", value)
    assert config.offline() == bool(expected)
