# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Compressed depth, live, beside a CameraInfo that says little; and topics of another type."""

import gzip
import struct

import depth_encoder
import numpy as np
import pytest
from builtin_interfaces.msg import Time
from cloud_reader import read_cloud
from golden_data import golden
from harness import LATCHED, RELIABLE, NodeProcess, Peer
from operating import Operator, values
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from std_msgs.msg import Header, String

IMAGE = golden('image_160x208_plain')['image']
BASE, INFO = '/camera/depth/image_rect', '/camera/camera_info'
# fx, fy, cx, cy of the image 208x160
FX, FY, CX, CY = 190.0, 185.0, 101.5, 83.0
WARN = b'\x01'


def depth_parameters(topic):
    reliable = {
        f'qos_overrides.{name}.subscription.reliability': 'reliable'
        for name in ('/camera/image_raw', topic, INFO)
    }
    return {'camera.depth_topic': topic, 'camera.camera_info_topic': INFO, **reliable}


def packed(metres, index, form):
    """Depth, everywhere the same, of frame `index`."""
    stamp = Header(stamp=Time(sec=index, nanosec=123456789), frame_id=f'lens_{index}')
    if form == '16UC1; png compressed ':
        data = depth_encoder.cv2.imencode('.png', np.full((160, 208), 1000 * metres, np.uint16))[1]
        return CompressedImage(header=stamp, format=form, data=data.tobytes())
    if form == 'zstd':
        raw = np.full((160, 208), metres, '<f4').tobytes()
        fields = struct.pack('<IIBII', 160, 208, 0, 4 * 208, 5) + b'32FC1'
        return CompressedImage(header=stamp, format=form, data=fields + gzip.compress(raw))
    encoding, codec = form.split('; compressedDepth ')
    depth = np.full((160, 208), metres, np.float32)
    if encoding == '16UC1':
        depth = np.round(1000 * depth).astype(np.uint16)
    form_made, data = depth_encoder.compressed_depth(depth, codec)
    assert form_made == form
    return CompressedImage(header=stamp, format=form, data=data)


def first_cloud(peer, publishers, info, depth_of, index=1000):
    """Send everything of a frame, again and again, until a cloud comes; return it."""
    for attempt in range(index, index + 60):
        publishers[INFO].publish(info)
        for topic, publisher in publishers.items():
            if topic != INFO:
                publisher.publish(depth_of(attempt))
        peer.send(IMAGE, attempt)
        peer.of_frame('frame_info', attempt)
        try:
            peer.until(lambda: peer.messages('points'), timeout_s=1.0)
            return peer.messages('points')[0]
        except AssertionError:
            continue
    raise AssertionError('no cloud comes')


@pytest.mark.parametrize(
    ('topic', 'form'),
    [
        (f'{BASE}/compressedDepth', '16UC1; compressedDepth png'),
        (f'{BASE}/compressedDepth', '32FC1; compressedDepth rvl'),
        (f'{BASE}/zstd', 'zstd'),
        (f'{BASE[1:]}/compressed', '16UC1; png compressed '),  # the first slash is left out
    ],
)
def test_clouds_of_compressed_depth(parameters, tmp_path, topic, form):
    """CameraInfo has P alone and no size, and the labels are half as large as the image."""
    full = '/' + topic.lstrip('/')
    inputs = {**depth_parameters(full), 'camera.depth_topic': topic, 'output_scale': 0.5}
    with NodeProcess({**parameters, **inputs}, tmp_path) as node, Peer() as peer:
        node.wait_for_log(f'waiting for images on /camera/image_raw, {INFO}, {full}')
        peer.listen()
        peer.hear('points', PointCloud2)
        peer.hear('camera_info', CameraInfo)
        publishers = {
            full: peer.node.create_publisher(CompressedImage, full, RELIABLE),
            INFO: peer.node.create_publisher(CameraInfo, INFO, RELIABLE),
        }
        for publisher in publishers.values():
            peer.until(lambda p=publisher: p.get_subscription_count() == 1)
        info = CameraInfo(p=[FX, 0.0, CX, 0.0, 0.0, FY, CY, 0.0, 0.0, 0.0, 1.0, 0.0])
        cloud = first_cloud(peer, publishers, info, lambda index: packed(2.5, index, form))
        points = read_cloud(cloud)
        assert points.shape == (80, 104)
        np.testing.assert_allclose(points['z'], 2.5, atol=1e-3)
        rows, columns = np.indices(points.shape)  # each the middle of two of the image
        u = points['x'] / points['z'] * FX + CX
        v = points['y'] / points['z'] * FY + CY
        np.testing.assert_allclose(u, 2 * columns + 0.5, atol=1e-3)
        np.testing.assert_allclose(v, 2 * rows + 0.5, atol=1e-3)
        made = peer.messages('camera_info')[0]
        assert (made.height, made.width) == (80, 104)
        np.testing.assert_allclose(made.k[0], FX / 2)
        assert node.end() == 0
        assert 'Traceback' not in node.log


