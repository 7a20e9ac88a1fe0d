# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Whatever happened to a recording: what is readable of it is segmented and the rest named, or it
is refused; a result under its final name can be read."""

from __future__ import annotations

import shutil
import struct
import tempfile
from pathlib import Path

import numpy as np
import pytest
from bags import START_NS, image_message, read, write
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from rosbags.rosbag2 import CompressionFormat, CompressionMode, Reader, StoragePlugin, Writer

from clip_dinoiser_ros.bag.types import IMAGE, typestore

TOPIC = '/camera/image_raw'
FRAMES = 30
EXAMPLES = settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
# where in the file, in thousandths, so that examples read well
thousandths = st.integers(0, 1000)


@pytest.fixture(scope='module')
def sources(tmp_path_factory, picture):
    """One recording in three forms; several chunks in the mcap files."""
    folder = tmp_path_factory.mktemp('sources')
    image = np.ascontiguousarray(picture['image'])
    messages = [(TOPIC, START_NS + i, image_message(image, START_NS + i)) for i in range(FRAMES)]
    for storage in ('mcap', 'sqlite3'):
        write(folder / storage, messages, storage)
    writer = Writer(folder / 'zstd', version=9, storage_plugin=StoragePlugin.MCAP)
    writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
    with writer:
        connection = writer.add_connection(TOPIC, IMAGE, typestore=typestore())
        for _, time_ns, (_, data) in messages:
            writer.write(connection, time_ns, data)
    return folder


@pytest.fixture
def attempt(run_quickly, capsys):
    """Segment a bag with a changed storage file; return exit code, frame times, what was said."""

    def attempt(source: Path, content: bytes, *, metadata: bool = True):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            bag = shutil.copytree(source, folder / 'in')
            storage_file(bag).write_bytes(content)
            if not metadata:
                (bag / 'metadata.yaml').unlink()
            capsys.readouterr()
            code = run_quickly('bag', bag, folder / 'out')
            said = capsys.readouterr().err
            assert 'Traceback' not in said
            assert storage_file(bag).read_bytes() == content
            times = []
            if code in (0, 3):
                labels = [m for m in read(folder / 'out') if m[0].endswith('/labels')]
                times = [time_ns - START_NS for _, time_ns, _ in labels]
                assert {p.name for p in folder.iterdir()} == {'in', 'out'}
            else:
                assert code == 1
                assert not (folder / 'out').exists()
                assert said.strip()
            return code, times, said

    return attempt


def storage_file(bag: Path) -> Path:
    (path,) = (p for p in bag.iterdir() if p.suffix in ('.mcap', '.db3'))
    return path


def end_of_data(bag: Path) -> int:
    """Where the record ends that says that no message follows: the first behind all chunks."""
    content = storage_file(bag).read_bytes()
    return content.rindex(b'\x0f' + struct.pack('<Q', 4)) + 13


def chunk_ends(bag: Path) -> list[tuple[int, int]]:
    """Where each chunk ends in the file, and how many frames there are up to there."""
    with Reader(storage_file(bag)) as reader:
        chunks = sorted(reader.storage.chunks, key=lambda c: c.chunk_start_offset)
        ends, frames = [], 0
        for chunk in chunks:
            frames += sum(chunk.channel_count.values())
            ends.append((chunk.chunk_start_offset + chunk.chunk_length, frames))
    return ends


@pytest.mark.parametrize('metadata', [True, False])
@pytest.mark.parametrize('form', [pytest.param('mcap', marks=pytest.mark.long), 'zstd'])
@given(place=thousandths)
@example(place=0)
@example(place=991)  # behind the last chunk of the compressed recording, in its message index
@example(place=1000)
@EXAMPLES
def test_cut_anywhere(sources, attempt, form, metadata, place):
    whole = storage_file(sources / form).read_bytes()
    cut = len(whole) * place // 1000
    expected = max((n for end, n in chunk_ends(sources / form) if end <= cut), default=0)
    code, times, said = attempt(sources / form, whole[:cut], metadata=metadata)
    assert times == [*range(expected)]
    # a file that ends behind a chunk may have been longer: only metadata.yaml could know
    known = metadata or cut >= end_of_data(sources / form)
    assert code == (0 if expected == FRAMES and known else 3 if expected else 1)
    if cut < len(whole) and code:
        assert 'cut off' in said or 'not an mcap file' in said
    if expected < FRAMES and cut > 100 and metadata:
        assert f'{FRAMES - expected} of {FRAMES} messages listed in metadata.yaml' in said


@pytest.mark.parametrize('form', [pytest.param('mcap', marks=pytest.mark.long), 'zstd'])
@given(place=thousandths, bit=st.integers(0, 7))
@EXAMPLES
def test_one_bit_turned_anywhere(sources, attempt, form, place, bit):
    content = bytearray(storage_file(sources / form).read_bytes())
    content[(len(content) - 1) * place // 1000] ^= 1 << bit
    code, times, _ = attempt(sources / form, bytes(content))
    assert times == sorted(times)
    assert code == 0 or len(times) < FRAMES
    assert code == 3 or len(times) in (0, FRAMES)


@given(data=st.data())
@EXAMPLES
def test_one_bit_turned_at_the_ends(sources, attempt, data):
    """The first and the last kilobytes, where everything has a meaning."""
    content = bytearray(storage_file(sources / 'mcap').read_bytes())
    place = data.draw(st.one_of(st.integers(0, 2500), st.integers(-5000, -1)))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    code, times, _ = attempt(sources / 'mcap', bytes(content))
    assert times == sorted(times)
    assert code == 3 or len(times) in (0, FRAMES)


@pytest.mark.long
@given(place=thousandths, turned=st.booleans())
@EXAMPLES
def test_damaged_sqlite(sources, attempt, place, turned):
    content = bytearray(storage_file(sources / 'sqlite3').read_bytes())
    at = (len(content) - 1) * place // 1000
    if turned:
        content[at] ^= 255
    else:
        del content[at:]
    code, times, _ = attempt(sources / 'sqlite3', bytes(content))
    assert times == sorted(times)
    assert code == 3 or len(times) in (0, FRAMES)
