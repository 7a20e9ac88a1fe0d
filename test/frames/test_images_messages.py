# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Messages: live and recorded ones, there and back; what is imported; what cv_bridge is for."""

import subprocess
import sys
import time
from types import ModuleType

import numpy as np
import pytest
from rosbags.typesys import Stores, get_typestore

from clip_dinoiser_ros.frames.images import SUPPORTED, ImageError, to_message, to_rgb

STORE = get_typestore(Stores.ROS2_JAZZY)
RANDOM = np.random.default_rng(5)
ARRAYS = {
    'mono8': RANDOM.integers(0, 256, (5, 7), dtype=np.uint8),
    'mono16': RANDOM.integers(0, 65536, (5, 7), dtype=np.uint16),
    '32FC1': RANDOM.random((5, 7), dtype=np.float32),
    '32FC150': RANDOM.random((5, 7, 150), dtype=np.float32),
    'rgb8': RANDOM.integers(0, 256, (5, 7, 3), dtype=np.uint8),
}
PIXEL_BYTES = {'mono8': 1, 'mono16': 2, '32FC1': 4, '32FC150': 600, 'rgb8': 3}


def recorded_type():
    stamp = STORE.types['builtin_interfaces/msg/Time'](sec=3, nanosec=4)
    header = STORE.types['std_msgs/msg/Header'](stamp=stamp, frame_id='front')
    return STORE.types['sensor_msgs/msg/Image'], header


def live_type():
    reason = 'rclpy is not installed: live messages are not tested'
    pytest.importorskip('rclpy', reason=reason)
    from builtin_interfaces.msg import Time
    from sensor_msgs.msg import Image
    from std_msgs.msg import Header

    return Image, Header(stamp=Time(sec=3, nanosec=4), frame_id='front')


def through_the_wire(message):
    """Serialise and read again, each kind with its own serialiser."""
    if hasattr(message, '__msgtype__'):
        name = 'sensor_msgs/msg/Image'
        return STORE.deserialize_cdr(STORE.serialize_cdr(message, name), name)
    from rclpy.serialization import deserialize_message, serialize_message

    return deserialize_message(serialize_message(message), type(message))


@pytest.mark.parametrize('kind', [live_type, recorded_type])
@pytest.mark.parametrize('encoding', ARRAYS)
@pytest.mark.parametrize('contiguous', [True, False])
def test_message_round_trip(kind, encoding, contiguous):
    image_type, header = kind()
    array = ARRAYS[encoding] if contiguous else ARRAYS[encoding][:, ::-1]
    message = to_message(array, encoding, header, image_type)
    assert isinstance(message, image_type)
    assert message.header is header
    message = through_the_wire(message)
    assert message.header == header
    assert (message.height, message.width, message.encoding) == (5, 7, encoding)
    assert (message.is_bigendian, message.step) == (0, 7 * PIXEL_BYTES[encoding])
    little_endian = array.dtype.newbyteorder('<')
    again = np.frombuffer(message.data, little_endian).reshape(array.shape)
    np.testing.assert_array_equal(again, array)
    if encoding in SUPPORTED:
        level = np.rint(array / 257) if encoding == 'mono16' else array
        rgb = level if encoding == 'rgb8' else np.stack([level] * 3, axis=-1)
        np.testing.assert_array_equal(to_rgb(message), rgb)


@pytest.mark.parametrize('kind', [live_type, recorded_type])
def test_rgb8_is_read_without_a_copy(kind):
    image_type, header = kind()
    message = through_the_wire(to_message(ARRAYS['rgb8'], 'rgb8', header, image_type))
    assert np.shares_memory(to_rgb(message), np.frombuffer(message.data, np.uint8))


def test_a_recorded_message_shares_the_array():
    image_type, header = recorded_type()
    message = to_message(ARRAYS['mono16'], 'mono16', header, image_type)
    assert np.shares_memory(message.data, ARRAYS['mono16'])


def test_a_live_message_is_filled_fast():
    image_type, header = live_type()
    frame = np.zeros((1080, 1920, 3), np.uint8)
    times_ms = []
    for _ in range(5):
        start = time.perf_counter()
        message = to_message(frame, 'rgb8', header, image_type)
        times_ms.append((time.perf_counter() - start) * 1000)
        assert len(message.data) == frame.size
    assert min(times_ms) < 30  # copying takes about 1, walking the bytes more than 100


