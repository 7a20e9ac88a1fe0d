# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Depth and CameraInfo find their frame by stamp, wherever a window ends and a run is resumed."""

import bags
import depth_encoder
import numpy as np
import pytest
from bags import SECOND, START_NS, info_message
from hypothesis import given, settings
from hypothesis import strategies as st

from clip_dinoiser_ros.bag.cameras import Camera
from clip_dinoiser_ros.bag.recording import Recording
from clip_dinoiser_ros.bag.types import COMPRESSED
from clip_dinoiser_ros.bag.windows import RecordedFrame, Selection, read_windows
from clip_dinoiser_ros.frames.images import stamp_ns

IMAGE, DEPTH, INFO = '/camera/image_raw', '/camera/depth', '/camera/camera_info'
CAMERA = Camera(IMAGE, 'camera', DEPTH, INFO)
STEP_NS = SECOND // 10


def depth_message(time_ns, metres):
    return bags.image_message(np.full((48, 64), metres, np.float32), time_ns, '32FC1')


def write(path, count, late_ns, offsets_ns):
    """Frames, each with depth of a stamp near to its own, recorded `late_ns` after it."""
    lines = []
    for index in range(count):
        time_ns = START_NS + index * STEP_NS
        image = np.full((48, 64, 3), index, np.uint8)
        depth = depth_message(time_ns + offsets_ns[index], 1.0 + index)
        lines += [
            (IMAGE, time_ns, bags.image_message(image, time_ns)),
            (INFO, time_ns + 1, info_message(time_ns)),
            (DEPTH, time_ns + late_ns, depth),
        ]
    return bags.write(path, sorted(lines, key=lambda line: line[1]))


def partners(path, window, read=0, seen=None):
    """The stamps of depth and CameraInfo by frame, and what the windows say to resume after."""
    found, ends = {}, []
    with Recording(path) as recording:
        selection = Selection({IMAGE: CAMERA})
        for part in read_windows(recording, selection, window, read, seen):
            for item in part.items:
                assert isinstance(item, RecordedFrame)
                held = (item.partners.depth, item.partners.info)
                found[item.message.time_ns] = [
                    None if one is None else stamp_ns(one.header) for one in held
                ]
            ends.append((part.read, dict(part.seen)))
    return found, ends


@settings(max_examples=25, deadline=None)
@given(
    window=st.integers(1, 5),
    late_ms=st.integers(0, 350),
    offsets_ms=st.lists(st.integers(-49, 49), min_size=8, max_size=8),
)
def test_the_nearest_of_the_whole_recording(tmp_path_factory, window, late_ms, offsets_ms):
    offsets = [offset * 10**6 for offset in offsets_ms]
    path = write(tmp_path_factory.mktemp('bag') / 'in', 8, late_ms * 10**6 + 2, offsets)
    stamps = [START_NS + index * STEP_NS for index in range(8)]
    depths = [stamp + offset for stamp, offset in zip(stamps, offsets, strict=True)]
    found, ends = partners(path, window)
    for stamp in stamps:
        depth, info = found[stamp]
        assert abs(depth - stamp) == min(abs(other - stamp) for other in depths)
        assert info == stamp
    for read, seen in ends:
        resumed, _ = partners(path, window, read, seen)
        assert resumed.items() <= found.items()


