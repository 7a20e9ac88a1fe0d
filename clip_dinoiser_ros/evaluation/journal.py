# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""A file with the counts of each image, so that an interrupted evaluation can be resumed.

The first line has the settings. Each other line is one image. A line that was cut off when the
process was killed or power failed is dropped, and its image is evaluated again.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from clip_dinoiser_ros.bag.output_files import partial_file, refuse_link
from clip_dinoiser_ros.evaluation.metric import Counts

FILE = 'images.jsonl'


class JournalError(ValueError):
    """An earlier evaluation cannot be resumed or replaced; the message says why and what to do."""


@dataclass(frozen=True, eq=False)
class Evaluated:
    """The result of one image.

    Attributes:
        name: Name of the image.
        counts: Counts of all its pixels; None if it was left out.
        edges: Counts of pixels near an edge, by the width of the band in pixels.
        damage: Why it was left out; empty if it was not.
        odd: Which labels are unknown; empty if none are.
        seconds: Time since the image before.
    """

    name: str
    counts: Counts | None = None
    edges: Mapping[int, Counts] = field(default_factory=dict)
    damage: str = ''
    odd: str = ''
    seconds: float = 0.0

    def line(self) -> dict[str, Any]:
        """Return a form that JSON can hold."""
        content: dict[str, Any] = {'image': self.name, 'seconds': round(self.seconds, 4)}
        if self.counts is not None:
            miou = self.counts.miou
            content['miou'] = None if miou != miou else round(100 * miou, 4)
            content['all'] = self.counts.sparse()
            content['edges'] = {str(w): c.sparse() for w, c in self.edges.items()}
        for key in ('damage', 'odd'):
            if text := getattr(self, key):
                content[key] = text
        return content

    @classmethod
    def from_line(cls, content: Mapping[str, Any], classes: int) -> Evaluated:
        """Undo `line`; raises as `Counts.from_sparse`."""
        every = content.get('all')
        return cls(
            name=content['image'],
            counts=None if every is None else Counts.from_sparse(every, classes),
            edges={
                int(width): Counts.from_sparse(counts, classes)
                for width, counts in content.get('edges', {}).items()
            },
            damage=content.get('damage', ''),
            odd=content.get('odd', ''),
            seconds=float(content['seconds']),
        )


class Journal:
    """The file; a context manager. Call `earlier` before anything is added.

    Args:
        folder: Folder of the results; None: write nothing.
        settings: Everything that affects the result.
        classes: K.
        resume: Continue the evaluation in the folder.

    Raises:
        JournalError: The settings differ, or another process is writing the file.
    """

    def __init__(
        self, folder: Path | None, settings: Mapping[str, Any], classes: int, resume: bool
    ) -> None:
        self._path = None if folder is None else folder / FILE
        self._settings: Mapping[str, Any] = json.loads(json.dumps(settings))
        self._classes, self._resume = classes, resume
        self._file: TextIO | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Journal:
        if self._path is not None:
            refuse_link(self._path)
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._stack:
                self._lock(self._path.parent)
                self._check()
                self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def earlier(self) -> Iterator[Evaluated]:
        """Yield the results of the earlier run, and start the file with them.

        The file is written anew, because a truncated line must not stay between complete ones.
        """
        if self._path is None:
            return
        part = partial_file(self._path)
        self._file = self._stack.enter_context(part.open('x', encoding='utf-8'))
        self._append({'settings': self._settings})
        if self._resume and self._path.exists():
            for evaluated in self._read():
                self._append(evaluated.line())
                yield evaluated
        part.replace(self._path)

    def add(self, evaluated: Evaluated) -> None:
        """Append one image."""
        if self._file is not None:
            self._append(evaluated.line())

    def _append(self, content: Mapping[str, Any]) -> None:
        assert self._file is not None
        self._file.write(json.dumps(content, ensure_ascii=False) + '\n')
        self._file.flush()

    def _lock(self, folder: Path) -> None:
        descriptor = os.open(folder, os.O_RDONLY)
        self._stack.callback(os.close, descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise JournalError(f'{folder} is being written by another process') from error

    def _check(self) -> None:
        """Refuse to continue an evaluation with other settings."""
        assert self._path is not None
        if not (self._resume and self._path.exists()):
            return
        with self._path.open(encoding='utf-8', errors='replace') as lines:
            earlier = _parsed(next(lines, '')).get('settings', self._settings)
        for key in (*self._settings, *earlier):
            was, is_now = earlier.get(key), self._settings.get(key)
            if was != is_now:
                raise JournalError(
                    f'{self._path} is of an evaluation with other settings: {key} was {was!r}, now '
                    f'it is {is_now!r}; --force starts again'
                )

    def _read(self) -> Iterator[Evaluated]:
        """Read images up to the first line that is incomplete."""
        assert self._path is not None
        with self._path.open(encoding='utf-8', errors='replace') as lines:
            next(lines, '')
            for line in lines:
                try:
                    yield Evaluated.from_line(_parsed(line), self._classes)
                except (ValueError, KeyError, TypeError, IndexError):
                    return


def _parsed(line: str) -> dict[str, Any]:
    """Parse a line; an empty dictionary if it is incomplete."""
    try:
        content = json.loads(line) if line.endswith('\n') else {}
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def check_folder(folder: Path | None, resume: bool, force: bool) -> None:
    """Check that no results would be overwritten.

    Raises:
        JournalError: The folder has results. The message says what to do.
    """
    if resume and force:
        raise JournalError('--resume and --force cannot be used together')
    if folder is None:
        if resume:
            raise JournalError('--resume needs --out DIR, the folder of the earlier run')
        return
    if folder.exists() and not folder.is_dir():
        raise JournalError(f'{folder} is not a folder')
    if (folder / FILE).exists() and not (resume or force):
        raise JournalError(
            f'{folder / FILE} exists; --resume continues that evaluation, --force replaces it'
        )