def test_topics_of_another_type_are_named(parameters, tmp_path):
    """The labels go on; log and diagnostics name both topics."""
    inputs = {**depth_parameters(BASE), 'diagnostics_period': 0.2}
    with NodeProcess({**parameters, **inputs}, tmp_path) as node, Operator() as peer:
        node.wait_for_log('active; waiting')
        peer.listen()
        peer.send(IMAGE, 1)
        peer.of_frame('labels', 1)
        assert peer.in_state('camera', 'active').level == b'\0'
        depth = peer.node.create_publisher(CompressedImage, BASE, RELIABLE)
        info = peer.node.create_publisher(String, INFO, RELIABLE)
        wrong_info = f'std_msgs/msg/String is published on {INFO}, not sensor_msgs/msg/CameraInfo'
        wrong_depth = (
            f'sensor_msgs/msg/CompressedImage is published on {BASE}, not sensor_msgs/msg/Image'
        )

        def both_named(status):
            return wrong_info in status.message and wrong_depth in status.message

        status = peer.status('camera', lambda s: both_named(s) and values(s)['state'] == 'active')
        assert (status.level, status.message) == (WARN, f'active: {wrong_info}; {wrong_depth}')
        for text, key in ((wrong_info, 'camera_info_topic'), (wrong_depth, 'depth_topic')):
            node.wait_for_log(f'{text}; no message will come from it; check camera.{key}')
        peer.node.destroy_publisher(depth)
        peer.node.destroy_publisher(info)
        peer.status('camera', lambda s: wrong_info not in s.message and s.level != WARN)
        assert node.log.count(wrong_info) == 1  # once, not every second
        assert node.end() == 0


def test_types_are_named_in_the_log_without_diagnostics(parameters, tmp_path):
    inputs = {**depth_parameters(BASE), 'diagnostics_period': 0.0}
    with NodeProcess({**parameters, **inputs}, tmp_path) as node, Peer() as peer:
        node.wait_for_log('active; waiting')
        peer.node.create_publisher(Image, INFO, RELIABLE)
        node.wait_for_log(f'sensor_msgs/msg/Image is published on {INFO}, not')
        peer.node.create_publisher(CompressedImage, '/camera/image_raw', RELIABLE)
        node.wait_for_log('check camera.image_topic and camera.transport')
        assert node.end() == 0


def test_a_camera_info_that_was_published_before(parameters, tmp_path):
    """Once and latched: a QoS override of the durability brings it."""
    override = {f'qos_overrides.{INFO}.subscription.durability': 'transient_local'}
    reliable = {f'qos_overrides.{INFO}.subscription.reliability': 'reliable'}
    inputs = {'camera.camera_info_topic': INFO, **override, **reliable}
    with Peer() as peer:
        publisher = peer.node.create_publisher(CameraInfo, INFO, LATCHED)
        publisher.publish(CameraInfo(k=[FX, 0.0, CX, 0.0, FY, CY, 0.0, 0.0, 1.0]))
        with NodeProcess({**parameters, **inputs}, tmp_path) as node:
            node.wait_for_log('active; waiting')
            peer.listen()
            peer.hear('camera_info', CameraInfo)
            (info,) = peer.send_until(IMAGE, 1, 'camera_info')
            np.testing.assert_allclose(info.k[0], FX)
            assert node.end() == 0
