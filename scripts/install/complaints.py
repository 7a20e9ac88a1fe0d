# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Errors of an installer as one line that says what to do."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from runs import Ended

# The first pattern in the output of an installer decides; uv, pip and Python differ in wording.
_CAUSES = (
    (
        r'No space left on device|(os error|Errno) 28\b|Disk quota exceeded',
        'the disk is full: about 6 GB are needed for the environment and as much for the cache if '
        'that is on another disk. Free: {free}. Make room, or choose other folders by '
        'CLIP_DINOISER_VENV, XDG_CACHE_HOME and TMPDIR',
    ),
    (
        r'Read-only file system|Permission denied|(os error|Errno) (13|30)\b',
        'a folder cannot be written: {line}. Choose others by CLIP_DINOISER_VENV, XDG_CACHE_HOME '
        'and TMPDIR',
    ),
    (
        r'Hash mismatch|DO NOT MATCH THE HASHES|hash mismatch',
        'the index sent a file that is not the one in the lock: {line}. Ask whoever runs it, or '
        'use another one by PIP_INDEX_URL',
    ),
    (
        r'Proxy Authentication Required|proxy authorization required|\(407',
        'the proxy asks for a name: HTTPS_PROXY=http://NAME:PASSWORD@HOST:PORT',
    ),
    (
        r'\b40[13] (Client Error|Unauthorized|Forbidden)|401 Error',
        'the index refuses access: {line}. Put name and password into PIP_INDEX_URL or ~/.netrc',
    ),
    (
        r'CERTIFICATE_VERIFY_FAILED|invalid peer certificate|UnknownIssuer',
        'the certificate of the index or proxy is not known here: give the file of its authority '
        'as SSL_CERT_FILE and PIP_CERT',
    ),
    (
        r'not a trusted or secure host',
        'pip trusts no index without encryption: {line}',
    ),
    (
        r'error sending request|dns error|Failed to fetch|Connection refused|NewConnectionError|'
        r'timed out|ProxyError|Network is unreachable|Temporary failure in name resolution|'
        r'Connection reset|[Cc]onnection broken|IncompleteRead|error decoding response body',
        'the package index cannot be reached: connect this machine, or name your proxy '
        '(HTTPS_PROXY) or your index (PIP_INDEX_URL). What was downloaded is kept: {line}',
    ),
    (
        r'Because .*|No matching distribution',
        'the index lacks a file of the lock: {line}. It has to mirror all of it; use another one '
        'by PIP_INDEX_URL',
    ),
)


class SetupError(Exception):
    """The set-up cannot continue; the text says what to do."""


def complain(ended: Ended, *folders: Path) -> SetupError:
    """Turn the output of a failed program into an error of one line.

    Args:
        ended: the output of an installer.
        folders: where it writes, to report the free space there.
    """
    for pattern, advice in _CAUSES:
        if match := re.search(pattern, ended.output + ended.log):
            return SetupError(advice.format(line=_line(match), free=_free(folders)))
    return SetupError(f'the installer failed ({ended.status}): {_last(ended.output)}')


def unreachable(ended: Ended) -> bool:
    """Return whether a program failed because it reached no index."""
    return 'cannot be reached' in str(complain(ended))


def _line(match: re.Match[str]) -> str:
    start = match.string.rfind('\n', 0, match.start()) + 1
    line = match.string[start:].split('\n', 1)[0].strip()
    line = re.sub(r'://[^/\s@]*@', '://', line)  # no password
    return line if len(line) <= 300 else line[:300] + ' ...'


def _last(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return ' / '.join(lines[-3:]) or 'it wrote nothing'


def _free(folders: tuple[Path, ...]) -> str:
    free = []
    for folder in folders:
        while not folder.exists():
            folder = folder.parent
        free.append(f'{shutil.disk_usage(folder).free / 1e9:.1f} GB at {folder}')
    return ', '.join(free)
