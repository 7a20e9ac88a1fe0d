# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""An interrupted run says so by its name, and goes on to the same result."""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from bags import SECOND, START_NS, image_message, raw, write
from quick_model import ARGUMENTS, QuickSegmenter
from rosbags.rosbag2 import Reader

from clip_dinoiser_ros.bag import drawings
from clip_dinoiser_ros.bag.types import typestore

TOPIC = '/camera/image_raw'
FRAMES = 24
OPTIONS = ('--batch', '2', '--copy', TOPIC)
_TIMES = ('decode_ms', 'segment_ms', 'publish_ms', 'total_ms')


@pytest.fixture(scope='module')
def source(tmp_path_factory, picture):
    """So much that several chunks are written before the end, with two damaged frames."""
    messages = []
    for i in range(FRAMES):
        image = np.ascontiguousarray(np.roll(picture['image'], 7 * i, axis=1))
        kind, data = image_message(image, START_NS + i * SECOND)
        data = data[:99] if i in (3, 17) else data
        messages.append((TOPIC, START_NS + i * SECOND, (kind, data)))
    return write(tmp_path_factory.mktemp('source') / 'in', messages)


def comparable(path):
    """All messages in order, byte for byte, except for the times that FrameInfo tells."""
    messages = []
    for topic, time_ns, data in raw(path):
        if topic.endswith('/frame_info'):
            info = typestore().deserialize_cdr(data, 'clip_dinoiser_ros/msg/FrameInfo')
            data = {k: v for k, v in vars(info).items() if k not in _TIMES}
        messages.append((topic, time_ns, data))
    return messages


def described(path):
    with Reader(path) as reader:
        return [(c.topic, c.msgtype, c.digest, c.msgcount, c.ext) for c in reader.connections]


@pytest.fixture
def uninterrupted(run_quickly, source, tmp_path):
    assert run_quickly('bag', source, tmp_path / 'whole', *OPTIONS) == 3
    return tmp_path / 'whole'


