# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""sqlite3 recordings of any version of the format, and what is odd in their rows."""

import sqlite3

import pytest
from bags import START_NS, texts, write

from clip_dinoiser_ros.bag.recording import BagError, Recording


def read(path):
    with Recording(path) as recording:
        times = [message.time_ns - START_NS for message in recording.messages()]
        return times, recording.damage, recording.notes


def changed(tmp_path, script):
    """Write a recording of three messages and change its database; return the file."""
    written = write(tmp_path / 'rec', texts(3, size=100), 'sqlite3') / 'rec.db3'
    path = written.rename(tmp_path / 'rec#1?.db3')  # as a URI it would mean something else
    connection = sqlite3.connect(path)
    connection.executescript(script)
    connection.close()
    return path


@pytest.mark.parametrize(
    'script',
    [
        '',
        "UPDATE message_definitions SET encoding = 'unknown'",
        'DROP TABLE message_definitions; ALTER TABLE topics DROP COLUMN type_description_hash',
        'DROP TABLE schema; DROP TABLE message_definitions;'
        'ALTER TABLE topics DROP COLUMN type_description_hash;'
        'ALTER TABLE topics DROP COLUMN offered_qos_profiles',
        "UPDATE topics SET type = 'std_msgs/String'",
        "UPDATE topics SET offered_qos_profiles = '- history: odd'",
        'DROP INDEX timestamp_idx',
    ],
)
def test_versions_of_the_format(tmp_path, script):
    path = changed(tmp_path, script)
    assert read(path) == ([0, 1, 2], [], [])
    with Recording(path) as recording:
        topic = recording.topics['/talk']
        assert (topic.type_name, topic.count) == ('std_msgs/msg/String', 3)
        assert topic.definition is not None
        assert 'string data' in topic.definition[0]


def test_topics_that_are_not_of_ros_2_are_named(tmp_path):
    path = changed(
        tmp_path,
        "INSERT INTO topics VALUES (2, '/a', 'Odd', 'cdr', '', '');"
        "INSERT INTO topics VALUES (3, '/b', 'std_msgs/msg/String', 'json', '', '');"
        f"INSERT INTO messages (topic_id, timestamp, data) VALUES (2, {START_NS}, x'00')",
    )
    times, damage, notes = read(path)
    assert (times, damage) == ([0, 1, 2], [])
    assert [note.split(' ')[0] for note in notes] == ['/a', '/b']


def test_rows_that_are_no_messages_are_named(tmp_path):
    path = changed(
        tmp_path,
        f"INSERT INTO messages (topic_id, timestamp, data) VALUES (1, {START_NS + 1}, 'text');"
        f"INSERT INTO messages (topic_id, timestamp, data) VALUES (7, {START_NS}, x'00')",
    )
    times, damage, _ = read(path)
    assert times == [0, 1, 2]
    assert len(damage) == 2
    assert '1 messages in rec#1?.db3 are not read: their topic is unknown' in damage
    assert any('is no message' in line for line in damage)


@pytest.fixture(scope='module')
def large(tmp_path_factory):
    return write(tmp_path_factory.mktemp('large') / 'rec', texts(30), 'sqlite3') / 'rec.db3'


@pytest.mark.parametrize('tenths', [2, 5, 8])
def test_a_cut_file_is_read_as_far_as_it_goes(tmp_path, large, tenths):
    path = tmp_path / 'cut.db3'
    content = large.read_bytes()
    path.write_bytes(content[: len(content) * tenths // 10])
    times, damage, _ = read(path)
    assert times == [*range(len(times))]
    assert len(times) >= 30 * tenths // 10 - 3
    assert damage


def test_a_damaged_page_costs_its_messages(tmp_path, large):
    """Not all pages show damage: that of a message's inside is read as it is."""
    path = tmp_path / 'broken.db3'
    content = large.read_bytes()
    for tenths in range(2, 10):
        broken = bytearray(content)
        start = len(content) * tenths // 10 // 4096 * 4096
        broken[start : start + 4096] = b'\xff' * 4096
        path.write_bytes(broken)
        times, damage, _ = read(path)
        assert times == sorted(times)
        assert len(times) >= 20
        assert damage or len(times) == 30


def test_another_database_is_refused(tmp_path):
    path = tmp_path / 'other.db3'
    connection = sqlite3.connect(path)
    connection.execute('CREATE TABLE things (id)')
    connection.close()
    with (
        pytest.raises(BagError, match='not an sqlite3 recording, or damaged'),
        Recording(path),
    ):
        pass
