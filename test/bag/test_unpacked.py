# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Recordings that are packed, and sqlite's logs: everything in them is read, or named."""

import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest
import zstandard
from bags import START_NS, image_message, text_message, texts, write, write_mcap

from clip_dinoiser_ros.bag.recording import BagError, Recording


def read(path):
    with Recording(path) as recording:
        times = [message.time_ns - START_NS for message in recording.messages()]
        return times, recording.damage


def pack(path: Path, keep: bool = False) -> Path:
    """Pack a file as a recorder does, in its place."""
    packed = path.with_name(f'{path.name}.zstd')
    packed.write_bytes(zstandard.compress(path.read_bytes()))
    if not keep:
        path.unlink()
    return packed


@pytest.fixture
def splits(tmp_path):
    """A recording of three packed files of ten messages, and what metadata.yaml says of it."""
    folder = write(tmp_path / 'rec', texts(30, size=20_000))
    (folder / 'rec.mcap').unlink()
    messages = texts(30, size=20_000)
    for part in range(3):
        path = write_mcap(folder / f'rec_{part}.mcap', messages[10 * part : 10 * part + 10])
        pack(path)
    metadata = folder / 'metadata.yaml'
    listed = ''.join(f'  - rec_{part}.mcap.zstd\n' for part in range(3))
    text = metadata.read_text().replace('  - rec.mcap\n', listed, 1)
    text = text.replace("compression_format: ''", 'compression_format: zstd')
    metadata.write_text(text.replace("compression_mode: ''", 'compression_mode: FILE'))
    assert 'FILE' in metadata.read_text()
    assert 'rec_2' in metadata.read_text()
    return folder


@pytest.mark.parametrize('metadata', [True, False])
def test_packed_files_are_read(splits, metadata):
    if not metadata:
        (splits / 'metadata.yaml').unlink()
    assert read(splits) == ([*range(30)], [])
    assert read(splits / 'rec_1.mcap.zstd') == ([*range(10, 20)], [])


@pytest.mark.parametrize('metadata', [True, False])
@pytest.mark.parametrize('keep', [True, False])
def test_files_that_someone_has_unpacked_since(splits, metadata, keep):
    if not metadata:
        (splits / 'metadata.yaml').unlink()
    for part in (0, 2):
        packed = splits / f'rec_{part}.mcap.zstd'
        packed.with_suffix('').write_bytes(zstandard.decompress(packed.read_bytes()))
        if not keep:
            packed.unlink()
    assert read(splits) == ([*range(30)], [])


@pytest.mark.parametrize('suffix', ['.mcap', '.db3'])
def test_one_packed_file(tmp_path, suffix):
    folder = write(tmp_path / 'a', texts(5), 'mcap' if suffix == '.mcap' else 'sqlite3')
    packed = pack(folder / f'a{suffix}')
    with Recording(packed) as recording:
        assert recording.storage == ('mcap' if suffix == '.mcap' else 'sqlite3')
    assert read(packed) == ([*range(5)], [])
    halves = packed.read_bytes()
    content = zstandard.decompress(halves)
    several = b''.join(
        zstandard.compress(content[at : at + 99_999]) for at in range(0, len(content), 99_999)
    )
    packed.write_bytes(several)  # as pzstd and appending recorders write it
    assert read(packed) == ([*range(5)], [])


def test_a_packed_file_that_is_cut_is_read_to_the_cut_and_named(splits, run_quickly, capsys):
    last = splits / 'rec_2.mcap.zstd'
    last.write_bytes(last.read_bytes()[:-5000])
    times, damage = read(splits)
    assert times == [*range(20)]
    assert any('rec_2.mcap.zstd: compressed data is cut off' in line for line in damage)
    assert any('10 of 30 messages listed in metadata.yaml' in line for line in damage)
    last.unlink()
    times, damage = read(splits)
    assert times == [*range(20)]
    assert 'rec_2.mcap.zstd' in damage[0]


