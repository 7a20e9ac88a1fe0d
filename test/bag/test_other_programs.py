# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""What other programs write is read, and what is written here is read by them."""

import bags
import numpy as np
import pytest
from bags import SECOND, START_NS
from mcap.reader import make_reader
from mcap.writer import Writer as McapWriter
from rosbags.interfaces import QosDurability, QosReliability
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from clip_dinoiser_ros.bag.recording import Recording
from clip_dinoiser_ros.bag.types import IMAGE, typestore

TOPIC = '/camera/image_raw'
RELIABLE_OLD = (
    '- history: 3\n  depth: 0\n  reliability: 1\n  durability: 1\n'
    '  deadline:\n    sec: 2147483647\n    nsec: 4294967295\n'
    '  lifespan:\n    sec: 2147483647\n    nsec: 4294967295\n'
    '  liveliness: 1\n  liveliness_lease_duration:\n    sec: 2147483647\n    nsec: 4294967295\n'
    '  avoid_ros_namespace_conventions: false'
)
NAMES = (
    '- history: keep_last\n  depth: 10\n  reliability: best_effort\n  durability: transient_local\n'
    '  deadline:\n    sec: 0\n    nsec: 0\n  lifespan:\n    sec: 0\n    nsec: 0\n'
    '  liveliness: automatic\n  liveliness_lease_duration:\n    sec: 0\n    nsec: 0\n'
    '  avoid_ros_namespace_conventions: false'
)


def image_lines(count):
    images = (np.full((32, 32, 3), 40 * i, np.uint8) for i in range(count))
    return [
        (TOPIC, START_NS + i * SECOND, bags.image_message(image, START_NS + i * SECOND))
        for i, image in enumerate(images)
    ]


def write_with_qos(path, text):
    """An mcap whose channel has the profiles that some writer wrote."""
    definition, _ = typestore().generate_msgdef(IMAGE, ros_version=2)
    with path.open('wb') as file:
        writer = McapWriter(file)
        writer.start('ros2')
        schema = writer.register_schema(IMAGE, 'ros2msg', definition.encode())
        metadata = {} if text is None else {'offered_qos_profiles': text}
        channel = writer.register_channel(TOPIC, 'cdr', schema, metadata)
        for _, time_ns, (_, data) in image_lines(3):
            writer.add_message(channel, time_ns, data, time_ns)
        writer.finish()
    return path


@pytest.mark.parametrize(
    ('text', 'offered'),
    [
        (RELIABLE_OLD, [(QosReliability.RELIABLE, QosDurability.TRANSIENT_LOCAL)]),
        (NAMES, [(QosReliability.BEST_EFFORT, QosDurability.TRANSIENT_LOCAL)]),
        *(
            (text, [])
            for text in (None, '', '[]', 'best_effort', '- history: odd', '{', '\0', '- 7')
        ),
    ],
)
def test_profiles_as_they_are_stored(run_quickly, tmp_path, text, offered):
    path = write_with_qos(tmp_path / 'in.mcap', text)
    with Recording(path) as recording:
        qos = recording.topics[TOPIC].qos
        assert [(one.reliability, one.durability) for one in qos] == offered
        assert len(list(recording.messages())) == 3
        assert recording.damage == []
    assert run_quickly('bag', path, tmp_path / 'out', '--copy', TOPIC) == 0
    assert sum(topic == TOPIC for topic, _, _ in bags.read(tmp_path / 'out')) == 3


@pytest.mark.parametrize('text', ["''", '[]', 'null', "'- history: odd'", '[{history: odd}]', '7'])
@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_profiles_in_metadata(tmp_path, storage, text):
    path = bags.write(tmp_path / 'in', image_lines(3), storage)
    metadata = path / 'metadata.yaml'
    lines = metadata.read_text().splitlines()
    (place,) = [i for i, line in enumerate(lines) if 'offered_qos_profiles' in line]
    lines[place] = f'{lines[place].split(":")[0]}: {text}'
    metadata.write_text('\n'.join(lines) + '\n')
    with Recording(path) as recording:
        assert len(list(recording.messages())) == 3
        assert recording.damage == []


def test_messages_of_a_big_endian_computer(run_quickly, tmp_path):
    """Labels are those of the same messages in the other order of bytes."""
    little, big = image_lines(3), []
    for topic, time_ns, (type_name, data) in little:
        message = typestore().deserialize_cdr(data, type_name)
        turned = bytes(typestore().serialize_cdr(message, type_name, little_endian=False))
        assert (data[:2], turned[:2]) == (b'\0\1', b'\0\0')
        big.append((topic, time_ns, (type_name, turned)))
    found = []
    for name, lines in (('little', little), ('big', big)):
        path = bags.write(tmp_path / name, lines)
        assert run_quickly('bag', path, tmp_path / f'{name}_out') == 0
        found.append(
            [
                (message.header.stamp.sec, message.data.tolist())
                for topic, _, message in bags.read(tmp_path / f'{name}_out')
                if topic.endswith('/labels')
            ]
        )
    assert len(found[0]) == 3
    assert found[0] == found[1]


@pytest.fixture
def made(run, tmp_path):
    """A file of ours with everything that a recording without depth can have."""
    path = bags.write(tmp_path / 'in', image_lines(2))
    outputs = ['overlay', 'overlay/compressed', 'classes', 'class_confidences']
    assert run('bag', path, tmp_path / 'out.mcap', '--outputs', *outputs) == 0
    return tmp_path / 'out.mcap'


def test_the_definitions_in_a_file_are_enough_to_read_it(made, golden_prompts):
    """As readers do that know no types of their own: Foxglove, rerun, mcap-ros2-support."""
    count = 0
    with made.open('rb') as file:
        for schema, channel, message in make_reader(file).iter_messages():
            assert (schema.encoding, channel.message_encoding) == ('ros2msg', 'cdr')
            store = get_typestore(Stores.EMPTY)
            store.register(get_types_from_msg(schema.data.decode(), schema.name))
            read = store.deserialize_cdr(message.data, schema.name)
            known = typestore().deserialize_cdr(message.data, schema.name)
            assert repr(read) == repr(known)
            count += 1
    assert count == 2 + 2 * (6 + 2 * len(golden_prompts))


def test_mcap_ros2_support_reads_it(made):
    reader = pytest.importorskip('mcap_ros2.reader', reason='mcap-ros2-support is not installed')
    topics = {m.channel.topic for m in reader.read_ros2_messages(str(made))}
    assert topics == {topic for topic, _, _ in bags.read(made)}
