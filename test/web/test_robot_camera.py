# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Which names a frame gets when the node restarts and counts its vocabularies from 1 again."""

import queue

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='no ROS here: the node cannot run')

from clip_dinoiser_ros.msg import FrameInfo, Vocabulary
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from vision_msgs.msg import Detection2DArray

from clip_dinoiser_ros.frames import images
from clip_dinoiser_ros.web.robot_camera import CameraWatch
from clip_dinoiser_ros.web.robot_client import RELIABLE

PIXELS = np.zeros((4, 6), np.uint8)


class Wire:
    """In place of a `RobotClient`: the test says what arrives, and from which publishers."""

    target = '/eyes'

    def __init__(self):
        self.callbacks = {}
        self.frame_publishers = set()
        self.latched = None  # what a new subscription to the vocabulary gets
        self.subscribed = queue.SimpleQueue()

    def subscribe(self, kind, topic, callback, qos):
        self.callbacks[topic] = callback
        self.subscribed.put(topic)
        return topic

    def unsubscribe(self, topic):
        pass

    def parameters(self, *names):
        return ['/camera/image_raw', 'raw', '']

    def offered(self, topic):
        return RELIABLE

    def publishers(self, topic):
        assert topic == '/eyes/camera/frame_info'
        return set(self.frame_publishers)

    def announce(self, run, version, *names):
        vocabulary = Vocabulary(
            run_id=run, version=version, names=names, prompts=names, ids=range(len(names))
        )
        self.callbacks['/eyes/camera/vocabulary'](vocabulary)

    def send(self, second, version):
        """A whole frame, whose frame_info comes last."""
        header = Header()
        header.stamp.sec = second
        image = images.to_message(np.dstack([PIXELS] * 3), 'rgb8', header, Image)
        labels = images.to_message(PIXELS, 'mono8', header, Image)
        self.callbacks['/camera/image_raw'](image)
        for output in ('labels', 'confidence'):
            self.callbacks[f'/eyes/camera/{output}'](labels)
        self.callbacks['/eyes/camera/detections'](Detection2DArray(header=header))
        info = FrameInfo(header=header, vocabulary_version=version)
        self.callbacks['/eyes/camera/frame_info'](info)


@pytest.fixture
def wire():
    return Wire()


@pytest.fixture
def seen(wire):
    """Second and first class of each frame that is shown, and the watch that shows them."""
    shown, changes = queue.SimpleQueue(), []
    watch = CameraWatch(wire, 'camera', lambda: '', lambda: changes.append(1))
    watch.watchers['test'] = lambda f: shown.put((f.stamp_ns // 10**9, f.classes[0].name))
    while wire.subscribed.get(timeout=30) != '/eyes/camera/frame_info':
        pass
    yield shown, watch, changes
    watch.close()


def test_a_first_frame_of_a_new_run_waits_for_its_vocabulary(wire, seen):
    shown, watch, changes = seen
    wire.frame_publishers = {b'first run'}
    wire.announce('a', 1, 'floor')
    wire.send(1, 1)
    assert shown.get(timeout=30) == (1, 'floor')
    assert not changes

    wire.frame_publishers = {b'first run', b'second run'}  # that of a killed node stays for a while
    wire.send(2, 1)
    assert watch.vocabulary is None  # nor are probabilities named by the old one
    with pytest.raises(queue.Empty):
        shown.get(timeout=0.5)
    wire.announce('b', 1, 'sky')
    assert shown.get(timeout=30) == (2, 'sky')
    assert len(changes) == 1


def test_a_vocabulary_that_came_first_is_asked_for_again(wire, seen):
    """Its publisher may be found before that of the frames."""
    shown, _, changes = seen
    wire.announce('a', 1, 'floor')
    wire.frame_publishers = {b'first run'}
    wire.send(1, 1)
    assert wire.subscribed.get(timeout=30) == '/eyes/camera/vocabulary'
    wire.announce('a', 1, 'floor')  # latched
    assert shown.get(timeout=30) == (1, 'floor')
    wire.send(2, 1)
    assert shown.get(timeout=30) == (2, 'floor')
    assert wire.subscribed.empty()
    assert not changes