def test_a_packed_file_with_damage_in_it_is_named(splits):
    second = splits / 'rec_1.mcap.zstd'
    content = bytearray(second.read_bytes())
    content[len(content) // 2] ^= 255
    second.write_bytes(content)
    times, damage = read(splits)
    assert times == [*range(10), *range(20, 30)]
    assert any('rec_1.mcap.zstd' in line for line in damage)


def test_messages_that_were_packed_one_by_one(tmp_path):
    """As the recorder's mode MESSAGE does; metadata.yaml would say so, and may be lost."""
    messages = [
        (topic, time_ns, (name, zstandard.compress(data)))
        for topic, time_ns, (name, data) in texts(5)
    ]
    for storage in ('mcap', 'sqlite3'):
        folder = write(tmp_path / storage, messages, storage)
        with Recording(folder) as recording:
            assert [m.data for m in recording.messages()] == [m[2][1] for m in texts(5)]
            assert recording.damage == []
    topic, time_ns, (name, data) = messages[2]
    messages[2] = topic, time_ns, (name, data[:-100])
    times, damage = read(write(tmp_path / 'cut', messages))
    assert times == [0, 1, 3, 4]
    assert damage == [f'/talk at {time_ns} ns: compressed data is cut off']


def database(folder: Path, journal: str) -> tuple[Path, sqlite3.Connection]:
    """Write two messages as a recorder in that mode of sqlite; it is still at it."""
    write(folder, texts(2), 'sqlite3')
    (folder / 'metadata.yaml').unlink()
    path = folder / f'{folder.name}.db3'
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(f'PRAGMA journal_mode={journal}')
    connection.execute('PRAGMA wal_autocheckpoint=0')
    connection.execute('PRAGMA cache_size=1')
    return path, connection


def add(connection, numbers):
    connection.execute('BEGIN')
    for number in numbers:
        data = text_message('x' * 50_000)[1]
        connection.execute(
            'INSERT INTO messages (topic_id, timestamp, data) VALUES (1, ?, ?)',
            (START_NS + number, data),
        )


@pytest.fixture
def killed(tmp_path):
    """Copy what a killed recorder leaves: three messages in its log, then some uncommitted."""

    def killed(journal, uncommitted):
        path, connection = database(tmp_path / 'rec', journal)
        add(connection, range(2, 5))
        connection.execute('COMMIT')
        if uncommitted:
            add(connection, range(5, 9))
        left = shutil.copytree(path.parent, tmp_path / 'left')
        connection.close()
        return left

    return killed


@pytest.mark.parametrize('uncommitted', [False, True])
@pytest.mark.parametrize('journal', ['WAL', 'DELETE'])
def test_messages_in_the_log_of_a_killed_recorder_are_read(killed, journal, uncommitted):
    folder = killed(journal, uncommitted)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert (len(before) > 1) == (journal == 'WAL' or uncommitted)
    times, damage = read(folder)
    assert times == [*range(5)]
    # what was begun and never committed stands in the write-ahead log
    assert bool(damage) == (journal == 'WAL' and uncommitted)
    assert read(folder / 'rec.db3') == (times, damage)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_damage_in_the_log_is_named(killed):
    folder = killed('WAL', False)
    log = folder / 'rec.db3-wal'
    content = bytearray(log.read_bytes())
    content[len(content) // 2] ^= 1
    log.write_bytes(content)
    times, damage = read(folder)
    assert times == [0, 1]
    assert len(damage) == 1
    assert 'pages of rec.db3-wal are damaged or were never committed' in damage[0]


def test_no_room_for_the_log_is_named(killed, monkeypatch):
    folder = killed('WAL', False)

    def full(*_):
        raise OSError(28, 'No space left on device')  # a stand-in: no small disk to be had here

    monkeypatch.setattr(shutil, 'copyfile', full)
    times, damage = read(folder)
    assert times == [0, 1]
    assert damage == [
        'rec.db3-wal cannot be read along with rec.db3: [Errno 28] No space left on device '
        '(TMPDIR names a folder with more room)'
    ]


def test_a_log_without_its_file_is_named(killed):
    folder = killed('WAL', False)
    (folder / 'rec.db3').rename(folder / 'other.db3')
    times, damage = read(folder)
    assert times == [0, 1]
    assert damage == [f'rec.db3-wal in {folder} is not read']
    (folder / 'other.db3').unlink()
    with pytest.raises(BagError, match='is not a bag'), Recording(folder):
        pass


def test_the_command_reads_a_log(tmp_path, run_quickly):
    image = image_message(np.zeros((32, 48, 3), np.uint8), START_NS)
    folder = write(tmp_path / 'rec', [('/camera/image_raw', START_NS, image)], 'sqlite3')
    (folder / 'metadata.yaml').unlink()
    connection = sqlite3.connect(folder / 'rec.db3')
    connection.execute('PRAGMA journal_mode=WAL')
    connection.execute(
        'INSERT INTO messages (topic_id, timestamp, data) '
        'SELECT topic_id, timestamp + 1, data FROM messages'
    )
    connection.commit()
    left = shutil.copytree(folder, tmp_path / 'left')
    connection.close()
    assert run_quickly('bag', left, tmp_path / 'out.mcap') == 0
    assert len([t for t in read(tmp_path / 'out.mcap')[0] if t == 1]) >= 1
