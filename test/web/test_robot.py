# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The robot's side of the page, over DDS with a live node."""

import threading

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='no ROS here: the node cannot run')

from harness import NAME, RELIABLE, array, header_of
from live import PROMPTS_BEFORE, Viewer, live_node, numbered_picture, picture, until
from sensor_msgs.msg import Image
from vision_msgs.msg import Detection2DArray

from clip_dinoiser_ros.frames.images import stamp_ns
from clip_dinoiser_ros.web.robot import RobotSource
from clip_dinoiser_ros.web.source import SETTINGS, RefusedError

OUTPUTS = ('labels', 'confidence', 'detections', 'frame_info', 'vocabulary', 'class_confidences')


@pytest.fixture(scope='module')
def running(tmp_path_factory):
    with live_node(tmp_path_factory.mktemp('node')) as (node, peer):
        yield node, peer


@pytest.fixture(scope='module')
def shared(running):
    source = RobotSource()
    yield source
    source.close()


@pytest.fixture
def peer(running):
    return running[1]


@pytest.fixture
def source(shared):
    """The shared source; the node has its first settings again afterwards."""
    before = until(lambda: settings_of(shared))
    yield shared
    shared.change(before)


def settings_of(source):
    try:
        return source.settings()
    except RefusedError:  # they have not found each other yet
        return None


def message_of(peer, output, frame, kind=None):
    """The message of an output that has the stamp of a frame."""
    name = f'{NAME}/camera/{output}'
    return peer.wait(name, lambda m: stamp_ns(header_of(m)) == frame.stamp_ns)


def subscribers(peer):
    """How many others than the peer subscribe to the topics of the camera."""
    own = {subscription.topic_name for subscription in peer.node.subscriptions}
    topics = [f'{NAME}/camera/{output}' for output in OUTPUTS]
    return {t: peer.node.count_subscribers(t) - (t in own) for t in topics}


def test_cameras_and_settings_are_those_of_the_node(source):
    assert source.title == NAME
    assert source.can_change
    assert source.cameras() == ('camera',)
    assert source.settings() == {
        'prompts': PROMPTS_BEFORE,
        'negative_prompts': (),
        'background': 'background',
        'min_confidence': 0.0,
        'temporal_smoothing': 0.0,
        'max_rate': 0.0,
    }
    assert tuple(source.settings()) == SETTINGS
    assert source.class_ids() == {name: i for i, name in enumerate(PROMPTS_BEFORE)}


def test_nothing_of_a_camera_is_subscribed_to_while_nobody_watches(source, peer):
    until(lambda: not any(subscribers(peer).values()))
    images = peer.node.count_subscribers('/camera/image_raw')
    with Viewer(source) as first:
        first.next()
        with Viewer(source) as second:
            second.next()
            first.next()
            now = subscribers(peer)
            assert now.pop(f'{NAME}/camera/class_confidences') == 0
            assert set(now.values()) == {1}  # however many watch
            assert peer.node.count_subscribers('/camera/image_raw') == images + 1
            found = peer.node.get_subscriptions_info_by_topic('/camera/image_raw')
            assert {one.qos_profile.reliability for one in found} == {RELIABLE.reliability}
        first.next()
    until(lambda: not any(subscribers(peer).values()))
    until(lambda: peer.node.count_subscribers('/camera/image_raw') == images)


