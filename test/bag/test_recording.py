# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Bags are read whole, and damaged ones as far as they are whole."""

import pytest
from bags import START_NS, text_message, texts, write, write_mcap

from clip_dinoiser_ros.bag.recording import BagError, Recording


def read_times(path, **kwargs):
    with Recording(path) as recording:
        times = [message.time_ns - START_NS for message in recording.messages(**kwargs)]
        return times, recording.damage


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_whole_bag_and_parts_of_it(tmp_path, storage):
    path = write(tmp_path / 'bag', texts(30), storage)
    assert read_times(path) == ([*range(30)], [])
    part = read_times(path, start_ns=START_NS + 3, end_ns=START_NS + 7)
    assert part == ([3, 4, 5, 6], [])
    with Recording(path) as recording:
        assert recording.storage == storage
        assert recording.topics['/talk'].count == 30
        assert (recording.start_ns, recording.end_ns) == (START_NS, START_NS + 30)


def test_cut_file_is_read_up_to_the_cut(tmp_path):
    file = write(tmp_path / 'bag', texts(60)) / 'bag.mcap'
    content = file.read_bytes()
    for cut in (len(content) // 2, len(content) - 1, len(content) * 9 // 10):
        file.write_bytes(content[:cut])
        times, damage = read_times(tmp_path / 'bag')
        assert times == [*range(len(times))]
        assert len(times) >= cut // 100_200 - 11  # no more than the chunk that was cut is lost
        assert bool(damage) == (len(times) < 60)  # a lost index alone costs nothing
        assert any('bag.mcap is cut off' in line for line in damage) == bool(damage)


def test_cut_file_with_one_message_in_each_chunk(tmp_path):
    file = write(tmp_path / 'bag', texts(5, size=1_200_000)) / 'bag.mcap'
    file.write_bytes(file.read_bytes()[:-500_000])
    with Recording(tmp_path / 'bag') as recording:
        assert len(list(recording.messages())) == recording.topics['/talk'].count == 4
        assert recording.end_ns == START_NS + 4


def test_folder_of_a_killed_recorder_has_no_metadata(tmp_path):
    path = write(tmp_path / 'bag', texts(30))
    (path / 'metadata.yaml').unlink()
    file = path / 'bag.mcap'
    file.write_bytes(file.read_bytes()[:-500_000])
    times, damage = read_times(path)
    assert 11 <= len(times) < 30
    assert len(damage) == 1


def test_metadata_leads_to_no_file_outside_of_the_folder(tmp_path):
    path, secret = write(tmp_path / 'bag', texts(3)), write(tmp_path / 'secret', texts(5))
    metadata = path / 'metadata.yaml'
    whole = metadata.read_text()
    for outside in ('../secret/secret.mcap', str(secret / 'secret.mcap')):
        assert (path / outside).exists()
        metadata.write_text(whole.replace('bag.mcap', outside))
        with pytest.raises(FileNotFoundError, match=r'/bag/secret\.mcap'), Recording(path):
            pass


def test_damaged_chunk_costs_its_messages_only(tmp_path):
    file = write(tmp_path / 'bag', texts(60)) / 'bag.mcap'
    content = bytearray(file.read_bytes())
    place = content.index(b'30 ') - 8 - 22 - 9  # behind the CDR's start and the record's
    content[place + 1 : place + 9] = b'\xff' * 8
    file.write_bytes(content)
    times, damage = read_times(tmp_path / 'bag')
    missing = set(range(60)) - set(times)
    assert times == sorted(times)
    assert 0 < len(missing) <= 11
    assert max(times) == 59
    assert len(damage) == 1
    assert damage[0].startswith('chunk at byte')


def test_topic_that_only_the_data_knows(tmp_path):
    """Found by `make fuzz`: the name of a topic damaged in the index, and a chunk damaged."""
    file = write(tmp_path / 'bag', texts(60)) / 'bag.mcap'
    content = file.read_bytes()
    end = content.rindex(b'/talk')
    broken = bytearray(content[:end] + b'/walk' + content[end + 5 :])
    place = content.index(b'30 ') - 8 - 22 - 9
    broken[place + 1 : place + 9] = b'\xff' * 8
    file.write_bytes(broken)
    times, damage = read_times(file)
    assert times == sorted(times)
    assert any('/talk is not in the index' in line for line in damage)


def test_a_time_that_no_clock_shows(tmp_path):
    messages = texts(3, size=100)
    messages.append(('/talk', 2**62, text_message('long after')))
    times, damage = read_times(write(tmp_path / 'bag', messages))
    assert times == [0, 1, 2]
    assert damage == [f'/talk at {2**62} ns: no such time']


QOS = """\
- history: {}
  depth: 1
  reliability: reliable
  durability: transient_local
  deadline: {{sec: 9223372036, nsec: 854775807}}
  lifespan: {{sec: 9223372036, nsec: 854775807}}
  liveliness: {}
  liveliness_lease_duration: {{sec: 9223372036, nsec: 854775807}}
  avoid_ros_namespace_conventions: false"""


@pytest.mark.parametrize(
    ('qos', 'latched'),
    [
        (QOS.format('keep_last', 'automatic'), True),
        (QOS.format('unknown', 'automatic'), True),
        (QOS.format('3', '0'), True),
        (QOS.format('keep_last', 'automatic').replace('transient_local', 'volatile'), False),
        (' history: keep_all\\n  depth: 5', False),
        ('', False),
    ],
)
def test_qos_as_recorders_and_converters_leave_it(tmp_path, qos, latched):
    path = write_mcap(tmp_path / 'a.mcap', texts(2, size=100), qos=qos)
    with Recording(path) as recording:
        assert recording.topics['/talk'].latched == latched
        assert len(list(recording.messages())) == 2
        assert recording.damage == []


def test_static_transforms_without_qos_are_latched(tmp_path):
    messages = [(topic, START_NS, text_message('a')) for topic in ('/tf_static', '/r1/tf_static')]
    with Recording(write_mcap(tmp_path / 'a.mcap', messages)) as recording:
        assert all(topic.latched for topic in recording.topics.values())


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_messages_of_a_recorder_that_waited_for_a_clock(tmp_path, storage):
    early = [('/talk', 0, text_message('before the clock'))] * 2
    path = write(tmp_path / 'bag', early + texts(3, size=100), storage)
    times, damage = read_times(path)
    assert times == [-START_NS, -START_NS, 0, 1, 2]
    assert damage == []
    with Recording(path) as recording:
        assert (recording.start_ns, recording.end_ns) == (START_NS, START_NS + 3)


def test_a_simulation_begins_at_0(tmp_path):
    messages = [('/talk', i * 10**9, text_message('a')) for i in range(3)]
    with Recording(write(tmp_path / 'bag', messages)) as recording:
        assert (recording.start_ns, recording.end_ns) == (0, 2 * 10**9 + 1)
    with Recording(write(tmp_path / 'all', [('/talk', 0, text_message('a'))])) as recording:
        assert (recording.start_ns, recording.end_ns) == (0, 1)


def test_files_of_a_folder_that_cannot_be_read(tmp_path):
    path = write(tmp_path / 'bag', texts(30))
    (path / 'bag.mcap').rename(path / 'bag_0.mcap')
    (path / 'bag_1.mcap').write_bytes(b'')
    metadata = path / 'metadata.yaml'
    listed = '- bag_0.mcap\n  - bag_1.mcap\n  - bag_2.mcap\n'
    metadata.write_text(metadata.read_text().replace('- bag.mcap\n', listed, 1))
    times, damage = read_times(path)
    assert times == [*range(30)]
    assert [line.split(' ')[0] for line in damage] == [f'{path}/bag_1.mcap', 'File']
    assert 'bag_2.mcap' in damage[1]


def test_paths_that_are_not_bags_are_named(tmp_path):
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'a.mcap').write_bytes(b'hello')
    (tmp_path / 'a.txt').write_bytes(b'hello')
    for name, reason in {
        'empty': 'neither metadata.yaml nor',
        'a.mcap': 'not an mcap file',
        'a.txt': 'give a folder, .mcap or .db3',
    }.items():
        with pytest.raises(BagError, match=reason), Recording(tmp_path / name):
            pass
    with pytest.raises(FileNotFoundError, match='does not exist'), Recording(tmp_path / 'none'):
        pass
