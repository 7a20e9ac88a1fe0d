# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The messages of the intact part of a sqlite3 file, in order of time."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import apsw

from clip_dinoiser_ros.bag.stored import StoredTopic, add_once, offered_qos, unreadable
from clip_dinoiser_ros.bag.types import ros_type


class SqliteFile:
    """A sqlite3 file; see `StorageFile`.

    It is opened as immutable, so that no file is written beside it. A log of its recorder (-wal,
    -journal) must be merged before; see `unpacked`. apsw reads the messages, because its sqlite
    does not copy large ones through the page cache. sqlite3 reads the small tables and damaged
    files, because it can replace damaged text.

    Args:
        path: The file.
        shown: Path that the user gave.

    Raises:
        ValueError: It is not a recording, or its list of topics is damaged.
    """

    def __init__(self, path: Path, shown: Path) -> None:
        self.shown = shown
        self.damage: list[str] = []
        self.notes: list[str] = []
        self.cut = ''
        uri = f'{path.absolute().as_uri()}?immutable=1'
        self._database = sqlite3.connect(uri, uri=True, check_same_thread=False)
        self._database.text_factory = lambda text: text.decode(errors='replace')
        try:
            self._reader = apsw.Connection(uri, apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)
            for connection in (self._database, self._reader):
                # otherwise sqlite refuses a file that is shorter than its header says
                connection.execute('PRAGMA writable_schema = ON')
            for table in ('topics', 'messages'):
                self._database.execute(f'SELECT 1 FROM {table} LIMIT 0')  # noqa: S608
            counts = self._count()
            self.topics = list(self._topics({key: row[0] for key, row in counts.items()}))
        except (sqlite3.Error, apsw.Error, LookupError, TypeError) as error:
            self._database.close()
            raise ValueError(f'not an sqlite3 recording, or damaged: {error}') from error
        except BaseException:
            self._database.close()
            raise
        self.count = sum(count for count, _, _ in counts.values())
        self.start_ns = min((first for _, first, _ in counts.values()), default=0)
        self.end_ns = max((last + 1 for _, _, last in counts.values()), default=0)

    def _count(self) -> dict[int, tuple[int, int, int]]:
        """Return count, first and last time of the messages of each topic, by its key."""
        try:
            rows = self._database.execute(
                'SELECT topic_id, count(*), min(timestamp), max(timestamp) FROM messages '
                "WHERE typeof(timestamp) = 'integer' GROUP BY topic_id"
            )
            return {key: (count, first, last) for key, count, first, last in rows}
        except sqlite3.DatabaseError:  # damaged: use the rows that can be read
            counts: dict[int, tuple[int, int, int]] = {}
            for time_ns, _, key in self._reachable('1', ()):
                count, first, last = counts.get(key, (0, time_ns, time_ns))
                counts[key] = count + 1, min(first, time_ns), max(last, time_ns)
            return counts

    def _reachable(self, where: str, values: Sequence[int]) -> list[tuple[int, int, int]]:
        """Return time, row and topic of the messages up to the first damaged page, by time."""
        found = []
        query = f'SELECT timestamp, rowid, topic_id FROM messages WHERE {where}'  # noqa: S608
        try:
            for time_ns, row, key in self._database.execute(query, values):
                if isinstance(time_ns, int):
                    found.append((time_ns, row, key))
        except sqlite3.Error as error:
            add_once(
                self.damage,
                f'{self.shown}: {error}; {len(found)} rows of messages could be reached',
            )
        return sorted(found)

    def _topics(self, counts: dict[int, int]) -> Iterator[StoredTopic]:
        definitions = self._definitions()
        described = self._rows('topics')
        for key in counts.keys() - {row['id'] for row in described}:
            self.damage.append(
                f'{counts[key]} messages in {self.shown.name} are not read: their topic is unknown'
            )
        for row in described:
            key, name, stored = row['id'], str(row['name']), str(row['type'])
            why = unreadable(name, str(row['serialization_format']), stored)
            type_name = ros_type(stored)
            if why or type_name is None:
                self.notes.append(why)
                continue
            text, kind, digest = definitions.get(stored, ('', '', ''))
            yield StoredTopic(
                key=key,
                name=name,
                type_name=type_name,
                definition=text,
                definition_format=kind,
                digest=str(row.get('type_description_hash') or digest),
                qos=offered_qos(row.get('offered_qos_profiles', '')),
                count=counts.get(key, 0),
            )

    def _definitions(self) -> dict[str, tuple[str, str, str]]:
        """Return text, format and hash of the definitions, by type; older files have none."""
        return {
            str(row['topic_type']): (
                str(row['encoded_message_definition']),
                str(row['encoding']),
                str(row.get('type_description_hash') or ''),
            )
            for row in self._rows('message_definitions')
        }

    def _rows(self, table: str) -> list[dict[str, Any]]:
        """Return a small table, with the columns that this version of the format has."""
        columns = [row[1] for row in self._database.execute(f'PRAGMA table_info({table})')]
        rows = self._database.execute(f'SELECT * FROM {table}') if columns else ()  # noqa: S608
        return [dict(zip(columns, row, strict=True)) for row in rows]

    def messages(
        self, keys: Collection[int], start_ns: int | None, end_ns: int | None
    ) -> Iterator[tuple[int, int, bytes]]:
        """Yield key, time and content of messages; see `StorageFile`."""
        conditions = [f'topic_id IN ({",".join("?" * len(keys))})']
        values = [*keys]
        for condition, bound in (('timestamp >= ?', start_ns), ('timestamp < ?', end_ns)):
            if bound is not None:
                conditions.append(condition)
                values.append(bound)
        where = ' AND '.join(conditions)
        query = (
            f'SELECT topic_id, timestamp, data FROM messages WHERE {where} '  # noqa: S608
            'ORDER BY timestamp, rowid'
        )
        done = 0
        try:
            for key, time_ns, data in self._reader.execute(query, values):
                done += 1
                if isinstance(time_ns, int) and isinstance(data, bytes):
                    yield key, time_ns, data
                else:
                    add_once(self.damage, f'a row of {self.shown} is no message: time {time_ns!r}')
        except (apsw.Error, UnicodeDecodeError, OverflowError) as error:
            add_once(self.damage, f'{self.shown} is damaged: {error}')
            yield from self._row_by_row(self._reachable(where, values)[done:])

    def _row_by_row(self, rows: list[tuple[int, int, int]]) -> Iterator[tuple[int, int, bytes]]:
        """Yield the readable messages of a damaged file, by time, row and topic."""
        lost = 0
        for time_ns, row, key in rows:
            try:
                query = 'SELECT data FROM messages WHERE rowid = ?'
                (data,) = self._database.execute(query, (row,)).fetchone() or (None,)
            except sqlite3.Error:
                data = None
            if isinstance(data, bytes):
                yield key, time_ns, data
            else:
                lost += 1
        if lost:
            add_once(self.damage, f'{self.shown}: {lost} messages are damaged')

    def close(self) -> None:
        """Close the file."""
        self._database.close()
        self._reader.close(True)  # also in the middle of a query
