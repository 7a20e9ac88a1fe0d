# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Whatever a writer of mcap leaves out or puts in, the messages of ROS 2 are read."""

import random
import re
import struct

import lz4.block
import lz4.frame
import numpy as np
import pytest
import zstandard
from bags import START_NS, image_message, text_message, texts, write_mcap
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from mcap.opcode import Opcode
from mcap.writer import CompressionType, IndexType

from clip_dinoiser_ros.bag.mcap_parts import MAGIC, RECORD
from clip_dinoiser_ros.bag.recording import BagError, Recording
from clip_dinoiser_ros.bag.unpacked import ZSTD

OPTIONS = {
    'as the library does': {},
    'no chunks': {'use_chunking': False},
    'no chunks, no summary': {
        'use_chunking': False,
        'use_statistics': False,
        'repeat_channels': False,
        'repeat_schemas': False,
    },
    'no index of messages': {'index_types': IndexType.ALL & ~IndexType.MESSAGE},
    'no index': {'index_types': IndexType.NONE},
    'no statistics': {'use_statistics': False},
    'channels in the data only': {'repeat_channels': False, 'repeat_schemas': False},
    'no checksums': {'enable_crcs': False},
    'lz4': {'compression': CompressionType.LZ4},
    'nothing packed': {'compression': CompressionType.NONE, 'chunk_size': 1000},
    'no profile': {'profile': ''},
    'another profile': {'profile': 'robot'},
}


def read(path, **kwargs):
    with Recording(path) as recording:
        times = [message.time_ns - START_NS for message in recording.messages(**kwargs)]
        return times, recording.damage, recording.notes


@pytest.mark.parametrize('options', OPTIONS.values(), ids=OPTIONS)
def test_mcap_without_optional_records(tmp_path, options):
    path = write_mcap(tmp_path / 'a.mcap', texts(30), **options)
    assert read(path) == ([*range(30)], [], [])
    assert read(path, start_ns=START_NS + 3, end_ns=START_NS + 7)[0] == [3, 4, 5, 6]
    with Recording(path) as recording:
        assert recording.topics['/talk'].count == 30
        assert (recording.start_ns, recording.end_ns) == (START_NS, START_NS + 30)


@pytest.mark.parametrize('options', OPTIONS.values(), ids=OPTIONS)
def test_messages_come_in_the_order_of_their_times(tmp_path, options):
    messages = texts(60, size=40_000)
    random.Random(1).shuffle(messages)
    options = {'chunk_size': 200_000, **options}
    times, damage, _ = read(write_mcap(tmp_path / 'a.mcap', messages, **options))
    assert times == [*range(60)]
    assert damage == []


@pytest.mark.parametrize(
    ('schema', 'name', 'encoding', 'said'),
    [
        ('jsonschema', 'foxglove.Log', 'json', 'are json'),
        ('protobuf', 'foxglove.CompressedImage', 'protobuf', 'are protobuf'),
        ('flatbuffer', 'foxglove.CompressedImage', 'flatbuffer', 'are flatbuffer'),
        ('ros1msg', 'sensor_msgs/Image', 'ros1', 'are ros1'),
        ('', '', 'cbor', 'are cbor'),
        ('', '', '', 'have no encoding by name'),
        ('odd', 'Odd', 'odd', 'are odd'),
        ('ros2msg', 'Odd', 'cdr', "'Odd' is no message type of ROS 2"),
        ('', '', 'cdr', "'' is no message type of ROS 2"),
    ],
)
def test_channels_of_other_encodings_are_skipped_and_named(tmp_path, schema, name, encoding, said):
    foreign = [('/other', schema, name, encoding, b'{"a": 1}')]
    path = write_mcap(tmp_path / 'a.mcap', texts(5, size=100), foreign)
    times, damage, notes = read(path)
    assert (times, damage) == ([*range(5)], [])
    assert len(notes) == 1
    assert notes[0].startswith('/other is left out: ')
    assert said in notes[0]


@pytest.mark.parametrize(
    'name', ['std_msgs/String', 'std_msgs/msg/String', 'std_msgs::msg::dds_::String_']
)
@pytest.mark.parametrize('kind', ['ros2msg', 'ros2idl', '', 'odd'])
def test_names_of_types_as_other_writers_store_them(tmp_path, name, kind):
    messages = [('/talk', START_NS, (name, text_message('hello')[1]))]
    with Recording(write_mcap(tmp_path / 'a.mcap', messages, kind=kind)) as recording:
        assert recording.topics['/talk'].type_name == 'std_msgs/msg/String'
        assert (recording.topics['/talk'].definition is None) == (kind == 'ros2idl')
        assert len(list(recording.messages())) == 1


def test_compression_that_nobody_knows_is_named(tmp_path):
    path = write_mcap(tmp_path / 'a.mcap', texts(5, size=100), enable_crcs=False)
    path.write_bytes(path.read_bytes().replace(b'zstd', b'zzzz'))
    with Recording(path) as recording:
        assert list(recording.messages()) == []
        assert "unknown compression 'zzzz'; allowed: lz4, zstd, none" in recording.damage[0]


