"""Downloads from a list of places, resumed after an interruption and verified by md5."""

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
"""Longest time, in seconds, for connecting and between two blocks; then the next place is tried."""
BLOCK_BYTES = 1 << 18
"""Number of bytes that are read at a time."""


class _PlaceError(Exception):
    """Failure of one place, with its reason in a few words."""


def fetch(urls: Sequence[str], target: Path, md5: str, progress: Progress) -> None:
    """Download a file from the first place that provides it whole, unless it exists.

    Bytes are collected in `<target>.partial`. An interrupted download leaves this file behind, and
    the next one continues it from any place.

    Args:
        urls: URLs of the places (http or https), tried in this order.
        target: path of the file; its folder is created.
        md5: md5 of the whole file.
        progress: function that is called after each block.

    Raises:
        DataError: if no place provides the file, another process is downloading it, or it cannot
            be written.
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
    """Lock the partial file against other processes until it is closed."""
    try:
        acquire(file, patience_seconds=0)
    except TimeoutError:
        raise DataError(
            f"another process is downloading {target.absolute()}: wait for it, then try again"
        ) from None


def _download(
    urls: Sequence[str], partial: Path, file: IO[bytes], md5: str, progress: Progress
) -> None:
    """Try the places in turn until one completes the partial file."""
    reasons = []
    for url in urls:
        try:
            _download_from(url, partial, file, md5, progress)
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


def _download_from(url: str, partial: Path, file: IO[bytes], md5: str, progress: Progress) -> None:
    """Request the rest of the file from one place until it is whole.

    Another request follows a failed one only if that one has added bytes.

    Raises:
        _PlaceError: if the place does not provide the file.
    """
    continued = file.tell() > 0
    while True:
        size = file.tell()
        try:
            resumed = _request(url, file, progress)
        except _PlaceError:
            if file.tell() <= size:
                raise
            continue
        file.flush()
        if file_md5(partial) == md5:
            return
        _empty(file)
        if not (continued and resumed):
            raise _PlaceError("its file has the wrong md5")
        continued = False  # the earlier bytes may be wrong: request the whole file once


def _request(url: str, file: IO[bytes], progress: Progress) -> bool:
    """Append the response to one request to the file.

    Returns:
        Whether the bytes that were in the file before are still part of it.

    Raises:
        _PlaceError: if there is no response, or it ends too early; its bytes are in the file.
    """
    start = file.tell()
    opener = _opener(start)
    try:
        response = opener.open(url, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and start:
            return True  # the file has all bytes: its md5 decides
        raise _PlaceError(f"HTTP {error.code}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _PlaceError(_reason(error)) from error
    with closing(response):
        resumed = response.status == http.client.PARTIAL_CONTENT
        if not resumed:
            start = 0
            _empty(file)
        length = response.headers.get("Content-Length")
        total = start + int(length) if length and length.isdigit() else None
        while block := _read_block(response):
            file.write(block)
            progress(file.tell(), total)
        if total is not None and file.tell() < total:
            raise _PlaceError(f"ended after {file.tell()} of {total} bytes")
    return resumed and start > 0


def _read_block(response: IO[bytes]) -> bytes:
    try:
        return response.read(BLOCK_BYTES)
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
    """Return an opener for http and https only, which requests the bytes from `start` on."""
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