@contextmanager
def interrupted(monkeypatch, after):
    """Let the model be interrupted at its so-many-th batch."""
    segment, calls = QuickSegmenter.segment_patches, 0

    def counted(self, *rest):
        nonlocal calls
        calls += 1
        if calls > after:
            raise KeyboardInterrupt
        return segment(self, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(QuickSegmenter, 'segment_patches', counted)
        yield


def journal(out):
    lines = (out.with_name(out.name + '.partial') / 'journal.jsonl').read_text().splitlines()
    return [json.loads(line[9:]) for line in lines]  # behind the checksum


@pytest.mark.parametrize('form', ['out', 'out.mcap', 'out.db3'])
def test_ctrl_c_and_resume(run_quickly, source, uninterrupted, tmp_path, monkeypatch, capsys, form):
    out = tmp_path / form
    for after in (4, 3):  # interrupted twice
        with interrupted(monkeypatch, after):
            assert run_quickly('bag', source, out, *OPTIONS, '--resume') == 130
        assert '--resume continues' in capsys.readouterr().err
        assert not out.exists()
        assert out.with_name(form + '.partial').is_dir()
    assert run_quickly('bag', source, out, *OPTIONS, '--resume') == 3
    assert comparable(out) == comparable(uninterrupted)
    assert not out.with_name(form + '.partial').exists()
    said = capsys.readouterr().err
    assert '2 messages damaged' in said  # of all three runs together
    assert said.count(f'{TOPIC} at ') == 2


def test_sigkill_and_resume(run_quickly, source, uninterrupted, tmp_path):
    out = tmp_path / 'out'
    program = Path(__file__).parent / 'quick_model.py'
    command = [sys.executable, program, 'bag', source, out, *OPTIONS, *ARGUMENTS]
    process = subprocess.Popen(command)
    file = tmp_path / 'out.partial/out/out.mcap'
    deadline = time.monotonic() + 120
    while not (file.exists() and file.stat().st_size > 1_000_000):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not out.exists()
    done = journal(out)[-1]
    assert not done.get('complete')
    assert run_quickly('bag', source, out, *OPTIONS, '--resume') == 3
    assert comparable(out) == comparable(uninterrupted)
    assert described(out) == described(uninterrupted)


@pytest.mark.parametrize('kept', [0, 30, 1_250_000, 2_300_000])
def test_resume_from_any_length_of_the_partial_file(
    run_quickly, source, uninterrupted, tmp_path, monkeypatch, kept
):
    """As after a loss of power: the journal may be ahead of the bag, and end in half a line."""
    out = tmp_path / 'out'
    with interrupted(monkeypatch, 9):
        assert run_quickly('bag', source, out, *OPTIONS) == 130
    os.truncate(tmp_path / 'out.partial/out/out.mcap', kept)
    with (tmp_path / 'out.partial/journal.jsonl').open('a') as file:
        file.write('{"written": 1')
    calls = count_frames(monkeypatch)
    assert run_quickly('bag', source, out, *OPTIONS, '--resume') == 3
    assert comparable(out) == comparable(uninterrupted)
    again = sum(calls)
    assert again == FRAMES - 2 if kept < 1_000_000 else 8 < again < FRAMES - 2


@pytest.mark.parametrize('thousandth', [0, 1, 10, 300, 500, 900, 999])
def test_a_bit_turned_in_the_journal(
    run_quickly, source, uninterrupted, tmp_path, monkeypatch, capsys, thousandth
):
    out = tmp_path / 'out'
    with interrupted(monkeypatch, 9):
        assert run_quickly('bag', source, out, *OPTIONS) == 130
    path = tmp_path / 'out.partial/journal.jsonl'
    content = bytearray(path.read_bytes())
    content[len(content) * thousandth // 1000] ^= 4
    path.write_bytes(content)
    code = run_quickly('bag', source, out, *OPTIONS, '--resume')
    if code == 1:  # in the first line, which is long: nothing tells what was asked for
        assert 'journal.jsonl is damaged' in capsys.readouterr().err
        assert thousandth < 500
        assert run_quickly('bag', source, out, *OPTIONS, '--force') == 3
    assert comparable(out) == comparable(uninterrupted)


def count_frames(monkeypatch):
    segment, calls = QuickSegmenter.segment_patches, []

    def counted(self, batch, *rest):
        calls.append(len(batch))
        return segment(self, batch, *rest)

    monkeypatch.setattr(QuickSegmenter, 'segment_patches', counted)
    return calls


def test_killed_while_copying_what_was_there(
    run_quickly, source, uninterrupted, tmp_path, monkeypatch
):
    out = tmp_path / 'out'
    with interrupted(monkeypatch, 9):
        assert run_quickly('bag', source, out, *OPTIONS) == 130
    folder = tmp_path / 'out.partial'
    (folder / 'out').rename(folder / 'interrupted')
    (folder / 'out').mkdir()
    (folder / 'out/out.mcap').write_bytes((folder / 'interrupted/out.mcap').read_bytes()[:5000])
    calls = count_frames(monkeypatch)
    assert run_quickly('bag', source, out, *OPTIONS, '--resume') == 3
    assert comparable(out) == comparable(uninterrupted)
    assert sum(calls) < FRAMES - 6


def test_all_written_but_the_video_is_not_segmented_again(
    run_quickly, source, tmp_path, monkeypatch
):
    out, page = tmp_path / 'out', tmp_path / 'page.html'

    def stop(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(drawings, 'shown_frames', stop)
        assert run_quickly('bag', source, out, '--report', page) == 130
    assert not out.exists()
    calls = count_frames(monkeypatch)
    assert run_quickly('bag', source, out, '--report', page, '--resume') == 3
    assert calls == []
    assert page.exists()
    assert out.exists()


def test_an_interrupted_bag_is_kept_unless_told_otherwise(
    run_quickly, source, tmp_path, monkeypatch, capsys
):
    out = tmp_path / 'out'
    with interrupted(monkeypatch, 2):
        assert run_quickly('bag', source, out) == 130
    capsys.readouterr()
    assert run_quickly('bag', source, out) == 1
    assert '--resume continues it, --force starts again' in capsys.readouterr().err
    assert run_quickly('bag', source, out, '--resume', '--every', 2) == 1
    assert 'was started with every 1, now it is 2' in capsys.readouterr().err
    assert run_quickly('bag', source, out, '--force', '--every', 6) == 0
    assert not (tmp_path / 'out.partial').exists()
    assert run_quickly('bag', source, out, '--resume', '--every', 6) == 1
    assert 'out exists' in capsys.readouterr().err


def test_two_runs_do_not_write_one_bag(run_quickly, source, tmp_path, monkeypatch, capsys):
    segment, codes = QuickSegmenter.segment_patches, []

    def meanwhile(self, *rest):
        if not codes:
            codes.append(None)
            codes.append(run_quickly('bag', source, tmp_path / 'out', '--resume', '--every', 8))
        return segment(self, *rest)

    monkeypatch.setattr(QuickSegmenter, 'segment_patches', meanwhile)
    assert run_quickly('bag', source, tmp_path / 'out', '--every', 8) == 0
    assert codes == [None, 1]
    assert 'is being written by another process' in capsys.readouterr().err