def test_zstd_that_does_not_say_its_length(tmp_path, monkeypatch):
    """As streaming writers pack chunks, those in Go for example."""

    def pack(data):
        packer = zstandard.ZstdCompressor().compressobj()
        return packer.compress(data) + packer.flush()

    monkeypatch.setattr(zstandard, 'compress', pack)
    path = write_mcap(tmp_path / 'a.mcap', texts(5, size=1000))
    chunk = path.read_bytes()
    packed = chunk[chunk.index(ZSTD) :]
    assert zstandard.frame_content_size(packed) == -1
    assert read(path) == ([*range(5)], [], [])


def test_lz4_without_its_frame_is_named(tmp_path, monkeypatch):
    """Some writers take the name of the compression for that of blocks."""
    monkeypatch.setattr(lz4.frame, 'compress', lambda data: lz4.block.compress(data))
    path = write_mcap(tmp_path / 'a.mcap', texts(5, size=1000), compression=CompressionType.LZ4)
    times, damage, _ = read(path)
    assert times == []
    assert re.match('chunk at byte [0-9]+: .*LZ4', damage[0])


def records(content):
    """The opcode and place of every record."""
    place = len(MAGIC)
    while place + RECORD.size <= len(content) - len(MAGIC):
        opcode, length = RECORD.unpack_from(content, place)
        yield opcode, place
        place += RECORD.size + length


def test_cut_in_the_index_of_chunks(tmp_path):
    path = write_mcap(tmp_path / 'a.mcap', texts(30), chunk_size=1)
    content = path.read_bytes()
    index = [place for opcode, place in records(content) if opcode == Opcode.CHUNK_INDEX]
    path.write_bytes(content[: index[1] + 53])
    assert read(path) == ([*range(30)], [], [])


def test_lengths_that_claim_terabytes(tmp_path):
    path = write_mcap(tmp_path / 'a.mcap', texts(30), chunk_size=1)
    content = path.read_bytes()
    chunks = [place for opcode, place in records(content) if opcode == Opcode.CHUNK]
    path.write_bytes(content[: chunks[-1]] + RECORD.pack(Opcode.CHUNK, 2**40) + bytes(100))
    times, damage, _ = read(path)
    assert times == [*range(len(chunks) - 1)]
    assert 'a.mcap is cut off' in damage[0]
    footer = RECORD.pack(Opcode.FOOTER, 20) + struct.pack('<QQI', 2**62, 0, 0)
    path.write_bytes(content[: -len(footer) - len(MAGIC)] + footer + MAGIC)
    assert read(path) == ([*range(30)], [], [])


@pytest.fixture(scope='module')
def without_chunks(tmp_path_factory):
    path = tmp_path_factory.mktemp('mcap') / 'a.mcap'
    return write_mcap(path, texts(20, size=1000), use_chunking=False)


@given(place=st.integers(0, 1000))
@example(place=0)
@example(place=1)
@example(place=500)
@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_messages_outside_of_chunks_are_read_up_to_the_cut(tmp_path, without_chunks, place):
    content = without_chunks.read_bytes()
    with Recording(without_chunks) as recording:
        data = [message.data for message in recording.messages()]
    ends = [content.index(one) + len(one) for one in data]
    cut = len(content) * place // 1000
    path = tmp_path / 'cut.mcap'
    path.write_bytes(content[:cut])
    if cut < 8 + 9 + int.from_bytes(content[9:17], 'little'):  # magic and first record
        with pytest.raises(BagError, match=r'not an mcap file|cut off in its first record'):
            read(path)
        return
    times, damage, _ = read(path)
    assert times == [*range(sum(end <= cut for end in ends))]
    assert damage or cut > ends[-1]


def test_zeros_behind_the_end_are_a_cut(tmp_path):
    """A file system that lost power keeps the length of a file, and zeros for what it lost."""
    path = write_mcap(tmp_path / 'a.mcap', texts(30), chunk_size=1)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] + bytes(1_000_000))
    times, damage, _ = read(path)
    assert times == [*range(len(times))]
    assert 10 <= len(times) < 20
    assert 'a.mcap is cut off' in damage[0]


def test_a_damaged_index_costs_nothing_where_the_data_are_whole(tmp_path):
    path = write_mcap(tmp_path / 'a.mcap', texts(30), chunk_size=1)
    content = path.read_bytes()
    summary = content.rindex(b'/talk')  # the channel, among the records of the summary
    rng = np.random.default_rng(1)
    for place in rng.integers(summary, len(content) - 8, 20):
        broken = bytearray(content)
        broken[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(broken)
        assert read(path)[:2] == ([*range(30)], [])


def test_image_types_of_older_writers_are_cameras(tmp_path, run_quickly):
    image = image_message(np.zeros((32, 48, 3), np.uint8), START_NS)[1]
    messages = [('/camera/image_raw', START_NS, ('sensor_msgs/Image', image))]
    path = write_mcap(tmp_path / 'a.mcap', messages)
    assert run_quickly('bag', path, tmp_path / 'out.mcap', '--copy', '/camera/image_raw') == 0
    with Recording(tmp_path / 'out.mcap') as recording:
        assert recording.topics['/camera/image_raw'].type_name == 'sensor_msgs/msg/Image'
        assert len(list(recording.messages(['/camera/image_raw']))) == 1