def test_a_frame_is_of_one_image(source, peer):
    detections = peer.hear('detections', Detection2DArray)
    assert detections is not None
    peer.until(lambda: peer.messages('detections'))
    with Viewer(source) as viewer:
        for _ in range(3):
            frame = viewer.next()
    assert frame.camera == 'camera'
    np.testing.assert_array_equal(frame.image, numbered_picture(frame.stamp_ns // 10**9))
    np.testing.assert_array_equal(frame.labels, array(message_of(peer, 'labels', frame)))
    confidence = array(message_of(peer, 'confidence', frame))
    np.testing.assert_allclose(frame.confidence, confidence / 255, atol=1e-6)
    assert frame.confidence.dtype == np.float32
    assert frame.unlabelled_id == 255
    assert [c.name for c in frame.classes] == list(PROMPTS_BEFORE)
    assert [c.is_background for c in frame.classes] == [n == 'background' for n in PROMPTS_BEFORE]
    assert frame.times_ms['total'] >= frame.times_ms['segment'] > 0
    found = message_of(peer, 'detections', frame).detections
    assert [o.name for o in frame.objects] == [d.results[0].hypothesis.class_id for d in found]
    assert frame.objects
    ids = {c.name: c.id for c in frame.classes}
    for one in frame.objects:
        left, top, right, bottom = map(round, one.box)
        inside = frame.labels[top:bottom, left:right] == ids[one.name]
        assert inside[0].any()
        assert inside[-1].any()
        assert inside[:, 0].any()
        assert inside[:, -1].any()
        assert 0 < one.confidence <= 1
        assert one.distance is None


def test_a_changed_word_is_told_and_in_the_next_frames(source, peer):
    told = threading.Event()
    stop = source.on_change(told.set)
    words = ('person|human', 'road', 'sky')
    with Viewer(source) as viewer:
        viewer.next()
        source.change({'prompts': words, 'background': '', 'min_confidence': 0.25})
        assert told.wait(10)
        assert source.settings()['prompts'] == words
        assert peer.get('prompts', 'min_confidence') == [list(words), 0.25]
        frame = viewer.next(lambda f: [c.name for c in f.classes] == ['person', 'road', 'sky'])
    assert [c.prompt for c in frame.classes] == list(words)
    assert not any(c.is_background for c in frame.classes)
    assert set(np.unique(frame.labels)) <= {c.id for c in frame.classes} | {255}
    assert source.class_ids() == {c.name: c.id for c in frame.classes}
    stop()


def test_a_change_by_someone_else_is_told_without_a_viewer(source, peer):
    told = threading.Event()
    stop = source.on_change(told.set)
    assert peer.set(temporal_smoothing=0.5)[0].successful
    assert told.wait(10)
    stop()
    told.clear()
    assert source.settings()['temporal_smoothing'] == 0.5
    assert peer.set(temporal_smoothing=0.0)[0].successful
    assert not told.wait(1)


@pytest.mark.parametrize(
    ('settings', 'parameter', 'reason'),
    [
        ({'prompts': ('person', 'Person'), 'background': ''}, 'prompts', 'names must be unique'),
        ({'prompts': (), 'min_confidence': 0.5}, 'prompts', 'give at least one class'),
        ({'background': 'a|b', 'temporal_smoothing': 7.0}, 'temporal_smoothing', ''),
        ({'min_confidence': 7.0, 'max_rate': 5.0}, 'min_confidence', ''),
        ({'negative_prompts': ('sky', 'a||b'), 'max_rate': 5.0}, 'negative_prompts', 'a||b'),
    ],
)
def test_what_is_refused_changes_nothing(source, settings, parameter, reason):
    before = source.settings()
    with pytest.raises(RefusedError) as refused:
        source.change(settings)
    assert refused.value.parameter == parameter
    assert reason in str(refused.value)
    assert source.settings() == before


def test_negative_prompts_come_and_go(source):
    source.change({'negative_prompts': ('sky',)})
    assert source.settings()['negative_prompts'] == ('sky',)
    source.change({'negative_prompts': ()})
    assert source.settings()['negative_prompts'] == ()


def test_probabilities_are_those_of_the_node(source, peer):
    peer.hear('class_confidences', Image)
    x, y = 0.3, 0.8
    asked = len(peer.messages('class_confidences'))
    likely = source.probabilities('camera', x, y)
    peer.until(lambda: len(peer.messages('class_confidences')) > asked)
    # the camera stands still but for one pixel: all its frames have the same probabilities
    pixel = array(peer.messages('class_confidences')[-1])[int(y * 240), int(x * 320)]
    order = np.argsort(-pixel)[: len(likely)]
    assert [one.name for one in likely] == [PROMPTS_BEFORE[i] for i in order]
    np.testing.assert_allclose([p.probability for p in likely], pixel[order], atol=1e-3)
    assert len(likely) > 1
    until(lambda: not subscribers(peer)[f'{NAME}/camera/class_confidences'])
    source.probabilities('camera', 1.0, 1.0)
    with pytest.raises(RefusedError, match='allowed: 0 to 1'):
        source.probabilities('camera', 1.5, 0.5)


def test_an_image_is_segmented_without_touching_the_words(source, peer):
    version = peer.messages('vocabulary')[-1].version
    frame = source.segment(picture(), ['wall', 'person|human', 'sky'], 'wall', 0.1)
    assert [(c.name, c.prompt, c.is_background) for c in frame.classes] == [
        ('wall', 'wall', True),
        ('person', 'person|human', False),
        ('sky', 'sky', False),
    ]
    assert frame.labels.shape == frame.confidence.shape == (240, 320)
    assert set(np.unique(frame.labels)) <= {c.id for c in frame.classes} | {frame.unlabelled_id}
    np.testing.assert_array_equal(frame.image, picture())
    with pytest.raises(RefusedError, match='background'):
        source.segment(picture(), ['sky'], 'wall')
    assert source.settings()['prompts'] == PROMPTS_BEFORE
    assert peer.messages('vocabulary')[-1].version == version


def test_status_is_in_plain_words(source):
    status = until(lambda: s if 'labels/s' in (s := source.status('camera')).summary else None)
    assert status.level == 0
    details = dict(status.details)
    assert details['image topic'] == '/camera/image_raw'
    assert details['model'] == 'demo'
    assert details['segment, median'].endswith(' ms')


def test_who_may_only_look_changes_nothing(running):
    looking = RobotSource(can_change=False)
    try:
        assert not looking.can_change
        with pytest.raises(RefusedError, match='may only look'):
            looking.change({'max_rate': 1.0})
    finally:
        looking.close()
