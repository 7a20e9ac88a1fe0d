# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Retries of network operations after temporary failures."""

from __future__ import annotations

import logging
import re
import time
import urllib.error
import urllib.parse
from collections.abc import Callable
from http.client import HTTPException
from typing import TypeVar

ATTEMPTS = 5  # in a row without progress
PAUSE_S = 1.0  # before the second attempt; doubled each time
_PASSING = (408, 429, 500, 502, 503, 504)  # HTTP statuses that may be temporary
# in the text of errors without a status; permanent
_PROXY = re.compile(r'(^|failed: )407\b')
_LASTING = re.compile(r"CERTIFICATE_VERIFY_FAILED|missing an 'http://'|" + _PROXY.pattern)

_log = logging.getLogger(__name__)
_Result = TypeVar('_Result')


class TransferError(OSError):
    """A file that cannot be downloaded, or is not the expected one; says why."""


def persist(
    url: str,
    action: Callable[[], _Result],
    progress: Callable[[], int] = lambda: 0,
    attempts: int = ATTEMPTS,
) -> _Result:
    """Call a network operation again after temporary failures.

    Args:
        url: Address that the operation opens; its host is named in the log.
        action: The operation; raises what urllib or the client of the hub raises.
        progress: Returns a number that grows with each attempt that makes progress.
        attempts: Give up after so many in a row without progress.

    Raises:
        TransferError: The operation failed; says why.
    """
    failures, before = 0, progress()
    while True:
        try:
            return action()
        except Exception as error:
            if isinstance(error, TransferError) or not _is_of_the_network(error):
                raise
            failures = 1 if progress() > before else failures + 1
            before = progress()
            reason = _reason(error)
            if failures == attempts or not _may_pass(error):
                raise TransferError(reason) from error
            pause = PAUSE_S * 2 ** (failures - 1)
            host = urllib.parse.urlsplit(url).hostname
            _log.warning('%s: %s; trying again in %.0f s', host, reason, pause)
            time.sleep(pause)


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status in an error of urllib or of the client of the hub."""
    response = getattr(error, 'response', error)
    status = getattr(response, 'status_code', getattr(response, 'code', None))
    return status if isinstance(status, int) else None


def _is_of_the_network(error: Exception) -> bool:
    """Return whether urllib or the hub's client raised it, whose HTTP library often changes."""
    library = type(error).__module__.split('.')[0]
    return isinstance(error, OSError | HTTPException) or library in ('requests', 'httpx', 'httpx2')


def _may_pass(error: Exception) -> bool:
    status = status_of(error)
    if status is not None:
        return status in _PASSING
    if type(error).__module__.startswith('huggingface_hub'):  # offline, or no connection
        return False
    return _LASTING.search(str(error)) is None


def _reason(error: Exception) -> str:
    told = error.reason if type(error) is urllib.error.URLError else error
    text = ' '.join(str(told).split()) or type(error).__name__
    if status_of(error) == 407 or _PROXY.search(text):
        text += (
            '; the proxy wants a name and a password: '
            'HTTPS_PROXY=http://NAME:PASSWORD@HOST:PORT (HTTP_PROXY for http)'
        )
    return text
