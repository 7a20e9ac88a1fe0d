# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The files of a recording, and other files in its folder."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath

from ruamel.yaml import YAML

from clip_dinoiser_ros.core.errors import one_line

SUFFIXES = {'.mcap': 'mcap', '.db3': 'sqlite3'}
METADATA = 'metadata.yaml'
LOGS = ('-wal', '-journal')  # of sqlite3: data that was not in the file when the recorder ended
_MESSAGES = re.compile(r'\.(mcap|db3|bag)\b')  # in names of files that could have messages
_MAGICS = (b'\x89MCAP0\r\n', b'SQLite format 3\0', b'#ROSBAG', b'\x28\xb5\x2f\xfd')


class BagError(ValueError):
    """A bag that cannot be read or written; says which, why, and what is allowed."""


@dataclass(frozen=True)
class Files:
    """The files of a recording.

    Attributes:
        paths: In order; files may be missing.
        told: Number of messages in metadata.yaml; None: unknown.
        damage: Files that could contain messages but are not read, one line each.
        notes: Other files, one line each.
    """

    paths: list[Path]
    told: int | None = None
    damage: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def storage(path: Path) -> str:
    """Return the format of a file by its name: mcap, sqlite3, or empty."""
    name = path.with_suffix('') if path.suffix == '.zstd' else path
    return SUFFIXES.get(name.suffix, '')


def find_files(path: Path) -> Files:
    """Find the files of a recording: from metadata.yaml, else all in the folder, by number.

    Args:
        path: A folder or one file.

    Raises:
        FileNotFoundError: The path does not exist.
        BagError: It is not a recording.
    """
    if not path.exists():
        raise FileNotFoundError(f'{path} does not exist; give a folder, a .mcap or a .db3 file')
    if path.is_file():
        if not storage(path):
            hint = ' (a ROS 1 bag: rosbags-convert makes a rosbag2 of it)' * (path.suffix == '.bag')
            raise BagError(
                f'{path} is not a bag; give a folder, .mcap or .db3 file, also with .zstd{hint}'
            )
        return Files([path])
    damage: list[str] = []
    told = None
    parts: list[Path] = []
    if (path / METADATA).exists():
        try:
            parts, told = _described(path)
        except Exception as error:  # ruamel raises many types for damaged content
            what = f'{type(error).__name__} {one_line(error)}'
            damage.append(f'{path / METADATA} cannot be read, so it is ignored: {what}')
    if not parts:
        parts = sorted(_recorded(path), key=_by_number)
    if not parts:
        reasons = ''.join(f'; {line}' for line in damage)
        raise BagError(
            f'{path} is not a bag: it has neither {METADATA} nor a .mcap or .db3 file{reasons}'
        )
    found = Files(parts, told, damage)
    _name_others(path, found)
    return found


def _described(folder: Path) -> tuple[list[Path], int]:
    """Return the files and the number of messages in metadata.yaml."""
    text = (folder / METADATA).read_text()
    described = YAML(typ='safe').load(text)['rosbag2_bagfile_information']
    # only the names: a path with ../ would leave the folder; both kinds of slashes occur
    names = [PureWindowsPath(part).name for part in described['relative_file_paths']]
    parts = dict.fromkeys(_packed_or_not(folder / name) for name in names)
    return [*parts], int(described['message_count'])


def _packed_or_not(path: Path) -> Path:
    """Return a file, or its compressed or uncompressed version."""
    other = path.with_suffix('') if path.suffix == '.zstd' else path.with_name(f'{path.name}.zstd')
    return other if not path.exists() and other.exists() else path


def _recorded(folder: Path) -> Iterator[Path]:
    """Return every storage file in a folder; if there are two versions, the uncompressed one."""
    for file in folder.iterdir():
        twin = file.with_suffix('') if file.suffix == '.zstd' else None
        if storage(file) and file.is_file() and not (twin and twin.exists()):
            yield file


def _by_number(path: Path) -> tuple[int, str]:
    """Sort name_10 after name_9."""
    number = re.search(r'_(\d+)(\.mcap|\.db3)?$', path.stem)
    return (int(number[1]) if number else 0, path.name)


def _name_others(folder: Path, found: Files) -> None:
    """Record the files of the folder that are not read."""
    read = {path.name for path in found.paths}
    logs = {f'{name}{end}' for name in read for end in LOGS}
    for file in sorted(folder.iterdir()):
        name = file.name
        if name in read or name in logs or name == METADATA or name.startswith('.'):
            continue
        if name.endswith('-shm'):  # index of a log of sqlite: contains no messages
            continue
        twin = name.removesuffix('.zstd') if name.endswith('.zstd') else f'{name}.zstd'
        if twin in read:
            found.notes.append(f'{name} is not read, because {twin} is')
        elif _may_hold_messages(file):
            found.damage.append(f'{name} in {folder} is not read')
        else:
            found.notes.append(f'{name} in {folder} is not a recording')


def _may_hold_messages(path: Path) -> bool:
    """Return whether a file, or one in a folder, could be a recording by name or first bytes."""
    if path.is_dir():
        return any(name == METADATA or _MESSAGES.search(name) for name in _names(path))
    if _MESSAGES.search(path.name):
        return True
    try:
        with path.open('rb') as file:
            return file.read(16).startswith(_MAGICS)
    except OSError:  # a file that cannot be opened may be anything
        return True


def _names(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir()]
    except OSError:
        return [METADATA]