@pytest.mark.parametrize(
    ('array', 'encoding', 'parts'),
    [
        (ARRAYS['rgb8'], 'bgr8', ["'bgr8'", 'mono8, mono16, 32FC1, rgb8, 32FCk']),
        (ARRAYS['32FC1'], '32FC0', ["'32FC0'", '32FCk']),
        (ARRAYS['32FC150'], '32FC149', ['(5, 7, 150)', 'float32 (H, W, 149)']),
        (ARRAYS['mono16'], 'mono8', ['uint16 (5, 7) as mono8', 'uint8 (H, W)']),
        (ARRAYS['mono8'], 'mono16', ['uint8 (5, 7) as mono16', 'uint16 (H, W)']),
        (ARRAYS['mono16'].astype('>u2'), 'mono16', ['>u2', 'uint16 (H, W)']),
        (ARRAYS['32FC1'].astype(float), '32FC1', ['float64', 'float32 (H, W)']),
        (ARRAYS['rgb8'], 'mono8', ['(5, 7, 3)', 'uint8 (H, W)']),
        (ARRAYS['mono8'], 'rgb8', ['(5, 7)', 'uint8 (H, W, 3)']),
        (ARRAYS['rgb8'][..., :2], 'rgb8', ['(5, 7, 2)', 'uint8 (H, W, 3)']),
        (ARRAYS['mono8'][0], 'mono8', ['(7,)', 'uint8 (H, W)']),
        (ARRAYS['mono8'][:0], 'mono8', ['(0, 7)', 'at least 1']),
    ],
)
def test_refuses_to_write_what_does_not_fit(array, encoding, parts):
    image_type, header = recorded_type()
    with pytest.raises(ImageError) as caught:
        to_message(array, encoding, header, image_type)
    for part in parts:
        assert part in str(caught.value)


def test_importing_loads_nothing_of_ros():
    code = (
        'import sys, clip_dinoiser_ros.frames.images\n'
        'ros = ("rclpy", "sensor_msgs", "std_msgs", "cv_bridge", "rosbags")\n'
        'sys.exit(", ".join(name for name in ros if name in sys.modules) or 0)'
    )
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def unknown(encoding='16SC3', step=18, length=36):
    image_type, header = recorded_type()
    message = to_message(np.zeros((2, 3), np.uint8), 'mono8', header, image_type)
    message.encoding, message.step, message.data = encoding, step, np.zeros(length, np.uint8)
    return message


@pytest.fixture
def bridge(monkeypatch):
    """A stand-in for cv_bridge, which no wheel provides: it shows when and how it is asked.

    It is not cv_bridge: what the real one makes of an image is compared below, where there is one.
    """

    class CvBridge:
        asked: tuple = ()
        answer: object = np.full((2, 3, 3), 9, np.uint8)

        def encoding_to_dtype_with_channels(self, encoding):
            return 'uint16', 3

        def imgmsg_to_cv2(self, message, desired_encoding):
            CvBridge.asked = (message, desired_encoding)
            if isinstance(self.answer, Exception):
                raise self.answer
            return self.answer

    module = ModuleType('cv_bridge')
    module.CvBridge = CvBridge
    monkeypatch.setitem(sys.modules, 'cv_bridge', module)
    return CvBridge


def test_an_unknown_encoding_is_named_without_cv_bridge(monkeypatch):
    monkeypatch.setitem(sys.modules, 'cv_bridge', None)  # importing it fails
    with pytest.raises(ImageError, match=r"'16SC3'.*one of rgb8, bgr8.*nv24.*install cv_bridge"):
        to_rgb(unknown())


def test_an_unknown_encoding_is_left_to_cv_bridge(bridge):
    message = unknown()
    image = to_rgb(message)
    assert bridge.asked[0] is message
    assert bridge.asked[1] == 'rgb8'
    np.testing.assert_array_equal(image, bridge.answer)


def test_a_known_encoding_is_not(bridge):
    to_rgb(unknown('bgr8'))
    assert not bridge.asked


@pytest.mark.parametrize(
    ('changes', 'text'),
    [
        ({'length': 35}, '^data of 35 bytes.*at least 36'),
        ({'step': 17}, "^step 17.*'16SC3' takes at least 18"),
        ({'step': 20, 'length': 40}, '^step 20.*multiple of 6'),
        ({'encoding': 'x' * 33}, 'cannot decode'),
    ],
)
def test_a_bad_message_never_reaches_cv_bridge(bridge, changes, text):
    with pytest.raises(ImageError, match=text):
        to_rgb(unknown(**changes))
    assert not bridge.asked


@pytest.mark.parametrize(
    ('answer', 'text'),
    [
        (TypeError('buffer is too small'), "'16SC3'.*buffer is too small"),
        (RuntimeError('no conversion'), 'no conversion'),
        (np.zeros((2, 2, 3), np.uint8), r'\(2, 2, 3\).*allowed: uint8 \(2, 3, 3\)'),
        (np.zeros((2, 3, 3), np.uint16), 'uint16.*allowed: uint8'),
        (None, 'object.*allowed: uint8'),
    ],
)
def test_whatever_cv_bridge_does_wrong_is_an_image_error(bridge, answer, text):
    bridge.answer = answer
    with pytest.raises(ImageError, match=text):
        to_rgb(unknown())


def test_agrees_with_the_real_cv_bridge():
    reason = 'cv_bridge is not installed (there is no wheel): not compared'
    cv_bridge = pytest.importorskip('cv_bridge', reason=reason, exc_type=ImportError)
    image_type, header = recorded_type()
    message = to_message(ARRAYS['rgb8'], 'rgb8', header, image_type)
    for encoding in ('rgb8', 'bgr8', 'bayer_rggb8', 'bayer_gbrg8'):
        message.encoding = encoding
        expected = cv_bridge.CvBridge().imgmsg_to_cv2(message, 'rgb8')
        np.testing.assert_array_equal(to_rgb(message), expected)
    message.encoding, message.width, message.step = 'rgb16', 3, 18
    assert to_rgb(message).shape == (5, 3, 3)