def test_clouds_of_a_recording(run_quickly, tmp_path, capsys):
    path = write(tmp_path / 'in', 5, STEP_NS // 2, [0] * 5)
    options = ['--depth-topic', DEPTH, '--camera-info-topic', f'camera={INFO}', '--batch', '2']
    assert run_quickly('bag', path, tmp_path / 'out', *options) == 0
    clouds = [m for topic, _, m in bags.read(tmp_path / 'out') if topic.endswith('/points')]
    depths = [float(cloud.data.view(np.float32).reshape(-1, 6)[0, 2]) for cloud in clouds]
    assert depths == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert (clouds[0].height, clouds[0].width) == (48, 64)


def compressed_depth_message(time_ns, metres, form):
    encoding, codec = form.split('; compressedDepth ') if ';' in form else ('16UC1', 'png')
    depth = np.full((48, 64), metres, np.float32)
    if encoding == '16UC1':
        depth = (1000 * depth).astype(np.uint16)
    _, data = depth_encoder.compressed_depth(depth, codec)
    if ';' not in form:  # of the plain transport
        data = data[12:]
    message = bags.make(
        COMPRESSED, header=bags.header(time_ns), format=form, data=np.frombuffer(data, np.uint8)
    )
    return COMPRESSED, bytes(bags.typestore().serialize_cdr(message, COMPRESSED))


@pytest.mark.parametrize(
    ('topic', 'form'),
    [
        (f'{DEPTH}/compressedDepth', '16UC1; compressedDepth png'),
        (f'{DEPTH}/compressedDepth', '16UC1; compressedDepth rvl'),
        (f'{DEPTH}/compressedDepth', '32FC1; compressedDepth png'),
        (f'{DEPTH}/compressedDepth', '32FC1; compressedDepth rvl'),
        (f'{DEPTH}/compressed', 'png'),  # says nothing of depth, and is no camera all the same
    ],
)
def test_clouds_of_compressed_depth(run_quickly, tmp_path, capsys, topic, form):
    """The options leave out the first slash of the topics."""
    lines = []
    for index in range(3):
        time_ns = START_NS + index * STEP_NS
        image = np.full((48, 64, 3), index, np.uint8)
        lines += [
            (IMAGE, time_ns, bags.image_message(image, time_ns)),
            (INFO, time_ns + 1, info_message(time_ns)),
            (topic, time_ns + 2, compressed_depth_message(time_ns, 1.0 + index, form)),
        ]
    path = bags.write(tmp_path / 'in', lines)
    options = ['--depth-topic', topic[1:], '--camera-info-topic', INFO[1:]]
    assert run_quickly('bag', path, tmp_path / 'out', *options) == 0
    said = capsys.readouterr().err
    assert f'{topic} is left out: it is the depth of a camera' in said
    assert 'camera: 3 frames segmented' in said
    clouds = [m for t, _, m in bags.read(tmp_path / 'out') if t.endswith('/camera/points')]
    depths = [float(cloud.data.view(np.float32).reshape(-1, 6)[0, 2]) for cloud in clouds]
    np.testing.assert_allclose(depths, [1.0, 2.0, 3.0], atol=1e-3)


def test_a_camera_info_that_says_only_p(run_quickly, tmp_path):
    """At half the size, points and CameraInfo are as those of a CameraInfo that says all."""
    made = {}
    for name, change in (('whole', {}), ('p', {'height': 0, 'width': 0, 'k': np.zeros(9)})):
        p = np.array([60.0, 0, 31.5, 0, 0, 60.0, 23.5, 0, 0, 0, 1, 0])
        image = bags.image_message(np.zeros((48, 64, 3), np.uint8), START_NS)
        lines = [
            (IMAGE, START_NS, image),
            (INFO, START_NS + 1, info_message(START_NS, p=p, **change)),
            (DEPTH, START_NS + 2, depth_message(START_NS, 2.0)),
        ]
        path = bags.write(tmp_path / name, lines)
        options = ['--depth-topic', DEPTH, '--camera-info-topic', INFO, '--output-scale', '0.5']
        assert run_quickly('bag', path, tmp_path / f'{name}_out', *options) == 0
        made[name] = {t: m for t, _, m in bags.read(tmp_path / f'{name}_out')}
    for output in ('points', 'camera_info'):
        topic = f'/clip_dinoiser/camera/{output}'
        whole, only_p = (made[name][topic] for name in ('whole', 'p'))
        field = 'data' if output == 'points' else 'k'
        np.testing.assert_array_equal(getattr(whole, field), getattr(only_p, field))
        assert (only_p.height, only_p.width) == (24, 32)


def test_messages_without_stamps_are_not_paired(run_quickly, tmp_path, capsys):
    """As with a driver that leaves them out: every depth image would be equally near."""
    messages = []
    for index in range(3):
        time_ns = START_NS + index * STEP_NS
        image = bags.image_message(np.zeros((48, 64, 3), np.uint8), 0)
        messages += [(IMAGE, time_ns, image), (INFO, time_ns, info_message(0))]
        messages.append((DEPTH, time_ns, depth_message(0, 1.0 + index)))
    path = bags.write(tmp_path / 'in', messages)
    options = ['--depth-topic', DEPTH, '--camera-info-topic', INFO]
    run_quickly('bag', path, tmp_path / 'out', *options)
    topics = [topic for topic, _, _ in bags.read(tmp_path / 'out')]
    assert topics.count('/clip_dinoiser/camera/labels') == 3
    assert '/clip_dinoiser/camera/points' not in topics
    assert 'have a stamp of zero' in capsys.readouterr().err


def test_frames_without_depth_are_counted(run_quickly, tmp_path, capsys):
    path = write(tmp_path / 'in', 5, 2, [0, 0, 0, 0, 0])
    options = ['--depth-topic', DEPTH, '--camera-info-topic', INFO, '--sync-tolerance-ms', '10']
    shifted = write(tmp_path / 'shifted', 5, 2, [30 * 10**6] * 5)
    assert run_quickly('bag', path, tmp_path / 'out', *options) == 0
    assert 'no cloud' not in capsys.readouterr().err
    assert run_quickly('bag', shifted, tmp_path / 'other', *options) == 0
    said = capsys.readouterr().err
    assert '5 frames have no cloud' in said
    assert '30 ms from the image; sync_tolerance_ms is 10' in said
    topics = {topic for topic, _, _ in bags.read(tmp_path / 'other')}
    assert '/clip_dinoiser/camera/points' not in topics
    assert '/clip_dinoiser/camera/camera_info' in topics


@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (['--depth-topic', '/nowhere', '--camera-info-topic', INFO], ['/nowhere', DEPTH]),
        (['--depth-topic', DEPTH], ['--camera-info-topic']),
        (['--camera-info-topic', DEPTH], ['no such topic', INFO]),
        (['--depth-topic', f'rear={DEPTH}'], ["no camera 'rear'", 'camera']),
        (['--region', '0.5,0.5,0.1,0.1'], ['upper left']),
        (['--region', 'a,b'], ['numbers separated by commas']),
        (['--region', '0,0,1,1', '--region', 'camera=0,0,1,1'], ['already']),
        (['--max-pixels', '0'], ['--max-pixels', 'at least 1']),
        (['--sync-tolerance-ms', '-1'], ['at least 0']),
    ],
)
def test_refused(run_quickly, tmp_path, capsys, options, words):
    path = write(tmp_path / 'in', 1, 2, [0])
    assert run_quickly('bag', path, tmp_path / 'out', *options) == 1
    said = capsys.readouterr().err
    for word in words:
        assert word in said
    assert not (tmp_path / 'out').exists()


def test_the_limits_are_the_nodes(run_quickly, tmp_path, capsys):
    path = write(tmp_path / 'in', 2, 2, [0, 0])
    assert run_quickly('bag', path, tmp_path / 'out', '--max-pixels', '3071') == 1
    assert '3071' in capsys.readouterr().err
    assert run_quickly('bag', path, tmp_path / 'other', '--max-pixels', '3072') == 0
