"""Downloads from a list of places: resumed where they stopped; the md5 decides what is kept."""

from __future__ import annotations

import hashlib
import http.client
import os
import urllib.error
import urllib.request
from contextlib import closing
from typing import IO, TYPE_CHECKING
from urllib.parse import urlsplit

from trainables.errors import DataError
from trainables.locks import acquire

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from trainables.datasets.base import Progress

TIMEOUT_S = 10.0
"""For connecting, and for a pause between bytes: a place that is silent for longer is left."""
_BLOCK = 1 << 18


class _PlaceError(Exception):
    """A place does not give the file; says why in a few words."""


def fetch(urls: Sequence[str], target: Path, md5: str, progress: Progress) -> None:
    """Download a file from the first place that gives it whole; a no-op if it is there.

    Bytes are gathered in `<target>.partial`, which an interrupted download leaves behind and the
    next one, from whichever place, goes on with.

    Args:
        urls: places (http or https), tried in this order.
        target: where the file belongs; its folder is made.
        md5: of the whole file.
        progress: told after each block.

    Raises:
        DataError: no place gives it, another process is downloading it, or it cannot be written.
    """
    if target.is_file():
        return
    partial = target.with_name(f"{target.name}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("ab") as file:
            _lock(file, target)
            if target.is_file():  # another process has just finished it
                partial.unlink(missing_ok=True)
                return
            _download(urls, partial, file, md5, progress)
            os.fsync(file.fileno())
            partial.replace(target)
    except OSError as error:
        raise DataError(
            f"cannot write {target.absolute()}: {error.strerror}; "
            "choose another folder with --data-dir"
        ) from error


def file_md5(path: Path) -> str:
    """Return the md5 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _lock(file: IO[bytes], target: Path) -> None:
    """Keep other processes from adding to the same partial file; ends with its closing."""
    try:
        acquire(file, patience_seconds=0)
    except TimeoutError:
        raise DataError(
            f"another process is downloading {target.absolute()}: wait for it, then try again"
        ) from None


def _download(
    urls: Sequence[str], partial: Path, file: IO[bytes], md5: str, progress: Progress
) -> None:
    """Fill the partial file with the right content."""
    reasons = []
    for url in urls:
        try:
            _from_place(url, partial, file, md5, progress)
        except _PlaceError as error:
            reasons.append(f"{urlsplit(url).netloc}: {error}")
        else:
            return
    if not file.tell():
        partial.unlink()
    name = partial.name.removesuffix(".partial")
    raise DataError(
        f"cannot download {name} ({'; '.join(reasons)}): put it into {partial.parent.absolute()} "
        "by hand, or name the folder that has it with --data-dir"
    )


def _from_place(url: str, partial: Path, file: IO[bytes], md5: str, progress: Progress) -> None:
    """Ask one place until the file is whole, as long as each answer adds to it."""
    inherited = file.tell() > 0
    while True:
        before = file.tell()
        try:
            resumed = _answer(url, file, progress)
        except _PlaceError:
            if file.tell() <= before:
                raise
            continue
        file.flush()
        if file_md5(partial) == md5:
            return
        _empty(file)
        if not (inherited and resumed):
            raise _PlaceError("its file has the wrong md5")
        inherited = False  # what was there before may be to blame: ask once more, for all of it


def _answer(url: str, file: IO[bytes], progress: Progress) -> bool:
    """Append one answer to the file; return whether the bytes before it were kept.

    Raises:
        _PlaceError: no answer, or one that ends too early; what came is in the file.
    """
    kept = file.tell()
    opener = _opener(kept)
    try:
        response = opener.open(url, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and kept:
            return True  # nothing is left to send: the md5 will tell
        raise _PlaceError(f"HTTP {error.code}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _PlaceError(_reason(error)) from error
    with closing(response):
        resumed = response.status == http.client.PARTIAL_CONTENT
        if not resumed:
            kept = 0
            _empty(file)
        length = response.headers.get("Content-Length")
        total = kept + int(length) if length and length.isdigit() else None
        while block := _block(response):
            file.write(block)
            progress(file.tell(), total)
        if total is not None and file.tell() < total:
            raise _PlaceError(f"ended after {file.tell()} of {total} bytes")
    return resumed and kept > 0


def _block(response: IO[bytes]) -> bytes:
    try:
        return response.read(_BLOCK)
    except (OSError, http.client.HTTPException) as error:
        raise _PlaceError(_reason(error)) from error


def _empty(file: IO[bytes]) -> None:
    file.seek(0)
    file.truncate()


def _reason(error: Exception) -> str:
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    text = cause.strerror if isinstance(cause, OSError) else str(cause)
    return text or str(cause) or type(cause).__name__


def _opener(start: int) -> urllib.request.OpenerDirector:
    """Return an opener for http and https alone that asks for the bytes from `start` on."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    opener.addheaders = [("User-Agent", "nal-orchestrator")]
    if start:
        opener.addheaders.append(("Range", f"bytes={start}-"))
    return opener
