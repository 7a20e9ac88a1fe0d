# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""A camera that sends JPEG or PNG, over DDS."""

import gzip
import struct
import time
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import rclpy
from builtin_interfaces.msg import Time
from harness import NodeProcess, array
from rclpy.parameter import Parameter
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import Header

from clip_dinoiser_ros.frames import compressed
from clip_dinoiser_ros.node import parameters as node_parameters

NOISE = np.random.default_rng(0).integers(0, 256, (250, 250, 3), np.uint8)
TOPIC = '/camera/image_raw/compressed'  # what image_transport makes of the default


@pytest.fixture(scope='module')
def node(parameters, tmp_path_factory):
    """An active node that reads compressed images; `peer` listens to it."""
    folder = tmp_path_factory.mktemp('compressed')
    values = {'camera.transport': 'compressed', 'max_pixels': 100_000, 'max_bytes': 150_000}
    with NodeProcess({**parameters, **values}, folder) as process:
        process.wait_for_log(f'active; waiting for images on {TOPIC}')
        yield process
        assert process.end() == 0, process.log
        assert 'Traceback' not in process.log


def encoded(image, kind):
    """`image` is RGB or grey."""
    return cv2.imencode(f'.{kind}', image[..., ::-1] if image.ndim == 3 else image)[1].tobytes()


def send(peer, data, index, kind='jpeg', form='rgb8; {} compressed bgr8'):
    header = Header(stamp=Time(sec=index), frame_id=f'lens_{index}')
    message = CompressedImage(header=header, format=form.format(kind))
    message.data.frombytes(data)
    peer.send_message(message, TOPIC)
    return header


@pytest.mark.parametrize(
    ('transport', 'given', 'remapped', 'topic'),
    [
        ('compressed', None, None, '/front/image_raw/compressed'),
        ('compressed', '/rig/front/image', None, '/rig/front/image/compressed'),
        ('compressed', '/rig/front/image/compressed', None, '/rig/front/image/compressed'),
        ('raw', '/rig/front/image', None, '/rig/front/image'),
        ('compressed', None, 'front/image_raw:=/rig/left', '/rig/left/compressed'),
        ('compressed', None, 'front/image_raw/compressed:=/rig/jpeg', '/rig/jpeg'),
        ('raw', None, 'front/image_raw:=/rig/left', '/rig/left'),
    ],
)
def test_the_topic_is_named_as_image_transport_names_it(transport, given, remapped, topic):
    values = {'cameras': ['front'], 'front.transport': transport}
    if given:
        values['front.image_topic'] = given
    context = rclpy.Context()
    rclpy.init(context=context)
    overrides = [Parameter(name, value=value) for name, value in values.items()]
    arguments = ['--ros-args', '-r', remapped] if remapped else []
    node = rclpy.create_node(
        'reader', context=context, parameter_overrides=overrides, cli_args=arguments
    )
    try:
        node_parameters.declare_parameters(node)
        (camera,) = node_parameters.read_configuration(node).cameras
        subscribed = node.resolve_topic_name(camera.image_topic)
    finally:
        node.destroy_node()
        context.try_shutdown()
    assert (subscribed, camera.transport) == (topic, transport)


@pytest.mark.parametrize(('kind', 'index'), [('jpg', 1), ('png', 2)])
def test_jpeg_and_png_are_segmented(peer, image, golden_segmenter, golden_prompts, kind, index):
    data = encoded(image, kind)
    header = send(peer, data, index, kind)
    labels = peer.of_frame('labels', index)
    assert labels.header == header
    decoded = compressed.decode(data)
    assert (kind == 'png') == np.array_equal(decoded, image)
    expected = golden_segmenter.segment(decoded, golden_segmenter.encode(golden_prompts)).labels
    np.testing.assert_array_equal(array(labels), expected)


def zstd(image):
    """What image_transport's plugin of that name sends: the fields of an image, a gzip stream."""
    height, width = image.shape[:2]
    fields = struct.pack('<IIBII', height, width, 0, 3 * width, 4)
    return fields + b'rgb8' + gzip.compress(image.tobytes(), mtime=0)


def with_stray_bytes(image):
    """As some webcams send it: the decoder warns of the bytes and finds the restart mark."""
    options = [cv2.IMWRITE_JPEG_RST_INTERVAL, 20]
    data = cv2.imencode('.jpg', image[..., ::-1], options)[1].tobytes()
    place = data.index(b'\xff\xd3')
    return data[:place] + b'\x12\x34' + data[place:]


@pytest.mark.parametrize(
    ('form', 'encode', 'index'),
    [
        ('yuv422_yuy2; jpeg compressed mono8', lambda image: encoded(image[..., 1], 'jpg'), 3),
        ('zstd', zstd, 4),
        ('jpeg', with_stray_bytes, 5),
    ],
)
def test_formats_of_drivers_and_plugins_are_segmented(
    peer, image, golden_segmenter, golden_prompts, form, encode, index
):
    data = encode(image)
    send(peer, data, index, form=form)
    shown = compressed.to_rgb(SimpleNamespace(format=form, data=data))
    grey = shown[..., 0] == shown[..., 1]
    assert grey.all() == ('mono8' in form)
    expected = golden_segmenter.segment(shown, golden_segmenter.encode(golden_prompts)).labels
    np.testing.assert_array_equal(array(peer.of_frame('labels', index)), expected)


def bomb(image):
    """A small PNG whose header promises 10 GB."""
    data = bytearray(encoded(image, 'png'))
    data[16:24] = struct.pack('>II', 60_000, 60_000)
    return bytes(data)


@pytest.mark.parametrize(
    ('damage', 'kind', 'reason'),
    [
        (lambda image: encoded(image, 'jpg')[:-1000], 'jpeg', 'cut off'),
        (lambda image: encoded(image, 'png')[:2000], 'png', 'cut off'),
        (bomb, 'png', '60000x60000 pixels; allowed: 1 to'),
        (lambda _: encoded(np.zeros((400, 300), np.uint8), 'png'), 'png', 'allowed: 1 to 100000'),
        (lambda _: encoded(NOISE, 'png'), 'png', 'bytes; at most 150000 are allowed'),
        (lambda image: b'', 'jpeg', 'no data; the sender could not encode it'),
        (lambda image: image[..., :2].tobytes(), 'jpeg', '66560 bytes are neither JPEG nor'),
        (lambda image: encoded(image, 'png'), 'compressedDepth', 'is depth; only JPEG and PNG'),
    ],
)
def test_damage_is_counted_and_said_and_the_next_is_segmented(
    node, peer, image, damage, kind, reason
):
    before = len(node.lines)
    send(peer, encoded(image, 'jpg'), 10)
    rejected = peer.of_frame('frame_info', 10).frames_rejected
    for index in range(20, 50):
        send(peer, damage(image), 999, kind)
        time.sleep(0.1)  # too soon, and the good frame replaces it
        send(peer, encoded(image, 'jpg'), index)
        info = peer.of_frame('frame_info', index)
        if info.frames_rejected > rejected and reason in ' '.join(node.lines[before:]):
            break  # it may have to be repeated: one line a second is written
    assert info.frames_rejected > rejected
    assert reason in ' '.join(node.lines[before:])
    np.testing.assert_array_equal(
        array(peer.of_frame('labels', index)), array(peer.of_frame('labels', 10))
    )
    assert 999 not in peer.stamps('labels')
