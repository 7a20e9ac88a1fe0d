# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""What only counting calls can show of clouds and sizes: no needless work, nothing that grows."""

import time

import pytest
from cameras_with_depth import TOPICS, DepthCamera
from golden_data import golden
from harness import Peer
from sensor_msgs.msg import CameraInfo, PointCloud2
from vision_msgs.msg import Detection3DArray
from visualization_msgs.msg import MarkerArray

from clip_dinoiser_ros.core import segmentation
from clip_dinoiser_ros.frames import cloud_messages as module
from clip_dinoiser_ros.frames import process
from clip_dinoiser_ros.node import clouds as clouds_module
from clip_dinoiser_ros.node.depth import MAX_EXPECTED, RING_LENGTH

IMAGE = golden('image_160x208_plain')['image']


@pytest.fixture
def inputs():
    return TOPICS


@pytest.fixture
def calls(monkeypatch):
    """Names of what was called of the work for clouds and CameraInfo."""
    made = []
    for name in ('make_cloud', 'matrices'):
        real = getattr(module, name)
        monkeypatch.setattr(
            module, name, lambda *a, n=name, f=real, **k: (made.append(n), f(*a, **k))[1]
        )
    real_depth = module.images.to_depth
    monkeypatch.setattr(
        module.images, 'to_depth', lambda *a: (made.append('to_depth'), real_depth(*a))[1]
    )
    return made


def listeners(node, output):
    return node._pipeline.publishers['camera']._publishers[output].get_subscription_count()


def send(peer, camera, index):
    camera.send_info()
    camera.send_depth(index, 1.0)
    peer.send(IMAGE, index)
    peer.of_frame('frame_info', index)


def test_no_cloud_and_no_camera_info_is_made_without_a_listener(active_node, calls):
    clouds = active_node._pipeline.publishers['camera'].clouds
    with Peer() as peer:
        peer.listen()
        camera = DepthCamera(peer)
        for index in range(1, 5):
            send(peer, camera, index)
        peer.until(lambda: len(clouds.depth))  # depth does arrive
        assert calls == []
        points = peer.hear('points', PointCloud2)
        peer.until(lambda: listeners(active_node, 'points') == 1)
        first = camera.connect(IMAGE, 10)
        assert {'make_cloud', 'to_depth', 'matrices'} == set(calls)
        peer.node.destroy_subscription(points)
        peer.until(lambda: listeners(active_node, 'points') == 0)
        send(peer, camera, first)
        calls.clear()
        send(peer, camera, first + 1)
        assert calls == []
        assert not clouds._waiting

        peer.hear('camera_info', CameraInfo)
        peer.until(lambda: listeners(active_node, 'camera_info') == 1)
        send(peer, camera, first + 2)
        peer.of_frame('camera_info', first + 2)
        assert calls == ['matrices']


def test_no_object_is_located_without_a_listener(active_node, monkeypatch):
    """Once for both outputs; without depth for neither."""
    located, found = [], []
    locate, find = clouds_module.locate, process.find_objects
    monkeypatch.setattr(
        clouds_module, 'locate', lambda *a, **k: located.append(1) or locate(*a, **k)
    )
    monkeypatch.setattr(process, 'find_objects', lambda *a: found.append(1) or find(*a))
    clouds = active_node._pipeline.publishers['camera'].clouds
    with Peer() as peer:
        peer.listen()
        points = peer.hear('points', PointCloud2)  # tells that images, depth and info arrive
        camera = DepthCamera(peer)
        first = camera.connect(IMAGE, 1)
        assert (located, found) == ([], [])
        peer.node.destroy_subscription(points)
        heard = {
            name: peer.hear(name, kind)
            for name, kind in (('detections_3d', Detection3DArray), ('markers', MarkerArray))
        }
        peer.until(lambda: all(listeners(active_node, name) == 1 for name in heard))
        send(peer, camera, first)
        peer.of_frame('detections_3d', first)
        peer.until(lambda: peer.messages('markers'))
        assert (located, found) == ([1], [1])
        for listener in heard.values():
            peer.node.destroy_subscription(listener)
        peer.until(lambda: not any(listeners(active_node, name) for name in heard))
        send(peer, camera, first + 1)
        send(peer, camera, first + 2)
        assert (located, found) == ([1], [1])
        assert not clouds._objects


def test_depth_without_end_does_not_grow(active_node, monkeypatch):
    clouds = active_node._pipeline.publishers['camera'].clouds
    came, put = [], clouds.depth.put
    monkeypatch.setattr(clouds.depth, 'put', lambda depth: came.append(1) or put(depth))
    with Peer() as peer:
        peer.listen()
        peer.hear('points', PointCloud2)
        camera = DepthCamera(peer)
        first = camera.connect(IMAGE, 10)
        step = 0
        while len(came) < 10 * RING_LENGTH:  # some are lost: best effort
            camera.send_depth(first, 1.0, offset_ms=33 * step)
            assert len(clouds.depth) <= RING_LENGTH + MAX_EXPECTED
            step += 1
            time.sleep(0.002)
        camera.connect(IMAGE, first + step)
        assert RING_LENGTH <= len(clouds.depth) <= RING_LENGTH + MAX_EXPECTED


def test_depth_and_intrinsics_are_forgotten_on_deactivate(active_node):
    clouds = active_node._pipeline.publishers['camera'].clouds
    with Peer() as peer:
        peer.listen()
        peer.hear('points', PointCloud2)
        DepthCamera(peer).connect(IMAGE, 10)
        assert len(clouds.depth)
        assert peer.change_state('deactivate')
        assert peer.change_state('activate')
        assert not len(clouds.depth)
        assert clouds.camera_info(None, (160, 208)) is None


def test_labels_are_computed_at_the_size_in_which_they_are_published(active_node, monkeypatch):
    sizes, enlarge = [], segmentation.enlarge
    monkeypatch.setattr(
        segmentation, 'enlarge', lambda p, size, *a: sizes.append(size) or enlarge(p, size, *a)
    )
    with Peer() as peer:
        peer.listen()
        peer.connect()
        assert peer.set(output_scale=0.25)[0].successful
        peer.send(IMAGE, 1)
        peer.of_frame('frame_info', 1)
    assert (40, 52) in sizes
    assert (160, 208) not in sizes
