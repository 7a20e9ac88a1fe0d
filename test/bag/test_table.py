# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The table of objects tells what is in the messages; ids last, also over an interruption."""

import csv

import cv2
import numpy as np
import pytest
from bags import SECOND, START_NS, image_message, info_message, read, write
from quick_model import QuickSegmenter

from clip_dinoiser_ros.bag import table

IMAGE, DEPTH, INFO = '/front/image_raw', '/front/depth', '/front/camera_info'
FRAMES = 6
SPEED = 8  # pixels from frame to frame
FX = 100.0
K = np.array([FX, 0, 63.5, 0, FX, 47.5, 0, 0, 1])
PLACES = ('--depth-topic', DEPTH, '--camera-info-topic', INFO)
BALLS = ('--object-classes', 'red ball')


@pytest.fixture
def source(tmp_path):
    """A ball of 41 pixels, two metres away, that moves; the last frame has no depth."""
    lines = []
    for index in range(FRAMES):
        time_ns = START_NS + index * SECOND // 10
        image, metres = np.zeros((96, 128, 3), np.uint8), np.full((96, 128), 5, np.float32)
        centre = 40 + SPEED * index, 50
        cv2.circle(image, centre, 20, (32, 128, 0), cv2.FILLED)
        cv2.circle(metres, centre, 20, 2.0, cv2.FILLED)
        lines += [
            (IMAGE, time_ns, image_message(image, time_ns)),
            (INFO, time_ns, info_message(time_ns, height=96, width=128, k=K)),
        ]
        if index < FRAMES - 1:
            lines.append((DEPTH, time_ns, image_message(metres, time_ns, '32FC1')))
    return write(tmp_path / 'in', lines)


def rows_of(path):
    with path.open(newline='') as file:
        return list(csv.DictReader(file))


def test_csv(run_quickly, source, tmp_path):
    path = tmp_path / 'objects.csv'
    options = (*PLACES, *BALLS, '--track', '--sync-tolerance-ms', 50, '--table', path)
    assert run_quickly('bag', source, tmp_path / 'out', *options) == 0
    rows = rows_of(path)
    assert list(rows[0]) == list(table.COLUMNS)
    assert len(rows) == FRAMES
    for index, row in enumerate(rows):
        assert (row['camera'], row['frame_id'], row['class']) == ('front', 'lens', 'red ball')
        assert int(row['stamp_ns']) == START_NS + index * SECOND // 10
        assert row['id'] == '1'  # --track
        box = [float(row[name]) for name in ('left', 'top', 'width', 'height')]
        assert box == [20 + SPEED * index, 30, 41, 41]
        assert float(row['score']) == pytest.approx(128 / 255, abs=1e-6)
        place = [row[name] for name in ('x', 'y', 'z', 'size_x', 'size_y', 'size_z')]
        if index == FRAMES - 1:
            assert place == [''] * 6
            continue
        x, y, z, *size = map(float, place)
        assert x == pytest.approx((40 + SPEED * index - 63.5) / FX * 2, abs=0.01)
        assert (y, z) == pytest.approx(((50 - 47.5) / FX * 2, 2.0), abs=0.01)
        # 41 pixels less 3 at each edge, and what is cut at each end of a disc
        assert size == pytest.approx([0.6, 0.6, 0.0], abs=0.05)
    # what it was made from is there too
    topics = {topic for topic, _, _ in read(tmp_path / 'out')}
    assert {'/clip_dinoiser/front/detections', '/clip_dinoiser/front/detections_3d'} <= topics


def test_without_depth(run_quickly, source, tmp_path):
    path = tmp_path / 'objects.csv'
    options = ('--topic', IMAGE, *BALLS, '--table', path)
    assert run_quickly('bag', source, tmp_path / 'out', *options) == 0
    assert [row['x'] for row in rows_of(path)] == [''] * FRAMES
    topics = {topic for topic, _, _ in read(tmp_path / 'out')}
    assert '/clip_dinoiser/front/detections_3d' not in topics


def test_parquet_has_the_same(run_quickly, source, tmp_path, monkeypatch):
    parquet = pytest.importorskip('pyarrow.parquet', reason='pyarrow is not installed')
    monkeypatch.setattr(table, 'ROWS_AT_ONCE', 4)
    for name in ('objects.csv', 'objects.parquet'):
        options = (*PLACES, '--table', tmp_path / name)
        assert run_quickly('bag', source, tmp_path / f'out_{name}', *options) == 0
    read_back = parquet.read_table(tmp_path / 'objects.parquet').to_pylist()
    rows = rows_of(tmp_path / 'objects.csv')
    assert len(rows) == len(read_back) > 0
    for row, other in zip(rows, read_back, strict=True):
        assert row == {k: '' if v is None else str(v) for k, v in other.items()}


@pytest.mark.parametrize(
    ('name', 'reason'),
    [
        ('objects.xlsx', 'objects.xlsx: the file name must end in .csv or .parquet'),
        ('objects.parquet', 'Parquet needs pyarrow'),
        ('there.csv', 'there.csv exists'),
    ],
)
def test_refused_before_anything_is_done(
    run_quickly, source, tmp_path, monkeypatch, capsys, name, reason
):
    monkeypatch.setattr(table, 'find_spec', lambda module: None)
    (tmp_path / 'there.csv').write_text('mine')
    assert run_quickly('bag', source, tmp_path / 'out', '--table', tmp_path / name) == 1
    assert reason in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()
    assert (tmp_path / 'there.csv').read_text() == 'mine'


def test_positions_need_depth(run_quickly, source, tmp_path, capsys):
    options = ('--topic', IMAGE, '--outputs', 'detections_3d', 'markers')
    assert run_quickly('bag', source, tmp_path / 'out', *options) == 1
    assert '--outputs detections_3d markers: a position needs depth' in capsys.readouterr().err


def test_no_id_is_used_twice_after_an_interruption(run_quickly, tmp_path, monkeypatch):
    image = np.zeros((480, 640, 3), np.uint8)  # so large that chunks are on the disk
    cv2.circle(image, (300, 200), 90, (32, 128, 0), cv2.FILLED)
    times = [START_NS + index * SECOND // 10 for index in range(FRAMES)]
    source = write(tmp_path / 'in', [(IMAGE, t, image_message(image, t)) for t in times])
    path = tmp_path / 'objects.csv'
    options = (
        '--topic', IMAGE, *BALLS, '--track', '--batch', 1, '--resume', '--copy', IMAGE,
        '--table', path,
    )  # fmt: skip
    segment, calls = QuickSegmenter.segment_patches, []

    def counted(self, *rest):
        calls.append(1)
        if len(calls) > 3:
            raise KeyboardInterrupt
        return segment(self, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(QuickSegmenter, 'segment_patches', counted)
        assert run_quickly('bag', source, tmp_path / 'out', *options) == 130
    assert not path.exists()
    assert run_quickly('bag', source, tmp_path / 'out', *options) == 0
    ids = [row['id'] for row in rows_of(path)]
    assert len(ids) == FRAMES
    assert set(ids) == {'1', '2'}
    assert ids == sorted(ids)
