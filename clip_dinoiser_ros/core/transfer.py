# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""A file over HTTP that goes on where it broke off, in this process or in a later one.

What has arrived lies beside the target as NAME.part. The target appears when the whole content has
arrived and is the one that was asked for. Proxies: HTTP_PROXY, HTTPS_PROXY and NO_PROXY.
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
    """A file that cannot be written here."""


@dataclass(frozen=True)
class Published:
    """A file that somebody publishes.

    Attributes:
        url: http or https.
        digest: How its content is known: SHA-256 (64 hexadecimal digits) or the id under which
            git stores it (40). Anything else: it is not known.
        size: In bytes; None: not known.
        headers: Sent along; an authorization not to where the URL redirects to.
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
        """Whether a file has this content, as far as that is known."""
        return path.is_file() and self.digest in ('', digest_of(path, len(self.digest)))


def digest_of(path: Path, digits: int) -> str:
    """Return the SHA-256 of a file for 64 digits, git's id of it for 40, '' for others."""
    if digits == 64:
        digest = hashlib.sha256()
    elif digits == 40:
        # git's format, not a choice; it names the content that the authors published
        digest = hashlib.sha1(b'blob %d\0' % path.stat().st_size)  # noqa: S324
    else:
        return ''
    with path.open('rb') as file:
        while chunk := file.read(2**20):
            digest.update(chunk)
    return digest.hexdigest()


def fetch(published: Published, target: Path) -> None:
    """Bring a published file to a path, from where an earlier attempt got to.

    Several processes may want the same file: one brings it, the others wait.

    Raises:
        TransferError: It does not come, is another one, or cannot be written.
    """
    part = target.with_name(f'{target.name}.part')
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with part.open('ab') as file:
            _lock(file, published.name)
            if target.exists():  # meanwhile another process has brought it
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
        import fcntl  # a laptop that downloads for a robot may lack it

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        _log.info('%s: another process is downloading it; waiting', name)
        fcntl.flock(file, fcntl.LOCK_EX)
    except (
        ImportError,
        OSError,
    ) as error:  # a file system without locks; the digest finds out what that costs
        _log.info('%s: not locked: %s', name, error)


def _fill(file: BinaryIO, published: Published, target: Path) -> None:
    """Complete what has arrived; begin once more where what had arrived earlier is no use."""
    earlier = file.seek(0, 2)
    while True:
        persist(lambda: _receive(file, published, target), lambda: file.seek(0, 2))
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
                f'what {published.url} sent is another file: its digest is {found}, '
                f'it must be {published.digest}'
                + ('; it is a web page, of a login perhaps' if page else '')
            )
        _log.warning('%s: what had arrived earlier is damaged; it begins again', published.name)
        earlier = 0


def _receive(file: BinaryIO, published: Published, target: Path) -> None:
    """Append what is missing; one attempt."""
    have = file.seek(0, 2)
    if have and have == published.size:
        return
    try:
        response = _open(published, have)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # there is nothing behind what has arrived
            file.truncate(0)
            raise ConnectionError(f'{published.url} is shorter than what had arrived') from error
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
    """Ask for a published file without bringing it; return it with the size that is announced.

    Raises:
        TransferError: It does not come; says why.
    """

    def ask() -> Published:
        with _open(published, 0) as response:
            return replace(published, size=_total(response, 0, published))

    return persist(ask, attempts=1)


def _open(published: Published, have: int) -> HTTPResponse:
    if not published.url.startswith(('http://', 'https://')):
        raise TransferError(f'{published.url!r} is neither http nor https')
    request = urllib.request.Request(published.url)  # noqa: S310
    request.add_header('Accept-Encoding', 'identity')
    for name, value in published.headers.items():
        secret = name.lower() == 'authorization'
        (request.add_unredirected_header if secret else request.add_header)(name, value)
    if have:
        request.add_header('Range', f'bytes={have}-')
    # an opener of its own: the shared one keeps the proxies of its first use
    response: HTTPResponse = urllib.request.build_opener().open(request, timeout=TIMEOUT_S)
    return response


def _total(response: HTTPResponse, have: int, published: Published) -> int | None:
    """Return the size of the whole file in bytes; None: neither side knows it."""
    length = response.headers.get('Content-Length')
    total = published.size if length is None else have + int(length)
    if published.size not in (None, total):
        raise TransferError(
            f'{published.url} announces {total} bytes, the file has {published.size}: '
            'it is another one'
        )
    return total


def _check_space(folder: Path, missing: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < missing:
        raise DiskError(
            f'{missing / 1e6:.0f} MB are still to come, {folder} has room for {free / 1e6:.0f} MB'
        )


def _copy(response: HTTPResponse, file: BinaryIO, progress: Progress) -> int:
    """Append a response to a file; return how long that is then."""
    done = file.seek(0, 2)
    while chunk := response.read(CHUNK_BYTES):
        try:
            file.write(chunk)
            file.flush()
        except OSError as error:  # not one of the network: another attempt would not help
            raise _cannot_write(Path(file.name), error) from error
        done += len(chunk)
        progress.tell(done)
    return done
