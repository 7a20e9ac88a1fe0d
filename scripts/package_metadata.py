# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The requirements of a package on each Python version, from its metadata; for `make lock`."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence
from email import message_from_bytes
from email.message import Message
from functools import cache
from typing import Any

import requests
from packaging.tags import compatible_tags, cpython_tags
from packaging.utils import parse_wheel_filename
from remotezip import RemoteZip


def requires(files: Sequence[dict[str, Any]], pythons: Sequence[str]) -> list[dict[str, Any]]:
    """Return the requirements of a package; its wheels may differ in them.

    Args:
        files: Its wheels, or its one source archive, as pylock.toml describes them.
        pythons: Python versions that it is installed for, as '3.12'.

    Returns:
        One entry for all Pythons on which it requires the same: these `pythons`, and the lines of
        the metadata as `extras` and `requires`, sorted.
    """
    found: list[dict[str, Any]] = []
    for python in pythons:
        file = next((file for file in files if _suits(_name(file), python)), None)
        if file is None:
            continue  # not available for this Python
        metadata = _metadata(file['url'])
        lines = {
            'extras': sorted(metadata.get_all('Provides-Extra', [])),
            'requires': sorted(metadata.get_all('Requires-Dist', [])),
        }
        same = [entry for entry in found if lines.items() <= entry.items()]
        if same:
            same[0]['pythons'].append(python)
        else:
            found.append({'pythons': [python], **lines})
    return found


def _name(file: dict[str, Any]) -> str:
    name: str = file['url'].rsplit('/', 1)[1]
    return name


def _suits(name: str, python: str) -> bool:
    if not name.endswith('.whl'):
        return True
    major, minor = (int(part) for part in python.split('.'))
    tags = [
        *cpython_tags((major, minor), [f'cp{major}{minor}'], ['any']),
        *compatible_tags((major, minor), f'cp{major}{minor}', ['any']),
    ]
    usable = {(tag.interpreter, tag.abi) for tag in tags}
    return any((tag.interpreter, tag.abi) in usable for tag in parse_wheel_filename(name)[3])


@cache  # the locks share most files
def _metadata(url: str) -> Message:
    if url.endswith('.whl'):
        with RemoteZip(url) as wheel:  # reads only the end of the file
            name = next(n for n in wheel.namelist() if n.endswith('.dist-info/METADATA'))
            return message_from_bytes(wheel.read(name))
    answer = requests.get(url, timeout=60)
    answer.raise_for_status()
    with tarfile.open(fileobj=io.BytesIO(answer.content)) as archive:
        file = archive.extractfile(f'{archive.getnames()[0].split("/")[0]}/PKG-INFO')
        assert file is not None
        return message_from_bytes(file.read())
