# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Labelled clouds, live: paired by stamp, never holding up the labels."""

import re

import numpy as np
import pytest
from cameras_with_depth import INTRINSICS, RELIABLE_INPUTS, TOPICS, DepthCamera
from cloud_reader import read_cloud
from golden_data import golden
from harness import NAME, NodeProcess, Peer, array
from sensor_msgs.msg import CameraInfo, PointCloud2

IMAGE = golden('image_160x208_plain')['image']


@pytest.fixture(scope='module')
def node(parameters, tmp_path_factory):
    folder = tmp_path_factory.mktemp('node')
    with NodeProcess({**parameters, **TOPICS, **RELIABLE_INPUTS}, folder) as process:
        process.wait_for_log(
            f'waiting for images on /camera/image_raw, {TOPICS["camera.camera_info_topic"]}'
        )
        yield process
        assert process.end() == 0, process.log
        assert 'Traceback' not in process.log


@pytest.fixture(scope='module')
def rig(node):
    """A peer that hears the clouds, and its camera; `next` counts frames on."""
    with Peer() as peer:
        peer.listen()
        peer.hear('points', PointCloud2)
        peer.hear('camera_info', CameraInfo)
        camera = DepthCamera(peer)
        first = camera.connect(IMAGE, 1000)
        yield peer, camera, iter(range(first, first + 1000))


def cloud_at(peer, index):
    """The points of frame `index`, once they have come."""
    return read_cloud(peer.of_frame('points', index))


def test_a_cloud_comes_with_its_labels(rig):
    peer, camera, frames = rig
    index = next(frames)
    camera.send_depth(index, 2.5, offset_ms=-30)
    camera.send_depth(index, 3.5, offset_ms=20)
    sent = peer.send(IMAGE, index)
    message, points = peer.of_frame('points', index), cloud_at(peer, index)
    assert message.header == sent.header
    assert points.shape == IMAGE.shape[:2]
    assert (points['z'] == 3.5).all()
    rows, columns = np.indices(points.shape)
    u = points['x'] / points['z'] * INTRINSICS.fx + INTRINSICS.cx
    v = points['y'] / points['z'] * INTRINSICS.fy + INTRINSICS.cy
    np.testing.assert_allclose(u, columns, atol=1e-3)
    np.testing.assert_allclose(v, rows, atol=1e-3)
    np.testing.assert_array_equal(points['label'], array(peer.of_frame('labels', index)))
    confidence = array(peer.of_frame('confidence', index)) / 255
    np.testing.assert_allclose(points['confidence'], confidence, atol=0.5 / 255 + 1e-4)
    rgb = points['rgb'].view(np.uint32)[..., None] >> np.array([16, 8, 0], np.uint32) & 255
    np.testing.assert_array_equal(rgb, IMAGE)


def test_camera_info_comes_with_every_frame(rig):
    peer, _, frames = rig
    index = next(frames)
    sent = peer.send(IMAGE, index)
    info = peer.of_frame('camera_info', index)
    assert info.header == sent.header
    assert (info.height, info.width) == (160, 208)
    np.testing.assert_allclose(info.k, INTRINSICS.matrix().ravel())


def test_depth_that_comes_after_the_labels(rig):
    peer, camera, frames = rig
    index = next(frames)
    peer.send(IMAGE, index)
    peer.of_frame('frame_info', index)
    camera.send_depth(index, 4.5, offset_ms=3)
    assert (cloud_at(peer, index)['z'] == 4.5).all()


def test_depth_out_of_order(rig):
    peer, camera, frames = rig
    index = next(frames)
    for offset_ms in (66, -33, 0, 33, -66):
        camera.send_depth(index, 10 + offset_ms / 100, offset_ms)
    peer.send(IMAGE, index)
    assert (cloud_at(peer, index)['z'] == 10).all()


def test_depth_half_a_second_off_makes_no_cloud_and_holds_nothing_up(node, rig):
    peer, camera, frames = rig
    off = [next(frames) for _ in range(3)]
    for index in off:
        camera.send_depth(index, 6.0, offset_ms=500)
        peer.send(IMAGE, index)
        peer.of_frame('labels', index)
        peer.of_frame('frame_info', index)
    index = next(frames)
    camera.send_depth(index, 7.0)
    peer.send(IMAGE, index)
    assert (cloud_at(peer, index)['z'] == 7.0).all()
    assert not [m for m in peer.messages('points') if m.header.stamp.sec in off]
    # the node says it at most once a second, and may just have said something else
    for index in frames:
        if 'camera: no cloud: the nearest depth image on /camera/depth/image_rect is ' in node.log:
            break
        camera.send_depth(index, 6.0, offset_ms=500)
        peer.send(IMAGE, index)
        peer.of_frame('frame_info', index)
    # 500 ms, or more to an older one where that came too late
    gaps = re.findall(r'is (\d+) ms from the image; sync_tolerance_ms is 100', node.log)
    assert gaps
    assert all(int(gap) >= 500 for gap in gaps)


def test_compact_and_the_tolerance_are_set_at_runtime(rig):
    peer, camera, frames = rig
    results = peer.set(cloud='compact', sync_tolerance_ms=600.0)
    assert all(result.successful for result in results)
    index = next(frames)
    camera.send_depth(index, 5.0, offset_ms=500)
    peer.send(IMAGE, index)
    message = peer.of_frame('points', index)
    assert (message.height, message.width, message.is_dense) == (1, 160 * 208, True)
    (refused,) = peer.set(cloud='round')
    assert refused.reason == "cloud is 'round'; allowed: organised, compact"
    peer.set(cloud='organised', sync_tolerance_ms=100.0)


def test_a_clock_that_is_set_back(rig):
    """Depth of the time before may not stay in the way; the frames of a bag begin anew."""
    peer, camera, _ = rig
    for index in (5, 6):
        camera.send_depth(index, index / 10)
        peer.send(IMAGE, index)
        assert np.allclose(cloud_at(peer, index)['z'], index / 10)


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'camera.camera_info_topic': ''}, 'camera.camera_info_topic is empty; points need both'),
        ({'camera.depth_topic': 'no topic!'}, "camera.depth_topic is 'no topic!'"),
    ],
)
def test_topics_that_cannot_be_used(parameters, tmp_path, changes, words):
    with NodeProcess({**parameters, **TOPICS, **changes}, tmp_path) as process:
        process.wait_for_log('cannot configure: ')
        assert words in process.log
        assert process.end() == 0


def test_without_depth_there_is_no_topic_for_points(parameters, tmp_path):
    inputs = {'cameras': ['bare'], 'bare.camera_info_topic': '/bare/camera_info'}
    with NodeProcess({**parameters, **inputs}, tmp_path) as process, Peer() as peer:
        process.wait_for_log('waiting for images on /bare/image_raw, /bare/camera_info')
        peer.listen('bare')
        peer.until(lambda: peer.node.count_publishers(f'{NAME}/bare/camera_info'))
        assert not peer.node.count_publishers(f'{NAME}/bare/points')
