# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The robot's side of the page when the node goes, comes back, and is set up in other ways."""

import signal
import threading
import time

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='no ROS here: the node cannot run')

from cameras_with_depth import RELIABLE_INPUTS, TOPICS, DepthCamera
from harness import BEST_EFFORT, RELIABLE, NodeProcess, Peer, numbered_frame, ticking
from live import PARAMETERS, PERIOD_S, PROMPTS_BEFORE, Viewer, picture, until
from sensor_msgs.msg import CompressedImage, Image

from clip_dinoiser_ros.frames import compressed
from clip_dinoiser_ros.web.robot import RobotSource
from clip_dinoiser_ros.web.source import RefusedError


@pytest.fixture
def source():
    source = RobotSource()
    yield source
    source.close()


def test_a_node_that_is_not_there(source):
    begun = time.monotonic()
    for ask in (source.cameras, source.settings, source.class_ids):
        with pytest.raises(RefusedError, match='nothing is heard of /clip_dinoiser'):
            ask()
    with pytest.raises(RefusedError, match='nothing is heard of'):
        source.change({'max_rate': 1.0})
    assert time.monotonic() - begun < 20
    until(lambda: source.status('camera').summary.startswith('nothing heard of /clip_dinoiser'))
    assert source.status('camera').level == 3


@pytest.mark.long
def test_a_killed_node_is_found_again(source, tmp_path):
    told = threading.Event()
    source.on_change(told.set)
    with Viewer(source) as viewer, Peer() as peer:
        publisher = peer.node.create_publisher(Image, '/camera/image_raw', RELIABLE)
        for words in (PROMPTS_BEFORE, ('sky', 'grass', 'background')):
            told.clear()
            parameters = {**PARAMETERS, 'prompts': list(words)}
            with (
                NodeProcess(parameters, tmp_path) as node,
                ticking(lambda i: publisher.publish(numbered_frame(picture(), i)), PERIOD_S),
            ):
                frame = viewer.next()
                assert shown_names(frame) == words  # from the first frame on
                assert frame.labels.shape == (240, 320)
                assert told.wait(10)
                until(lambda: 'labels/s' in source.status('camera').summary)
                assert source.settings()['prompts'] == words
                node.process.send_signal(signal.SIGKILL)
                node.process.wait(30)
                silent = until(lambda: s if (s := source.status('camera')).level == 3 else None)
                assert silent.summary.startswith('nothing heard of /clip_dinoiser for')
                viewer.forget()


@pytest.mark.long
def test_a_node_in_a_namespace_with_compressed_images_and_depth(tmp_path):
    parameters = {
        **PARAMETERS,
        **TOPICS,
        **RELIABLE_INPUTS,
        'camera.transport': 'compressed',
        'confidence_encoding': '32FC1',
        'output_scale': 0.5,
        'services': False,
    }
    source = RobotSource('/robot1/clip_dinoiser')
    image = np.ascontiguousarray(picture()[:160, :208])
    jpeg = bytes(compressed.encode_jpeg(image))
    namespace = ['-r', '__ns:=/robot1']
    with NodeProcess(parameters, tmp_path, namespace) as node, Peer() as peer:
        node.wait_for_log('active; waiting for images')
        topic = '/robot1/camera/image_raw/compressed'
        publisher = peer.node.create_publisher(CompressedImage, topic, BEST_EFFORT)
        camera = DepthCamera(peer)

        def send(index):
            camera.send_info()
            camera.send_depth(index, 2.0)
            header = numbered_frame(image, index).header
            publisher.publish(CompressedImage(header=header, format='jpeg', data=jpeg))

        with ticking(send, PERIOD_S), Viewer(source) as viewer:
            frame = viewer.next(lambda f: f.objects and f.objects[0].distance)
            with pytest.raises(RefusedError, match='parameter services may be false'):
                source.segment(image, ['sky'], '')
        source.close()
    np.testing.assert_array_equal(frame.image, compressed.decode(jpeg))
    assert frame.labels.shape == frame.confidence.shape == (80, 104)
    assert frame.confidence.max() <= 1
    assert all(2.0 <= one.distance < 3.0 for one in frame.objects)


def shown_names(frame):
    return tuple(c.name for c in frame.classes)
