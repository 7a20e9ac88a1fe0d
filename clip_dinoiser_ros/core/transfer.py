# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Downloads over HTTP that resume where they stopped, in this process or in a later one.

An unfinished download is stored beside the target as NAME.part. The target appears when the
content is complete and has the expected digest. Proxies: HTTP_PROXY, HTTPS_PROXY and NO_PROXY.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from http.client import HTTPResponse
from pathlib import Path
from typing import BinaryIO

from clip_dinoiser_ros.core.attempts import TransferError, persist
from clip_dinoiser_ros.core.progress import Progress

TIMEOUT_S = 30.0  # of silence
CHUNK_BYTES = 2**18

_log = logging.getLogger(__name__)


class DiskError(TransferError):
    """A file cannot be written."""


@dataclass(frozen=True)
class Published:
    """A published file.

    Attributes:
        url: http or https.
        digest: Of its content: SHA-256 (64 hexadecimal digits) or the id under which git stores it
            (40). Anything else: not known.
        size: In bytes; None: not known.
        headers: Of the request. An authorization is not sent to another host after a redirect.
    """

    url: str
    digest: str
    size: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What the URL calls it."""
        return self.url.rsplit('/', 1)[1]

    def is_at(self, path: Path) -> bool:
        """Return whether a file has this content, as far as its digest is known."""
        return path.is_file() and self.digest in ('', digest_of(path, len(self.digest)))


def digest_of(path: Path, digits: int) -> str:
    """Return the SHA-256 of a file for 64 digits, git's id of it for 40, '' for others."""
    if digits == 64:
        digest = hashlib.sha256()
    elif digits == 40:
        # git's format, not our choice; the authors' file is known by this id
        digest = hashlib.sha1(b'blob %d\0' % path.stat().st_size)  # noqa: S324
    else:
        return ''
    with path.open('rb') as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


def fetch(published: Published, target: Path) -> None:
    """Download a published file to a path, resuming an earlier attempt.

    If several processes want the same file, one downloads it and the others wait.

    Raises:
        TransferError: The download failed, has other content, or cannot be written.
    """
    part = target.with_name(f'{target.name}.part')
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with part.open('ab') as file:
            _lock(file, published.name)
            if target.exists():  # another process has downloaded it meanwhile
                return
            _fill(file, published, target)
            part.replace(target)
    except TransferError:
        raise
    except OSError as error:
        raise _cannot_write(part, error) from error


def _cannot_write(path: Path, error: OSError) -> DiskError:
    return DiskError(f'{path} cannot be written: {error.strerror or error}')


def _lock(file: BinaryIO, name: str) -> None:
    """Wait until no other process writes the file."""
    try:
        import fcntl  # missing on Windows, where someone may download for a robot

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        _log.info('%s: another process is downloading it; waiting', name)
        fcntl.flock(file, fcntl.LOCK_EX)
    except (
        ImportError,
        OSError,
    ) as error:  # a file system without locks; the digest shows damage
        _log.info('%s: cannot be locked: %s', name, error)


def _fill(file: BinaryIO, published: Published, target: Path) -> None:
    """Complete the download; restart once if the earlier part is unusable."""
    earlier = file.seek(0, 2)
    while True:
        persist(published.url, lambda: _receive(file, published, target), lambda: file.seek(0, 2))
        file.flush()
        part = Path(file.name)
        found = digest_of(part, len(published.digest))
        if found in ('', published.digest):
            return
        with part.open('rb') as content:
            page = content.read(100).lstrip().startswith(b'<')
        file.truncate(0)
        if not earlier:
            raise TransferError(
                f'{published.url} sent another file: its digest is {found}, '
                f'it must be {published.digest}'
                + ('; it is a web page, perhaps a login' if page else '')
            )
        _log.warning('%s: the partial download is damaged; starting again', published.name)
        earlier = 0


def _receive(file: BinaryIO, published: Published, target: Path) -> None:
    """Append the missing part; one attempt."""
    have = file.seek(0, 2)
    if have and have == published.size:
        return
    try:
        response = _open(published, have)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing is left to send
            file.truncate(0)
            raise ConnectionError(f'{published.url} is shorter than what has arrived') from error
        raise
    with response:
        if not response.headers.get('Content-Range', '').startswith(f'bytes {have}-'):
            file.truncate(0)  # it sends the whole file
            have = 0
        total = _total(response, have, published)
        _check_space(target.parent, (total or 0) - have)
        done = _copy(response, file, Progress(published.name, have, total))
    if total is not None and done < total:
        raise ConnectionError(f'{published.url} broke off after {done} of {total} bytes')


def reach(published: Published) -> Published:
    """Ask for a published file without downloading it; return it with the announced size.

    Raises:
        TransferError: The request failed; the message says why.
    """

    def ask() -> Published:
        with _open(published, 0) as response:
            return replace(published, size=_total(response, 0, published))

    return persist(published.url, ask, attempts=1)


def _open(published: Published, have: int) -> HTTPResponse:
    if not published.url.startswith(('http://', 'https://')):
        raise TransferError(f'{published.url!r} is not an http or https address')
    request = urllib.request.Request(published.url)  # noqa: S310
    request.add_header('Accept-Encoding', 'identity')
    for name, value in published.headers.items():
        secret = name.lower() == 'authorization'
        (request.add_unredirected_header if secret else request.add_header)(name, value)
    if have:
        request.add_header('Range', f'bytes={have}-')
    # a new opener, since the shared one keeps the proxies of its first use
    response: HTTPResponse = urllib.request.build_opener().open(request, timeout=TIMEOUT_S)
    return response


def _total(response: HTTPResponse, have: int, published: Published) -> int | None:
    """Return the size of the whole file in bytes; None: not known."""
    length = response.headers.get('Content-Length')
    total = published.size if length is None else have + int(length)
    if published.size not in (None, total):
        raise TransferError(
            f'{published.url} announces {total} bytes, the file must have {published.size}: '
            'it is another file'
        )
    return total


def _check_space(folder: Path, missing: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < missing:
        raise DiskError(
            f'{missing / 1e6:.0f} MB are missing, {folder} has room for {free / 1e6:.0f} MB'
        )


def _copy(response: HTTPResponse, file: BinaryIO, progress: Progress) -> int:
    """Append a response to a file; return the new length of the file."""
    done = file.seek(0, 2)
    while chunk := response.read(CHUNK_BYTES):
        try:
            file.write(chunk)
            file.flush()
        except OSError as error:  # not a network error: another attempt would not help
            raise _cannot_write(Path(file.name), error) from error
        done += len(chunk)
        progress.tell(done)
    return done
