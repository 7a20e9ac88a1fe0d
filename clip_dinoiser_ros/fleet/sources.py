# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Where recordings are: folders, globs, lists and URLs, by fsspec."""

from __future__ import annotations

import posixpath
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from clip_dinoiser_ros.bag.files import METADATA, BagError, storage
from clip_dinoiser_ros.core.errors import one_line

_LIST = '.txt'
# hidden, unfinished outputs, or of the file system
_LEFT_OUT = re.compile(r'(^|/)(\.|[^/]*\.partial(/|$)|lost\+found(/|$))')


@dataclass(frozen=True)
class Found:
    """A recording to segment.

    Attributes:
        name: Of the output, relative to the folder of all outputs, without suffix.
        source: Absolute path, or URL.
        size: In bytes.
    """

    name: str
    source: str
    size: int

    @property
    def is_local(self) -> bool:
        """Whether it is read in place."""
        return '://' not in self.source


def find_recordings(sources: Sequence[str]) -> list[Found]:
    """Find the recordings that are meant.

    Args:
        sources: Recordings, folders with recordings at any depth, patterns (`*`, `?`, `[]`, `**`);
            paths or URLs.

    Returns:
        The recordings, the largest first.

    Raises:
        BagError: A source has no recording, or two recordings would have one output.
        FileNotFoundError: A source does not exist.
    """
    found: dict[str, Found] = {}
    for source in sources:
        for one in _of_source(source):
            other = found.setdefault(one.name, one)
            if other.source != one.source:
                raise BagError(
                    f'{other.source} and {one.source} would both be written to {one.name}.mcap; '
                    'give a folder that holds both, or another OUT for one of them'
                )
    return sorted(found.values(), key=lambda one: (-one.size, one.name))


def listed(sources: Sequence[str]) -> list[str]:
    """Replace text files by the sources that they list, one per line.

    Raises:
        BagError: A list is empty.
    """
    found = []
    for source in sources:
        lines = [source]
        if source.endswith(_LIST):
            lines = [line.strip() for line in Path(source).read_text().splitlines()]
            lines = [line for line in lines if line and not line.startswith('#')]
            if not lines:
                raise BagError(f'{source} lists no recording; write one path or URL per line')
        found += lines
    return found


def _of_source(source: str) -> Iterator[Found]:
    try:
        files, path = fsspec.url_to_fs(source)
    except (ImportError, ValueError) as error:
        raise BagError(f'{source} cannot be opened: {error}') from error
    path = path.rstrip('/')
    roots, base = [path], ''
    if re.search(r'[*?[]', path) and not _exists(files, path):
        base = re.split(r'[^/]*[*?[]', path, maxsplit=1)[0]  # the folders before the pattern
        matches = sorted(files.glob(path))
        roots = [root for root in matches if not _LEFT_OUT.search(root.removeprefix(base))]
        if not roots:
            raise BagError(f'{source} matches nothing')
    elif not _exists(files, path):
        raise FileNotFoundError(f'{source} does not exist; give recordings, folders or patterns')
    count = 0
    for root in roots:
        for place, size in _recordings(files, root):
            inside = base or (f'{root}/' if place != root else f'{posixpath.dirname(root)}/')
            count += 1
            yield Found(_name(place.removeprefix(inside)), _url(files, place), size)
    if not count:
        raise BagError(f'{source} has no recording: no .mcap or .db3 file, also with .zstd')


def _exists(files: Any, path: str) -> bool:
    """Return whether a path is there; unlike fsspec, a server that does not answer is an error."""
    try:
        files.info(path)
    except FileNotFoundError:
        return False
    except Exception as error:  # storage libraries raise their own types
        raise BagError(f'{path} cannot be read: {one_line(error, 300)}') from error
    return True


def _url(files: Any, path: str) -> str:
    return path if isinstance(files, LocalFileSystem) else str(files.unstrip_protocol(path))


def _recordings(files: Any, root: str) -> Iterator[tuple[str, int]]:
    """Yield path and bytes of each recording at or below a path."""
    if files.isfile(root):
        if storage(Path(root)):
            yield root, files.size(root)
        return
    for folder, entries in _folders(files, root):
        sizes = {
            name: entry['size']
            for name, entry in sorted(entries.items())
            if storage(Path(name)) and name.removesuffix('.zstd') not in entries.keys() - {name}
        }
        if sizes and _is_one(folder, {*sizes, *(entries.keys() & {METADATA})}):
            yield folder, sum(sizes.values())
        else:
            for name, size in sizes.items():
                yield f'{folder}/{name}', size


def _folders(files: Any, root: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each folder at or below a path, and the entries of its files by name.

    fsspec's own walk leaves out folders below the first that cannot be read, without a word.
    """
    try:
        ((folder, below, entries),) = files.walk(root, maxdepth=1, detail=True, on_error='raise')
    except Exception as error:  # storage libraries raise their own types
        raise BagError(
            f'{root} cannot be read: {one_line(error, 300)}; make it readable, or list the '
            'recordings without it in a .txt file'
        ) from error
    yield folder, entries
    for name in sorted(below):
        if not _LEFT_OUT.search(name):
            yield from _folders(files, f'{folder}/{name}')


def _is_one(folder: str, names: set[str]) -> bool:
    """Return whether the files of a folder are one recording, as a recorder names them."""
    own = re.compile(re.escape(posixpath.basename(folder)) + r'_\d+\.(mcap|db3)(\.zstd)?')
    return METADATA in names or all(own.fullmatch(name) for name in names)


def _name(path: str) -> str:
    return re.sub(r'\.(mcap|db3)(\.zstd)?$', '', path)


@contextmanager
def local_copy(found: Found, scratch: Path | None) -> Iterator[Path]:
    """Give the path of a recording on this machine; one behind a URL is copied for the time.

    Args:
        found: The recording.
        scratch: Folder for the copy; None: that of the system.

    Raises:
        BagError: It cannot be copied.
        OSError: The same, or there is no room for it.
    """
    if found.is_local:
        yield Path(found.source)
        return
    files, path = fsspec.url_to_fs(found.source)
    folder = Path(tempfile.mkdtemp(prefix='clip_dinoiser_', dir=scratch))
    try:
        copy = folder / posixpath.basename(path)
        try:
            files.get(path, str(copy), recursive=True)
        except OSError:
            raise
        except Exception as error:  # storage libraries raise their own types
            raise BagError(f'{found.source} cannot be copied: {one_line(error, 300)}') from error
        yield copy
    finally:
        shutil.rmtree(folder, ignore_errors=True)
