"""Download of files that are verified by MD5; interrupted downloads are resumed."""

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
from trainables.locks import lock_until_closed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from trainables.datasets.base import Progress

TIMEOUT_S = 10.0
"""Longest wait for a connection or for data, in seconds, before the next URL is tried."""
BLOCK_BYTES = 1 << 18
"""Number of bytes that are read from a connection in one call."""


class _UrlError(Exception):
    """Download from one URL failed; the message states the reason in a few words."""


def fetch(urls: Sequence[str], target: Path, md5: str, progress: Progress) -> None:
    """Download a file from the first URL that provides it completely, unless the file exists.

    Received bytes are written to `<target>.partial`. After an interruption this file is kept, and
    the next download appends the missing bytes, from any of the URLs.

    Args:
        urls: http or https URLs of the file, tried in this order.
        target: path of the downloaded file; missing parent folders are created.
        md5: MD5 of the whole file, in hexadecimal.
        progress: function that is called after each downloaded block.

    Raises:
        DataError: if no URL provides the file, another process is downloading the file, or the
            file cannot be written.
    """
    if target.is_file():
        return
    partial = target.with_name(f"{target.name}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("ab") as file:
            _lock(file, target)
            if target.is_file():  # another process has just finished the download
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
    """Return the MD5 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _lock(file: IO[bytes], target: Path) -> None:
    """Lock the partial file against other processes until it is closed."""
    try:
        lock_until_closed(file, patience_seconds=0)
    except TimeoutError:
        raise DataError(
            f"another process is downloading {target.absolute()}: try again when the download has "
            "ended"
        ) from None


def _download(
    urls: Sequence[str], partial: Path, file: IO[bytes], md5: str, progress: Progress
) -> None:
    """Complete the partial file from the first URL that succeeds."""
    failures = []
    for url in urls:
        try:
            _download_from(url, partial, file, md5, progress)
        except _UrlError as error:
            failures.append(f"{urlsplit(url).netloc}: {error}")
        else:
            return
    if not file.tell():
        partial.unlink()
    file_name = partial.name.removesuffix(".partial")
    raise DataError(
        f"cannot download {file_name} ({'; '.join(failures)}): put the file into "
        f"{partial.parent.absolute()} by hand, or name the folder that contains the file with "
        "--data-dir"
    )


def _download_from(url: str, partial: Path, file: IO[bytes], md5: str, progress: Progress) -> None:
    """Complete a partial file from one URL.

    A failed request is repeated as long as each request adds bytes.

    Raises:
        _UrlError: if the URL does not provide the file.
    """
    has_earlier_bytes = file.tell() > 0
    while True:
        size_before = file.tell()
        try:
            resumed = _request(url, file, progress)
        except _UrlError:
            if file.tell() <= size_before:
                raise
            continue
        file.flush()
        if file_md5(partial) == md5:
            return
        _truncate(file)
        if not (has_earlier_bytes and resumed):
            raise _UrlError("the file has the wrong md5")
        has_earlier_bytes = False  # they may be wrong: request the whole file once


def _request(url: str, file: IO[bytes], progress: Progress) -> bool:
    """Request the missing bytes of a partial file once, and write the response to the file.

    Returns:
        Whether the earlier bytes were kept; False if the server sent the whole file.

    Raises:
        _UrlError: if there is no response, or the response ends too early; the file keeps the
            received bytes.
    """
    start = file.tell()
    opener = _build_opener(start)
    try:
        response = opener.open(url, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and start:
            return True  # no bytes are missing: the md5 decides
        raise _UrlError(f"HTTP {error.code}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _UrlError(_describe_error(error)) from error
    with closing(response):
        resumed = response.status == http.client.PARTIAL_CONTENT
        if not resumed:
            start = 0
            _truncate(file)
        length = response.headers.get("Content-Length")
        total = start + int(length) if length and length.isdigit() else None
        while block := _read_block(response):
            file.write(block)
            progress(file.tell(), total)
        if total is not None and file.tell() < total:
            raise _UrlError(f"the response ended after {file.tell()} of {total} bytes")
    return resumed and start > 0


def _read_block(response: IO[bytes]) -> bytes:
    try:
        return response.read(BLOCK_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise _UrlError(_describe_error(error)) from error


def _truncate(file: IO[bytes]) -> None:
    file.seek(0)
    file.truncate()


def _describe_error(error: Exception) -> str:
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    text = cause.strerror if isinstance(cause, OSError) else str(cause)
    return text or str(cause) or type(cause).__name__


def _build_opener(start: int) -> urllib.request.OpenerDirector:
    """Return an opener for http and https URLs that requests the bytes from `start` on."""
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
