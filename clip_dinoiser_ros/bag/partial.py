# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The bag that is being written: OUT.partial, which becomes OUT only when it is complete.

OUT.partial is a folder with the bag, always mcap because that survives a kill, and a journal. The
journal has a line with the settings, then a line for each window of frames with the number of
messages read and written. To resume, the messages that the journal confirms are copied into a new
file, and writing continues there.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO
from zlib import crc32

from rosbags.interfaces import Connection, Qos
from rosbags.rosbag2 import StoragePlugin, Writer

from clip_dinoiser_ros.bag.output_files import partial_file, refuse_link, sync
from clip_dinoiser_ros.bag.recording import SUFFIXES, BagError, Message, Recording, Topic

_CHECKSUM_LENGTH = 9  # in front of each line of the journal: hexadecimal, and a space
_PLUGINS = {'mcap': StoragePlugin.MCAP, 'sqlite3': StoragePlugin.SQLITE3}


class InUseError(BagError):
    """Another process writes this bag."""


class PartialBag:
    """Writes a bag that appears under its name only when it is complete.

    Args:
        out: Its path: NAME.mcap or NAME.db3 is one file, anything else a folder.
        storage: mcap or sqlite3, for a folder.
        settings: Everything that determines the content; must be the same to resume.
        resume: Continue an interrupted bag if there is one.
        force: Replace `out` and delete an interrupted bag.
        look: Called with each message of the complete bag, when it is read back.

    Raises:
        BagError: `out` or an interrupted bag exists and may not be replaced; other settings; an
            earlier run has completed the bag, and it cannot be read back.
        InUseError: Another process writes it.
    """

    def __init__(
        self,
        out: Path,
        storage: str,
        settings: Mapping[str, Any],
        resume: bool,
        force: bool,
        look: Callable[[Message], None] | None = None,
    ) -> None:
        self.out, self.force = out, force
        self._look = look
        self.folder = out.with_name(out.name + '.partial')
        self._storage = SUFFIXES.get(out.suffix, storage)
        self._name = out.stem if out.suffix in SUFFIXES else out.name
        self._bag, self._old = self.folder / self._name, self.folder / 'interrupted'
        self._settings = json.loads(json.dumps(settings))
        self._connections: dict[str, Connection] = {}
        self._writer: Writer | None = None
        self._journal: TextIO | None = None
        self.written = 0
        self.lines: list[dict[str, Any]] = []  # what was committed before the interruption
        check_target(out, force, in_favour='--resume' if resume and self.folder.exists() else '')
        refuse_link(self.folder)
        self._start(resume)

    @property
    def bag(self) -> Path:
        """The bag in its present place, readable once it is closed."""
        return self._bag

    @property
    def complete(self) -> bool:
        """Whether an earlier run wrote all messages."""
        return bool(self.lines) and bool(self.lines[-1].get('complete'))

    def _start(self, resume: bool) -> None:
        journal = self.folder / 'journal.jsonl'
        if self.folder.exists() and not (resume or self.force):
            raise BagError(
                f'{self.folder} exists, from an interrupted run; --resume continues it, '
                '--force starts again'
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in (journal, self._bag, self._old):
            refuse_link(path)
        self._lock = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise InUseError(f'{self.folder} is being written by another process') from error
        try:
            self._use_journal(_read_journal(journal) if resume and journal.exists() else [])
        except BaseException:
            self._release()
            raise

    def _use_journal(self, lines: list[dict[str, Any]]) -> None:
        if lines:
            _check_same(lines[0]['settings'], self._settings, self.folder)
            self.lines = lines[1:]
        else:
            shutil.rmtree(self._bag, ignore_errors=True)
            shutil.rmtree(self._old, ignore_errors=True)
        if self.complete:
            _read_back(self._bag, self.lines[-1]['written'], self._look)
        else:
            self._open_bag()

    def _open_bag(self) -> None:
        """Start the bag with the intact part of the interrupted one."""
        if self._old.exists():  # the run was killed during the copy
            shutil.rmtree(self._bag, ignore_errors=True)
        elif self._bag.exists():
            self._bag.rename(self._old)
        self._writer = Writer(self._bag, version=9, storage_plugin=StoragePlugin.MCAP)
        self._writer.open()
        if self._old.exists():
            self._recover()
        self._renew_journal()
        shutil.rmtree(self._old, ignore_errors=True)

    def _renew_journal(self) -> None:
        """Start the journal with the recovered lines; lost messages must not be listed."""
        path = self.folder / 'journal.jsonl'
        part = partial_file(path)
        self._journal = part.open('x', encoding='utf-8')
        for line in ({'settings': self._settings}, *self.lines):
            self._append(line)
        part.replace(path)

    def _recover(self) -> None:
        """Copy the messages of all complete windows; drop later windows."""
        try:
            with Recording(self._old) as recording:
                there = sum(topic.count for topic in recording.topics.values())
                self.lines = [line for line in self.lines if line['written'] <= there]
                for message in recording.messages() if self.lines else ():
                    if self.written == self.lines[-1]['written']:
                        break
                    self.write(message)
        except BagError:  # the run was killed before the first bytes were on disk
            self.lines = []

    def write(self, message: Message) -> None:
        """Write a message; times must not decrease."""
        assert self._writer is not None
        topic = message.topic
        if topic.name not in self._connections:
            self._connections[topic.name] = _connect(self._writer, topic)
        self._writer.write(self._connections[topic.name], message.time_ns, message.data)
        self.written += 1

    def commit(self, **state: Any) -> None:
        """Write a line of the journal for all messages so far; see `lines` after a resume."""
        self._append({'written': self.written, **state})

    def _append(self, line: Mapping[str, Any]) -> None:
        assert self._journal is not None
        self._journal.write(_with_checksum(json.dumps(line)) + '\n')
        self._journal.flush()

    def close(self, **state: Any) -> None:
        """Close the complete bag and read it back."""
        if self._writer is None:
            return
        self._writer.close()
        self._writer = None
        _read_back(self._bag, self.written, self._look)
        self.commit(**state, complete=True)

    def finish(self) -> None:
        """Convert the closed bag to its format and move it to its path in one step."""
        bag = self._bag
        if self._storage == 'sqlite3':
            bag = self.folder / 'sqlite3' / self._name
            shutil.rmtree(bag.parent, ignore_errors=True)
            _read_back(bag, _convert(self._bag, bag))
        single = self.out.suffix in SUFFIXES
        put(bag / f'{self._name}{self.out.suffix}' if single else bag, self.out, self.force)
        shutil.rmtree(self.folder)

    def __enter__(self) -> PartialBag:
        return self

    def __exit__(self, *_: object) -> None:
        self._release()

    def _release(self) -> None:
        """Release the files; messages that cannot be written are not in the journal either."""
        with suppress(OSError):
            if self._writer is not None:
                self._writer.abort()
        with suppress(OSError):
            if self._journal is not None:
                self._journal.close()
        os.close(self._lock)


def check_target(path: Path, force: bool, in_favour: str = '') -> None:
    """Refuse to replace a path without --force, or a folder that is not a bag.

    Raises:
        BagError: The path exists; says what is allowed.
        OutputFileError: It is a link.
    """
    refuse_link(path)
    if not path.exists():
        return
    if not force:
        also = f' ({in_favour} writes {path} too)' if in_favour else ''
        raise BagError(f'{path} exists; --force replaces it{also}')
    if path.is_dir():
        names = [entry.name for entry in path.iterdir()]
        if not names or not all(_of_a_bag(name) for name in names):
            raise BagError(f'{path} is a folder with other files than a bag; it is not replaced')


def _of_a_bag(name: str) -> bool:
    return name == 'metadata.yaml' or Path(name).suffix in SUFFIXES


def put(new: Path, path: Path, force: bool) -> None:
    """Move a file or folder to its path after a sync; `force` replaces the old one."""
    check_target(path, force)
    for entry in (new, *new.rglob('*')):
        sync(entry)
    old = path.with_name(path.name + '.replaced')
    if path.is_dir():
        shutil.rmtree(old, ignore_errors=True)
        path.rename(old)
    new.replace(path)
    sync(path.parent)
    shutil.rmtree(old, ignore_errors=True)


def _read_journal(path: Path) -> list[dict[str, Any]]:
    """Read the lines up to the first damaged one, such as a truncated last line.

    Raises:
        BagError: The line with the settings is damaged.
    """
    lines: list[dict[str, Any]] = []
    text = path.read_text(encoding='utf-8', errors='replace')
    for line in text.splitlines():
        content = line[_CHECKSUM_LENGTH:]
        if line != _with_checksum(content):
            break
        lines.append(json.loads(content))
    if text and not lines:
        raise BagError(f'{path} is damaged and cannot be resumed; --force starts again')
    return lines


def _with_checksum(text: str) -> str:
    return f'{crc32(text.encode()):08x} {text}'


def _check_same(before: Mapping[str, Any], now: Mapping[str, Any], folder: Path) -> None:
    differing = [key for key in sorted({*before, *now}) if before.get(key) != now.get(key)]
    if differing:
        key = differing[0]
        raise BagError(
            f'{folder} was started with {key} {before.get(key)!r}, now it is {now.get(key)!r}; '
            'resume with the same, or start again with --force'
        )


def _connect(writer: Writer, topic: Topic) -> Connection:
    if topic.definition is None:
        raise BagError(f'{topic.name}: the definition of {topic.type_name} is not known')
    text, digest = topic.definition
    profiles: tuple[Qos, ...] = topic.qos
    return writer.add_connection(
        topic.name, topic.type_name, msgdef=text, rihs01=digest, offered_qos_profiles=profiles
    )


def _read_back(bag: Path, written: int, look: Callable[[Message], None] | None = None) -> None:
    """Read all messages; raise BagError if their number differs from those written."""
    there = 0
    with Recording(bag) as recording:
        for message in recording.messages():
            there += 1
            if look:
                look(message)
        if recording.damage or there != written:
            reasons = '; '.join(recording.damage)
            raise BagError(
                f'{bag}: {written} messages were written, {there} are readable. {reasons}'
            )


def _convert(bag: Path, target: Path) -> int:
    """Convert a bag to sqlite3; return the number of messages."""
    count = 0
    connections: dict[str, Connection] = {}
    with (
        Recording(bag) as recording,
        Writer(target, version=9, storage_plugin=StoragePlugin.SQLITE3) as writer,
    ):
        for message in recording.messages():
            topic = message.topic
            if topic.name not in connections:
                connections[topic.name] = _connect(writer, topic)
            writer.write(connections[topic.name], message.time_ns, message.data)
            count += 1
    return count
