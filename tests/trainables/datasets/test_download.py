from __future__ import annotations

import errno
import fcntl
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import IO, TYPE_CHECKING, Any

import pytest
from small_cifar import md5

from trainables.datasets import download
from trainables.datasets.download import fetch
from trainables.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONTENT = bytes(range(256)) * 4000
HALF = len(CONTENT) // 2


@dataclass
class Place:
    """Behaviour of a server: the i-th response ends after `cuts[i]` bytes."""

    content: bytes = CONTENT
    ranges: bool = True
    statuses: list[int] = field(default_factory=list)
    cuts: list[int] = field(default_factory=list)
    requests: list[str | None] = field(default_factory=list)
    url: str = ""

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        byte_range = handler.headers.get("Range")
        self.requests.append(byte_range)
        if self.statuses and (status := self.statuses.pop(0)) != 200:
            handler.send_error(status)
            return
        start = (
            int(byte_range.removeprefix("bytes=").rstrip("-")) if byte_range and self.ranges else 0
        )
        if start >= len(self.content):
            handler.send_error(416)
            return
        body = self.content[start:]
        handler.send_response(206 if start else 200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body[: self.cuts.pop(0)] if self.cuts else body)


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("no_proxy", "*")
    servers = []

    def start(place: Place) -> Place:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                place.answer(self)

            def log_message(self, *args: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        servers.append(server)
        place.url = f"http://127.0.0.1:{server.server_port}/data.tar.gz"
        return place

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def ignore(done: int, total: int | None) -> None:
    pass


def get(tmp_path: Path, *places: Place) -> bytes:
    target = tmp_path / "data" / "data.tar.gz"
    fetch([place.url for place in places], target, md5(CONTENT), ignore)
    assert [path.name for path in target.parent.iterdir()] == [target.name]
    return target.read_bytes()


def test_whole_file_with_progress(tmp_path: Path, serve: Any) -> None:
    place = serve(Place())
    calls: list[tuple[int, int | None]] = []
    target = tmp_path / "new" / "folder" / "data.tar.gz"
    fetch([place.url], target, md5(CONTENT), lambda done, total: calls.append((done, total)))

    assert target.read_bytes() == CONTENT
    assert calls[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in calls] == sorted({done for done, _ in calls})
    assert place.requests == [None]


def test_present_file_is_left_alone(tmp_path: Path) -> None:
    target = tmp_path / "data.tar.gz"
    target.write_bytes(b"mine")
    fetch(["http://127.0.0.1:1/x"], target, md5(CONTENT), ignore)

    assert target.read_bytes() == b"mine"


def test_cut_connection_is_taken_up_where_it_ended(tmp_path: Path, serve: Any) -> None:
    place = serve(Place(cuts=[HALF, 1000]))

    assert get(tmp_path, place) == CONTENT
    assert place.requests == [None, f"bytes={HALF}-", f"bytes={HALF + 1000}-"]


def test_next_command_goes_on_with_the_partial_file(tmp_path: Path, serve: Any) -> None:
    broken = serve(Place(cuts=[HALF], statuses=[200, 503]))
    target = tmp_path / "data" / "data.tar.gz"
    with pytest.raises(DataError):
        fetch([broken.url], target, md5(CONTENT), ignore)
    assert not target.exists()
    assert target.with_name("data.tar.gz.partial").read_bytes() == CONTENT[:HALF]
    place = serve(Place())

    assert get(tmp_path, place) == CONTENT
    assert place.requests == [f"bytes={HALF}-"]


def test_next_place_goes_on_where_the_first_ended(tmp_path: Path, serve: Any) -> None:
    first = serve(Place(cuts=[HALF], statuses=[200, 404]))
    second = serve(Place())

    assert get(tmp_path, first, second) == CONTENT
    assert second.requests == [f"bytes={HALF}-"]


def test_server_that_ignores_range_begins_anew(tmp_path: Path, serve: Any) -> None:
    place = serve(Place(ranges=False, cuts=[HALF]))

    assert get(tmp_path, place) == CONTENT
    assert place.requests == [None, f"bytes={HALF}-"]


def test_wrong_md5_then_next_place(tmp_path: Path, serve: Any) -> None:
    wrong = serve(Place(content=CONTENT[:-1] + b"!"))
    right = serve(Place())

    assert get(tmp_path, wrong, right) == CONTENT
    assert (wrong.requests, right.requests) == ([None], [None])


def test_wrong_beginning_from_elsewhere_is_thrown_away(tmp_path: Path, serve: Any) -> None:
    place = serve(Place())
    partial = tmp_path / "data" / "data.tar.gz.partial"
    partial.parent.mkdir()
    partial.write_bytes(b"x" * HALF)

    assert get(tmp_path, place) == CONTENT
    assert place.requests == [f"bytes={HALF}-", None]


def test_wrong_place_that_also_cuts_is_left(tmp_path: Path, serve: Any) -> None:
    wrong = serve(Place(content=CONTENT[::-1], cuts=[HALF]))
    right = serve(Place())

    assert get(tmp_path, wrong, right) == CONTENT
    assert wrong.requests == [None, f"bytes={HALF}-"]


def test_place_is_asked_for_all_of_it_only_once(tmp_path: Path, serve: Any) -> None:
    wrong = serve(Place(content=CONTENT[::-1], cuts=[len(CONTENT), HALF]))
    right = serve(Place())
    partial = tmp_path / "data" / "data.tar.gz.partial"
    partial.parent.mkdir()
    partial.write_bytes(b"x" * 1000)

    assert get(tmp_path, wrong, right) == CONTENT
    assert wrong.requests == ["bytes=1000-", None, f"bytes={HALF}-"]


@pytest.mark.parametrize("content", [CONTENT, CONTENT + b"too long"])
def test_partial_file_that_needs_nothing_more(tmp_path: Path, serve: Any, content: bytes) -> None:
    place = serve(Place())
    partial = tmp_path / "data" / "data.tar.gz.partial"
    partial.parent.mkdir()
    partial.write_bytes(content)

    assert get(tmp_path, place) == CONTENT
    assert place.requests[0] == f"bytes={len(content)}-"


def test_all_places_fail_in_one_line(tmp_path: Path, serve: Any) -> None:
    gone = serve(Place(statuses=[404]))
    wrong = serve(Place(content=b"other"))
    target = tmp_path / "data.tar.gz"
    urls = [gone.url, wrong.url, "http://127.0.0.1:1/x", "file:///etc/hostname", "nonsense"]
    with pytest.raises(DataError) as error:
        fetch(urls, target, md5(CONTENT), ignore)

    message = str(error.value)
    assert "\n" not in message
    assert message.startswith("cannot download data.tar.gz (127.0.0.1:")
    for part in ("HTTP 404", "wrong md5", "Connection refused", f"put the file into {tmp_path} by"):
        assert part in message
    assert "--data-dir" in message
    assert list(tmp_path.iterdir()) == []


def test_silent_place_is_left(tmp_path: Path, serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "TIMEOUT_S", 1.0)
    released = threading.Event()

    class Silent(Place):
        def answer(self, handler: BaseHTTPRequestHandler) -> None:
            self.requests.append(handler.headers.get("Range"))
            released.wait(10)

    silent, place = serve(Silent()), serve(Place())
    try:
        assert get(tmp_path, silent, place) == CONTENT
    finally:
        released.set()
    assert silent.requests == [None]


def test_two_processes_do_not_write_one_file(tmp_path: Path, serve: Any) -> None:
    place = serve(Place())
    target = tmp_path / "data.tar.gz"
    with target.with_name("data.tar.gz.partial").open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(DataError, match=f"another process is downloading {target}"):
            fetch([place.url], target, md5(CONTENT), ignore)
    assert place.requests == []


def test_file_that_another_process_has_just_finished(
    tmp_path: Path, serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = serve(Place())
    target = tmp_path / "data" / "data.tar.gz"
    monkeypatch.setattr(download, "_lock", lambda *_: target.write_bytes(CONTENT))

    assert get(tmp_path, place) == CONTENT
    assert place.requests == []


def test_folder_that_cannot_be_written(tmp_path: Path, serve: Any) -> None:
    (tmp_path / "data").write_bytes(b"")
    target = tmp_path / "data" / "data.tar.gz"

    with pytest.raises(DataError, match=rf"cannot write {target}: .*--data-dir"):
        fetch([serve(Place()).url], target, md5(CONTENT), ignore)


def test_full_disk_is_not_blamed_on_the_place(
    tmp_path: Path, serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_file: IO[bytes]) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(download, "_truncate", full)
    with pytest.raises(DataError, match=r"cannot write .*: No space left on device"):
        fetch([serve(Place()).url], tmp_path / "data.tar.gz", md5(CONTENT), ignore)
