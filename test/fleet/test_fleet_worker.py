# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""An actor writes what `clip-dinoiser bag` writes: whole, in slices, after an interruption."""

import argparse
import dataclasses
import os
from pathlib import Path

import fsspec
import numpy as np
import pytest
import quick_model
from bags import SECOND, START_NS, text_message, write, write_mcap
from drives import comparable, described, frames
from mcap.writer import CompressionType
from rosbags.rosbag2 import Reader

from clip_dinoiser_ros.bag.recording import BagError
from clip_dinoiser_ros.fleet import command, worker
from clip_dinoiser_ros.fleet.records import FOLDER, read_record
from clip_dinoiser_ros.fleet.sources import find_recordings
from clip_dinoiser_ros.fleet.worker import Unit, Worker

RUN = 'digest'
OTHER = '/rear/image_raw'


@pytest.fixture
def make(tmp_path, quickly):
    """Make a worker of the command's arguments."""

    def make(*words):
        parser = argparse.ArgumentParser()
        command.add_arguments(parser)
        given = ['source', str(tmp_path / 'out'), *map(str, words), *quick_model.ARGUMENTS]
        return Worker(command._for_actors(parser.parse_args(given)), 1)

    return make


def find(path):
    (found,) = find_recordings([str(path)])
    return found


def in_slices(worker, found, order=reversed):
    """Divide a recording, do its slices in another order, and join them."""
    slices = worker.run(Unit('divide', found), RUN)
    for one in order(slices):
        worker.run(Unit('slice', found, one), RUN)
    return slices, worker.run(Unit('join', found), RUN)


