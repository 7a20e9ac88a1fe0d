# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""A recording in, the node's messages out."""

import gc
import weakref

import numpy as np
import pytest
from bags import (
    SECOND,
    START_NS,
    compressed_message,
    image_message,
    pixels,
    raw,
    read,
    text_message,
    write,
)
from golden_data import golden
from quick_model import QuickSegmenter
from rosbags.rosbag2 import Reader

from clip_dinoiser_ros.bag.types import typestore
from clip_dinoiser_ros.frames.outputs import OUTPUTS

FRONT, REAR = '/front/image_raw', '/rear/image_raw/compressed'


def at(seconds):
    return START_NS + round(seconds * SECOND)


def moving(picture, count):
    """The golden image, pushed on a little in each frame."""
    return [np.ascontiguousarray(np.roll(picture['image'], 5 * i, axis=1)) for i in range(count)]


@pytest.fixture
def drive(picture):
    """Two cameras of one size, ten frames each in a second, and talk in between."""
    messages = [('/map', at(0), text_message('the map'))]
    for i, image in enumerate(moving(picture, 10)):
        time_ns = at(0.1 * i)
        messages += [
            (FRONT, time_ns, image_message(image, time_ns - 5_000_000)),
            ('/talk', time_ns + 1, text_message(f'{i}')),
            (REAR, time_ns + 2, compressed_message(image, time_ns)),
        ]
    return messages


def of(messages, topic):
    return [message for name, _, message in messages if name == topic]


