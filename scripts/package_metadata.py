# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""What the files of a package require, as their metadata says it; for `make lock`."""

from __future__ import annotations

import io
import tarfile
from email.parser import BytesParser
from typing import Any
from urllib.request import urlopen

Required = dict[str, list[str]]


def requires(files: list[dict[str, Any]]) -> Required:
    """Return what a package requires.

    Args:
        files: Its wheels, or its one source archive, as pylock.toml describes them.

    Returns:
        `requires` and, where there are any, `extras`, with the lines of the metadata.

    Raises:
        ValueError: Its wheels for the several Pythons do not require the same.
    """
    found: list[Required] = []
    for file in files:
        required = _of(file['url'])
        if required not in found:
            found.append(required)
    if len(found) > 1:
        raise ValueError(f'the wheels beside {files[0]["url"]} differ in what they require: {found}')
    return found[0]


def _of(url: str) -> Required:
    if url.endswith('.whl'):  # PEP 658: an index serves the metadata of a wheel beside it
        text = _read(url + '.metadata')
    else:
        with tarfile.open(fileobj=io.BytesIO(_read(url))) as archive:
            member = archive.extractfile(archive.getnames()[0].split('/')[0] + '/PKG-INFO')
            assert member is not None
            text = member.read()
    metadata = BytesParser().parsebytes(text)
    required = {'requires': sorted(metadata.get_all('Requires-Dist', []))}
    extras = sorted(metadata.get_all('Provides-Extra', []))
    return required | ({'extras': extras} if extras else {})


def _read(url: str) -> bytes:
    with urlopen(url, timeout=60) as response:  # noqa: S310  (an index that uv has just read)
        content: bytes = response.read()
    return content