@pytest.fixture
def drive(tmp_path, picture):
    """Two cameras of other rates, damaged frames, and topics to copy; one of them is latched."""
    messages = [
        *frames(picture, 30, damaged=(0, 1, 17)),
        *frames(picture, 11, seed=1, topic=OTHER),
        *(('/talk', START_NS + i * SECOND // 2, text_message(f'{i}')) for i in range(60)),
        ('/map', START_NS, text_message('latched')),
    ]
    messages.sort(key=lambda message: message[1])
    return write(tmp_path / 'drive', messages, latched=('/map',))


@pytest.mark.parametrize(
    'options',
    [(), ('--copy',), ('--every', 3), ('--start', 3, '--end', 21.5, '--copy'), ('--batch', 1)],
    ids=str,
)
def test_slices_are_joined_to_what_bag_writes(quickly, make, drive, tmp_path, options):
    assert quickly('bag', drive, tmp_path / 'bag.mcap', *options) in (0, 3)
    slices, record = in_slices(make('--slice-gb', 0.0004, *options), find(drive))
    assert len(slices) >= 2
    assert len(slices) > 4 or options
    assert comparable(tmp_path / 'out/drive.mcap') == comparable(tmp_path / 'bag.mcap')
    assert described(tmp_path / 'out/drive.mcap') == described(tmp_path / 'bag.mcap')
    whole = make(*options).run(Unit('whole', find(drive)), 'another')
    assert dataclasses.replace(record, run='', sha256='') == dataclasses.replace(
        whole, run='', sha256=''
    )
    assert not (tmp_path / 'out' / FOLDER / 'slices/drive').exists()


def test_slices_that_meet_between_messages_of_one_time(quickly, make, tmp_path, picture):
    messages = [(t, START_NS + i // 9, m) for i, (t, _, m) in enumerate(frames(picture, 20))]
    source = write(tmp_path / 'drive', messages)
    quickly('bag', source, tmp_path / 'bag.mcap')
    slices, _ = in_slices(make('--slice-gb', 1e-6), find(source))
    starts = [(one.start_ns and one.start_ns - START_NS, one.read) for one in slices]
    assert starts == [(None, 0), (0, 4), (0, 8), (1, 3), (1, 7)]
    assert comparable(tmp_path / 'out/drive.mcap') == comparable(tmp_path / 'bag.mcap')


def test_a_damaged_recording_in_slices(quickly, make, tmp_path, picture, capsys):
    source = write_mcap(tmp_path / 'drive.mcap', frames(picture, 24), chunk_size=200_000)
    content = bytearray(source.read_bytes())
    content[len(content) // 2] ^= 1
    source.write_bytes(content[: len(content) * 9 // 10])
    assert quickly('bag', source, tmp_path / 'bag.mcap') == 3
    said = capsys.readouterr().err
    _, record = in_slices(make('--slice-gb', 0.0004), find(source))
    assert comparable(tmp_path / 'out/drive.mcap') == comparable(tmp_path / 'bag.mcap')
    assert record.damage
    assert all(line in said for line in record.damage)


def test_damage_of_what_is_not_read(make, tmp_path, picture):
    """Slices tell of what the whole does."""
    talk = [('/talk', START_NS + 3600 * SECOND, text_message('t' * 999))] * 60
    plain = {'compression': CompressionType.NONE, 'chunk_size': 20_000}
    source = write_mcap(tmp_path / 'drive.mcap', [*frames(picture, 6), *talk], **plain)
    content = source.read_bytes()
    middle = len(content) - 30_000
    source.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    for options, count in ((), 0), (('--copy',), 1):
        _, sliced = in_slices(make('--slice-gb', 1e-6, *options), find(source))
        whole = make(*options).run(Unit('whole', find(source)), 'whole')
        assert sliced.damage == whole.damage
        assert len(whole.damage) == count


def test_the_plan_is_kept(make, drive, tmp_path, monkeypatch):
    worker_, found = make('--slice-gb', 0.0004), find(drive)
    slices = worker_.run(Unit('divide', found), RUN)
    with monkeypatch.context() as patch:
        patch.setattr(worker, 'divide', None)
        assert worker_.run(Unit('divide', found), RUN) == slices
    longer = dataclasses.replace(found, size=found.size + 1)  # the recording has grown
    assert worker_.run(Unit('divide', longer), RUN) == slices


def test_finished_units_are_not_repeated(make, drive, tmp_path, monkeypatch):
    unit = Unit('whole', find(drive))
    record = make().run(unit, RUN)
    (tmp_path / 'out/drive.mcap.partial').mkdir()  # killed before it was removed
    calls = []
    segment = worker.segment
    monkeypatch.setattr(worker, 'segment', lambda *rest: calls.append(1) or segment(*rest))
    assert make().run(unit, RUN) == record
    assert make().run(Unit('divide', find(drive)), RUN) == record
    assert not calls
    assert [path.name for path in (tmp_path / 'out').iterdir() if path.name != FOLDER] == [
        'drive.mcap'
    ]


@pytest.mark.parametrize('change', ['cut', 'bit', 'gone', 'other run', 'grown', 'record'])
def test_unfinished_units_are_repeated(make, drive, tmp_path, change):
    found = find(drive)
    record = make().run(Unit('whole', found), RUN)
    out = tmp_path / 'out/drive.mcap'
    expected, run = out.read_bytes(), RUN
    if change == 'cut':
        os.truncate(out, len(expected) - 1)
    elif change == 'bit':
        out.write_bytes(expected[:999] + bytes([expected[999] ^ 1]) + expected[1000:])
    elif change == 'gone':
        out.unlink()
    elif change == 'other run':
        run = 'other'
    elif change == 'grown':
        found = dataclasses.replace(found, size=found.size + 1)
    else:
        (tmp_path / 'out' / FOLDER / 'records/drive.json').write_text('{')
    made = make().run(Unit('whole', found), run)
    assert (made.frames, made.classes) == (record.frames, record.classes)
    assert made == read_record(tmp_path / 'out' / FOLDER / 'records/drive.json')
    assert comparable(out) == comparable(out)
    assert made.sha256 == worker.digest_of(out, 64)


def test_an_interrupted_unit_goes_on(quickly, make, drive, tmp_path, monkeypatch):
    quickly('bag', drive, tmp_path / 'bag.mcap')
    segment, calls = quick_model.QuickSegmenter.segment_patches, []

    def dies(self, *rest):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return segment(self, *rest)

    monkeypatch.setattr(quick_model.QuickSegmenter, 'segment_patches', dies)
    with pytest.raises(KeyboardInterrupt):
        make().run(Unit('whole', find(drive)), RUN)
    record = make().run(Unit('whole', find(drive)), RUN)
    assert len(record.damage) == 3
    assert comparable(tmp_path / 'out/drive.mcap') == comparable(tmp_path / 'bag.mcap')
    # what other settings have left is not used
    calls.clear()
    with pytest.raises(KeyboardInterrupt):
        make().run(Unit('whole', find(drive)), 'second')
    calls.extend([1] * 9)
    before = len(calls)
    make().run(Unit('whole', find(drive)), 'third')
    assert len(calls) - before >= 10
    assert comparable(tmp_path / 'out/drive.mcap') == comparable(tmp_path / 'bag.mcap')


@pytest.mark.parametrize('moment', ['write_record', 'finish'])
def test_killed_between_record_and_output(make, drive, tmp_path, monkeypatch, moment):
    def stop(*rest):
        raise KeyboardInterrupt

    expected = make().run(Unit('whole', find(drive)), 'before')
    with monkeypatch.context() as patch:
        if moment == 'finish':
            patch.setattr(worker.PartialBag, 'finish', stop)
        else:
            patch.setattr(worker, 'write_record', stop)
        with pytest.raises(KeyboardInterrupt):
            make().run(Unit('whole', find(drive)), RUN)
    record = make().run(Unit('whole', find(drive)), RUN)
    assert (record.damage, record.classes) == (expected.damage, expected.classes)
    assert record.sha256 == worker.digest_of(tmp_path / 'out/drive.mcap', 64)
    assert not (tmp_path / 'out/drive.mcap.partial').exists()


@pytest.mark.parametrize('damage', ['cut', 'gone'])
def test_a_complete_output_is_read_back_again(make, drive, tmp_path, monkeypatch, damage):
    """It may have been damaged since its actor was killed."""
    unit = Unit('whole', find(drive))
    expected = make().run(unit, 'before')
    messages = comparable(tmp_path / 'out/drive.mcap')
    with monkeypatch.context() as patch:
        patch.setattr(worker, 'write_record', None)  # so that the actor dies there
        with pytest.raises(TypeError):
            make().run(unit, RUN)
    complete = tmp_path / 'out/drive.mcap.partial/drive/drive.mcap'
    os.truncate(complete, complete.stat().st_size // 2) if damage == 'cut' else complete.unlink()
    record = make().run(unit, RUN)
    assert (record.frames, record.classes) == (expected.frames, expected.classes)
    assert comparable(tmp_path / 'out/drive.mcap') == messages


def test_behind_a_url(quickly, make, tmp_path, picture):
    source = write_mcap(tmp_path / 'drive.mcap', frames(picture, 5))
    quickly('bag', source, tmp_path / 'bag.mcap')
    fsspec.filesystem('memory').pipe('/worker/drive.mcap', source.read_bytes())
    scratch = tmp_path / 'scratch'
    scratch.mkdir()
    make('--scratch', scratch).run(Unit('whole', find('memory://worker/drive.mcap')), RUN)
    assert comparable(tmp_path / 'out/drive.mcap') == comparable(tmp_path / 'bag.mcap')
    assert not list(scratch.iterdir())


@pytest.mark.parametrize('kind', ['whole', 'divide'])
def test_a_recording_that_cannot_be_used(make, tmp_path, kind, picture):
    source = write(tmp_path / 'drive', [('/talk', START_NS, text_message('a'))])
    with pytest.raises(BagError, match='no camera found'):
        make().run(Unit(kind, find(source)), RUN)
    source = write(tmp_path / 'dark', frames(picture, 9, damaged=range(9)))
    ways = {
        'whole': lambda: make().run(Unit(kind, find(source)), RUN),
        'divide': lambda: in_slices(make('--slice-gb', 1e-6), find(source)),
    }
    with pytest.raises(BagError, match='no frame could be segmented'):
        ways[kind]()


def test_the_figures_of_the_classes(make, tmp_path, picture):
    """Labels of the stand-in are 32 levels of red each, its confidence is green."""
    source = write(tmp_path / 'drive', frames(picture, 2))
    record = make().run(Unit('whole', find(source)), RUN)
    labels = picture[..., 0] // 32 % 3
    for index, name in enumerate(quick_model.NAMES):
        figures = record.classes['camera'][name]
        assert figures['share'] == pytest.approx(np.mean(labels == index))
        assert figures['confidence'] == pytest.approx(
            picture[..., 1][labels == index].mean() / 255, abs=0.003
        )


@pytest.mark.parametrize('options', [(), ('--confidence-encoding', '32FC1')], ids=str)
def test_figures_are_of_the_segmented_cameras(make, tmp_path, picture, options):
    """Labels that were in the recording are copied and not counted."""
    first = write(tmp_path / 'drive', frames(picture, 3))
    expected = make().run(Unit('whole', find(first)), RUN)
    with Reader(tmp_path / 'out/drive.mcap') as made:
        older = [
            (c.topic.replace('/camera/', '/rear/'), time_ns, (c.msgtype, data))
            for c, time_ns, data in made.messages()
            if not c.topic.endswith('/vocabulary')
        ]
    both = write(tmp_path / 'both', [*frames(picture, 3), *older])
    record = make('--copy', *options).run(Unit('whole', find(both)), RUN)
    assert record.classes.keys() == {'camera'}
    for name, figures in expected.classes['camera'].items():
        assert record.classes['camera'][name] == pytest.approx(figures, abs=1 / 255)


def test_digests_of_a_model(make, golden_files, tmp_path):
    worker_ = make('--model', 'demo')
    digests = worker.model_digests(worker_._args)
    assert {len(digests[key]) for key in ('model', 'pretrained', 'heads')} == {64}
    words = [text for key, value in golden_files.items() for text in (f'--{key}', value)]
    own = worker.model_digests(make(*words)._args)
    assert own['templates'] == 'imagenet'
    assert {len(own[key]) for key in ('model', 'pretrained', 'heads')} == {64}
    Path(golden_files['heads']).touch()
    assert worker.model_digests(make(*words)._args) == own