def labels(messages, camera):
    return [pixels(message) for message in of(messages, f'/clip_dinoiser/{camera}/labels')]


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
@pytest.mark.parametrize('out', ['out', 'out.mcap', 'out.db3'])
def test_golden_labels_come_out_of_every_kind_of_bag(
    run, tmp_path, golden_segmenter, golden_prompts, storage, out
):
    expected = golden('image_170x215_background')
    message = image_message(expected['image'], at(0.25))
    path = write(tmp_path / 'in', [('/camera/image_raw', at(0.5), message)], storage)
    assert run('bag', path, tmp_path / out) == 0
    messages = read(tmp_path / out)
    assert [name.split('/')[-1] for name, _, _ in messages] == [
        'label_info',
        'vocabulary',
        'labels',
        'confidence',
        'frame_info',
    ]
    assert all(time_ns == at(0.5) for _, time_ns, _ in messages)
    (found,) = of(messages, '/clip_dinoiser/camera/labels')
    assert (found.encoding, found.step, found.is_bigendian) == ('mono8', 215, 0)
    assert (found.header.stamp.nanosec, found.header.frame_id) == (SECOND // 4, 'lens')
    assert (pixels(found) == expected['labels']).mean() >= 0.9999
    (confidence,) = of(messages, '/clip_dinoiser/camera/confidence')
    exact = golden_segmenter.segment(expected['image'], golden_segmenter.encode(golden_prompts))
    assert np.array_equal(pixels(found), exact.labels)
    assert np.abs(pixels(confidence) / 255 - exact.confidence).max() <= 0.5 / 255 + 1e-6
    (vocabulary,) = of(messages, '/clip_dinoiser/camera/vocabulary')
    assert vocabulary.names == golden_prompts
    assert (vocabulary.background, vocabulary.unlabelled_id) == ('background', 255)
    assert vocabulary.ids.tolist() == [*range(7)]
    (label_info,) = of(messages, '/clip_dinoiser/camera/label_info')
    assert [c.class_name for c in label_info.class_map] == golden_prompts
    suffix = '.mcap' if out == 'out.mcap' or (out == 'out' and storage == 'mcap') else '.db3'
    file = tmp_path / out / f'out{suffix}' if out == 'out' else tmp_path / out
    assert file.read_bytes().startswith(b'\x89MCAP' if suffix == '.mcap' else b'SQLite format 3')
    assert {p.name for p in tmp_path.iterdir()} == {'in', out}


def test_negative_classes_are_unlabelled(run, tmp_path, golden_segmenter, golden_prompts):
    """`background` too: its filter works, and nobody hears of it."""
    expected = golden('image_170x215_background')
    message = image_message(expected['image'], at(0.25))
    path = write(tmp_path / 'in', [('/camera/image_raw', at(0.5), message)])
    assert golden_prompts[0] == 'background'
    words = ['--negative-prompts', 'background', '--prompts', *golden_prompts[1:]]
    report = tmp_path / 'report.html'
    assert run('bag', path, tmp_path / 'out', '--report', report, last=words) == 0
    messages = read(tmp_path / 'out')
    (found,) = of(messages, '/clip_dinoiser/camera/labels')
    (vocabulary,) = of(messages, '/clip_dinoiser/camera/vocabulary')
    (label_info,) = of(messages, '/clip_dinoiser/camera/label_info')
    assert vocabulary.names == vocabulary.prompts == golden_prompts[1:]
    assert [c.class_name for c in label_info.class_map] == golden_prompts[1:]
    assert (vocabulary.ids.tolist(), vocabulary.background) == ([*range(6)], '')
    exact = golden_segmenter.segment(expected['image'], golden_segmenter.encode(golden_prompts))
    shown = np.where(exact.labels == 0, 255, exact.labels - 1)
    assert 0.05 < (shown == 255).mean() < 0.95
    assert (pixels(found) == shown).mean() >= 0.9999
    assert 'negative prompts' in report.read_text()


def test_topics_are_offered_as_by_the_node(run_quickly, tmp_path, drive):
    assert run_quickly('bag', write(tmp_path / 'in', drive), tmp_path / 'out', '--overlay') == 0
    with Reader(tmp_path / 'out') as reader:
        found = {c.topic: c for c in reader.connections}
        assert set(found) == {f'/clip_dinoiser/{c}/{o}' for c in ('front', 'rear') for o in OUTPUTS}
        for topic, connection in found.items():
            output = OUTPUTS[topic.split('/')[-1]]
            assert connection.msgtype == output.type_name
            assert connection.digest == typestore().hash_rihs01(output.type_name)
            (qos,) = connection.ext.offered_qos_profiles
            durability = 'TRANSIENT_LOCAL' if output.latched else 'VOLATILE'
            assert (qos.reliability.name, qos.durability.name) == ('RELIABLE', durability)


def test_smoothing_averages_each_camera_over_time(
    run, tmp_path, drive, picture, golden_segmenter, golden_prompts
):
    """Two frames of each camera in a batch, then two more in the next."""
    path = write(tmp_path / 'in', drive[: 1 + 3 * 4])
    options = ['--smoothing', 0.6, '--confidence-encoding', '32FC1', '--batch', 4]
    assert run('bag', path, tmp_path / 'out', *options) == 0
    vocabulary = golden_segmenter.encode(golden_prompts)
    frames = moving(picture, 4)
    patches = [golden_segmenter.segment_patches([image], vocabulary)[0] for image in frames]
    smooth = patches[0]
    for found in patches[1:]:
        smooth = found.average(smooth, 0.6)
    expected = smooth.enlarge(frames[0].shape[:2]).confidence
    assert np.abs(expected - patches[-1].enlarge(frames[0].shape[:2]).confidence).max() > 0.01
    last = of(read(tmp_path / 'out'), '/clip_dinoiser/front/confidence')[-1]
    np.testing.assert_allclose(pixels(last), expected, atol=1e-4)
    assert run('bag', path, tmp_path / 'other', '--smoothing', 1.0) == 1


def test_batches_across_cameras_equal_single_frames(run, tmp_path, drive):
    path = write(tmp_path / 'in', drive[: 1 + 3 * 4])
    assert run('bag', path, tmp_path / 'one', '--batch', 1) == 0
    assert run('bag', path, tmp_path / 'six', '--batch', 6) == 0
    one, six = read(tmp_path / 'one'), read(tmp_path / 'six')
    assert [(topic, time_ns) for topic, time_ns, _ in one] == [(t, n) for t, n, _ in six]
    for camera in ('front', 'rear'):
        for a, b in zip(labels(one, camera), labels(six, camera), strict=True):
            assert (a == b).mean() >= 0.9999
        sizes = [i.batch_size for i in of(six, f'/clip_dinoiser/{camera}/frame_info')]
        assert sizes == [6, 6, 6, 2]
    for a, b in zip(labels(six, 'front'), labels(six, 'rear'), strict=True):
        assert (a == b).mean() >= 0.9999  # PNG is without loss
    info = of(six, '/clip_dinoiser/rear/frame_info')
    assert [i.frames_segmented for i in info] == [*range(1, 5)]


def test_part_of_a_recording(run_quickly, tmp_path, drive):
    path = write(tmp_path / 'in', drive, latched=('/map',))
    options = ('--start', 0.15, '--end', 0.85, '--every', 3, '--topic', FRONT, '--copy')
    assert run_quickly('bag', path, tmp_path / 'out', *options) == 0
    messages = read(tmp_path / 'out')
    assert {topic for topic, _, _ in messages if topic.startswith('/clip')} == {
        f'/clip_dinoiser/front/{output}' for output in OUTPUTS if output != 'overlay'
    }
    times = [n - START_NS for topic, n, _ in messages if topic.endswith('front/labels')]
    assert times == [200_000_000, 500_000_000, 800_000_000]
    info = of(messages, '/clip_dinoiser/front/frame_info')
    counts = [(i.frames_received, i.frames_segmented, i.frames_replaced) for i in info]
    assert counts == [(1, 1, 0), (4, 2, 2), (7, 3, 4)]
    given = [(topic, n, data) for topic, n, data in raw(path) if topic in ('/talk', REAR)]
    copied = [entry for entry in raw(tmp_path / 'out') if entry[0] in ('/talk', REAR)]
    assert copied == [e for e in given if at(0.15) <= e[1] < at(0.85)]
    # what was latched before the start still holds
    assert [(n, m.data) for t, n, m in messages if t == '/map'] == [(at(0.15), 'the map')]


def test_copy_takes_what_is_named(run_quickly, tmp_path, drive):
    path = write(tmp_path / 'in', drive)
    assert run_quickly('bag', path, tmp_path / 'out', '--every', 5, '--copy', FRONT) == 0
    copied = [entry for entry in raw(tmp_path / 'out') if not entry[0].startswith('/clip')]
    assert copied == [entry for entry in raw(path) if entry[0] == FRONT]
    # and a bag that has outputs already is segmented anew, by its cameras only
    assert run_quickly('bag', tmp_path / 'out', tmp_path / 'again', '--copy', '--every', 2) == 0
    again = read(tmp_path / 'again')
    assert len(labels(again, 'front')) == 5
    assert len(labels(again, 'rear')) == 2  # copied along


def test_unlabelled_pixels_and_float_confidence(
    run, tmp_path, picture, golden_segmenter, golden_prompts
):
    path = write(tmp_path / 'in', [(FRONT, at(0), image_message(picture['image'], 0))])
    options = ('--min-confidence', 0.3, '--confidence-encoding', '32FC1')
    assert run('bag', path, tmp_path / 'out', *options) == 0
    messages = read(tmp_path / 'out')
    (found,) = labels(messages, 'front')
    (confidence,) = of(messages, '/clip_dinoiser/front/confidence')
    assert confidence.encoding == '32FC1'
    vocabulary = golden_segmenter.encode(golden_prompts)
    background = golden_segmenter.segment(picture['image'], vocabulary).labels == 0  # is not cut
    assert np.array_equal(found == 255, (pixels(confidence) < np.float32(0.3)) & ~background)
    assert 0 < (found == 255).mean() < 1


def test_damaged_messages_are_passed_over_and_listed(run, tmp_path, picture, capsys):
    image = picture['image']
    good, (kind, data) = image_message(image, at(0)), image_message(image, at(0))
    png = compressed_message(image, at(0))
    tiny = image_message(image[:8, :8].copy(), at(0))
    unknown = image_message(image[..., 0].copy(), at(0), 'mono8')[1].replace(b'mono8', b'sepia')
    messages = [
        (FRONT, at(0), good),
        (FRONT, at(1), (kind, data[:100])),
        (FRONT, at(2), (kind, b'\xff' * 200)),
        (FRONT, at(3), tiny),
        (FRONT, at(4), (kind, unknown)),
        (REAR, at(5), (png[0], png[1][:-2000] + bytes(2000))),
        (FRONT, at(6), good),
        (REAR, at(7), png),
    ]
    path = write(tmp_path / 'in', messages)
    assert run('bag', path, tmp_path / 'out', '--batch', 8) == 3
    out = read(tmp_path / 'out')
    assert [n for t, n, _ in out if t.endswith('/front/labels')] == [at(0), at(6)]
    assert [n for t, n, _ in out if t.endswith('/rear/labels')] == [at(7)]
    info = of(out, '/clip_dinoiser/front/frame_info')[-1]
    assert (info.frames_received, info.frames_segmented, info.frames_rejected) == (6, 2, 4)
    said = capsys.readouterr().err
    assert '5 messages damaged' in said
    for second, reason in enumerate(
        ['not a sensor_msgs', 'not a sensor_msgs', '8x8', "'sepia'", 'cut off'], start=1
    ):
        topic = REAR if second == 5 else FRONT
        line = next(line for line in said.splitlines() if f' at {at(second) / 1e9:.6f} s' in line)
        assert line.strip().startswith(topic)
        assert reason in line


def test_a_cut_recording_is_segmented_up_to_the_cut(run_quickly, tmp_path, picture, capsys):
    message = image_message(picture['image'], 0)
    path = write(tmp_path / 'in', [(FRONT, at(i), message) for i in range(20)])
    file = path / 'in.mcap'
    file.write_bytes(file.read_bytes()[:-700_000])
    assert run_quickly('bag', path, tmp_path / 'out', '--every', 4) == 3
    assert 0 < len(labels(read(tmp_path / 'out'), 'front')) < 5
    assert 'in.mcap is cut off' in capsys.readouterr().err


def test_nothing_is_replaced_without_force(run_quickly, tmp_path, drive, capsys):
    path = write(tmp_path / 'in', drive[:4])
    for name in ('out', 'out.mcap'):
        assert run_quickly('bag', path, tmp_path / name) == 0
        before = raw(tmp_path / name)
        assert run_quickly('bag', path, tmp_path / name, '--overlay') == 1
        assert f'{name} exists; --force replaces it' in capsys.readouterr().err
        assert raw(tmp_path / name) == before
        assert run_quickly('bag', path, tmp_path / name, '--overlay', '--force') == 0
        assert len(raw(tmp_path / name)) > len(before)
    page = tmp_path / 'page.html'
    page.write_text('mine')
    assert run_quickly('bag', path, tmp_path / 'new', '--report', page) == 1
    assert page.read_text() == 'mine'
    assert not (tmp_path / 'new').exists()


def test_force_spares_folders_that_are_no_bags(run_quickly, tmp_path, drive, capsys):
    path = write(tmp_path / 'in', drive[:4])
    home = tmp_path / 'home'
    home.mkdir()
    (home / 'thesis.txt').write_text('mine')
    assert run_quickly('bag', path, home, '--force') == 1
    assert 'other files than a bag' in capsys.readouterr().err
    assert run_quickly('bag', path, path, '--force') == 1
    assert run_quickly('bag', path, path / 'out', '--force') == 1
    assert run_quickly('bag', path / 'in.mcap', path, '--force') == 1
    assert 'would overwrite the input' in capsys.readouterr().err
    assert (home / 'thesis.txt').exists()
    assert len(raw(path)) == 4


@pytest.mark.parametrize(
    ('options', 'reason'),
    [
        (('--every', 0), '--every is 0; must be at least 1'),
        (('--start', 5, '--end', 2), 'the start before the end'),
        (('--start', 100), 'the recording is 0.9 s long'),
        (('--topic', '/none'), '/none is not an image topic of the bag'),
        (('--name', 'front'), 'must be TOPIC=NAME'),
        (('--copy', '/none'), 'no such topic'),
        (('--min-confidence', 2), 'must be between 0 and 1'),
        (('--video', 'a.avi'), 'must end in .mp4'),
    ],
)
def test_wrong_arguments_are_named(run_quickly, tmp_path, drive, capsys, options, reason):
    path = write(tmp_path / 'in', drive)
    assert run_quickly('bag', path, tmp_path / 'out', *options) == 1
    said = capsys.readouterr().err.splitlines()
    assert reason in said[-1]
    assert {p.name for p in tmp_path.iterdir()} == {'in'}


def test_everything_smaller(run, tmp_path, golden_segmenter, golden_prompts, capsys):
    image = golden('image_170x215_background')['image']
    path = write(tmp_path / 'in', [('/camera/image_raw', at(0), image_message(image, at(0)))])
    drawn = ['--overlay', '--report', tmp_path / 'report.html', '--video', tmp_path / 'video.mp4']
    assert run('bag', path, tmp_path / 'out', '--output-scale', 0.5, *drawn) == 0
    messages = read(tmp_path / 'out')
    vocabulary = golden_segmenter.encode(golden_prompts)
    (patches,) = golden_segmenter.segment_patches([image], vocabulary)
    expected = patches.enlarge((85, 108))
    labels, confidence, overlay = (
        pixels(message)
        for output in ('labels', 'confidence', 'overlay')
        for message in of(messages, f'/clip_dinoiser/camera/{output}')
    )
    assert np.array_equal(labels, expected.labels)
    assert np.abs(confidence / 255 - expected.confidence).max() <= 0.5 / 255 + 1e-6
    assert overlay.shape == (85, 108, 3)
    capsys.readouterr()
    for scale in ('0', '1.5', 'nan'):
        assert run('bag', path, tmp_path / 'other', '--output-scale', scale) == 1
        assert 'must be between 0.01 and 1' in capsys.readouterr().err


def test_bag_without_a_usable_frame_leaves_nothing_behind(run, tmp_path, capsys):
    kind, data = image_message(np.zeros((8, 8, 3), np.uint8), 0)
    path = write(tmp_path / 'in', [(FRONT, at(0), (kind, data))])
    assert run('bag', path, tmp_path / 'out') == 1
    assert 'no frame could be segmented' in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


def test_memory_does_not_grow_with_the_bag(run_quickly, tmp_path, picture, monkeypatch):
    """As many frames are alive at once in a long bag as in a short one."""
    small = np.ascontiguousarray(picture['image'][:64, :64])
    segment, given, most = QuickSegmenter.segment_patches, [], 0

    def watch(self, batch, *rest):
        nonlocal most
        given.extend(weakref.ref(image) for image in batch)
        most = max(most, sum(image() is not None for image in given))
        return segment(self, batch, *rest)

    monkeypatch.setattr(QuickSegmenter, 'segment_patches', watch)
    peaks = []
    for count in (10, 50):
        messages = [(FRONT, at(i), image_message(small, at(i))) for i in range(count)]
        path = write(tmp_path / f'in{count}', messages)
        assert run_quickly('bag', path, tmp_path / f'out{count}', '--batch', 2) == 0
        assert len(given) == count
        peaks.append(most)
        gc.collect()
        given.clear()
        most = 0
    assert peaks[1] <= peaks[0] <= 6  # one window in work, one ahead
