# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Decoding: properties against the slow reference, the Bayer patterns, every refusal, garbage."""

import array
from dataclasses import dataclass, replace
from typing import Any

import image_reference as reference
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clip_dinoiser_ros.frames.images import MAX_PIXELS, SUPPORTED, ImageError, to_rgb

BAYER = ('bayer_rggb8', 'bayer_bggr8', 'bayer_gbrg8', 'bayer_grbg8')
DEEP_BAYER = tuple(name.replace('8', '16') for name in BAYER)
YUV = ('yuv422', 'uyvy', 'yuv422_yuy2', 'yuyv', 'nv12', 'nv21', 'nv24')
EXAMPLES = settings(max_examples=60, deadline=None)


@dataclass
class Image:
    """The fields of sensor_msgs/msg/Image that hold the picture."""

    height: int
    width: int
    encoding: str
    is_bigendian: int
    step: int
    data: Any


def make(encoding, size=(4, 6), padding=0, seed=0, **changes):
    """A valid message of random bytes, padding included; `changes` then break it."""
    height, width = size
    step = reference.row_bytes(encoding, width) + padding
    length = reference.row_count(encoding, height) * step
    data = np.random.default_rng(seed).integers(0, 256, length, dtype=np.uint8)
    return replace(Image(height, width, encoding, 0, step, data), **changes)


@st.composite
def messages(draw, encoding):
    """Valid messages of an encoding: size, padding, byte order, excess data, kind of buffer."""
    height, width = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    if encoding in BAYER + DEEP_BAYER:
        height, width = height + 1, width + 1
    if encoding in YUV and encoding != 'nv24':
        width *= 2
    if encoding in ('nv12', 'nv21'):
        height *= 2
    padding = draw(st.integers(0, 5)) * reference.sample_bytes(encoding)
    message = make(encoding, (height, width), padding, seed=draw(st.integers(0, 2**32)))
    message.is_bigendian = draw(st.sampled_from([0, 1, False, True]))
    excess = np.full(draw(st.integers(0, 20)), 77, np.uint8)
    data = np.concatenate([message.data, excess])
    kind = draw(st.sampled_from(['numpy', 'array', 'bytes', 'unaligned']))
    if kind == 'array':
        message.data = array.array('B', data.tobytes())
    elif kind == 'bytes':
        message.data = data.tobytes()
    else:
        message.data = np.concatenate([data[:1], data])[1:] if kind == 'unaligned' else data
    return message


def assert_decodes(message, tolerance):
    before = bytes(message.data)
    image = to_rgb(message)
    assert image.dtype == np.uint8
    assert image.shape == (message.height, message.width, 3)
    assert image.strides[1:] == (3, 1)
    assert np.abs(image - reference.decode(message)).max() <= tolerance
    assert bytes(message.data) == before


@pytest.mark.parametrize('encoding', SUPPORTED)
@given(st.data())
@EXAMPLES
def test_equals_the_reference(encoding, data):
    # Half a level is rounding; YUV is computed in fixed point, Bayer means are rounded.
    tolerance = 2 if encoding in YUV else 1 if encoding in BAYER + DEEP_BAYER else 0.5
    assert_decodes(data.draw(messages(encoding)), tolerance)


def test_mono16_scales_every_value_to_the_nearest_level():
    values = np.arange(65536, dtype='>u2')
    message = Image(256, 256, 'mono16', 1, 512, values.tobytes())
    expected = [(2 * value + 257) // 514 for value in range(65536)]
    for channel in range(3):
        assert to_rgb(message)[..., channel].ravel().tolist() == expected


@pytest.mark.parametrize('encoding', ['rgb8', '8UC3', 'mono8', 'uyvy', 'nv12', 'bayer_rggb8'])
def test_a_large_padded_image_equals_its_tight_copy(encoding):
    padded = make(encoding, (480, 640), padding=37)
    rows = padded.data.reshape(-1, padded.step)[:, :-37]
    tight = replace(padded, step=padded.step - 37, data=rows.tobytes())
    np.testing.assert_array_equal(to_rgb(padded), to_rgb(tight))


@pytest.mark.parametrize('encoding', ['nv12', 'nv21', 'nv24'])
def test_a_step_that_counts_the_chroma_in(encoding):
    """Some drivers divide the bytes of the whole image by its height."""
    tight = make(encoding, (4, 6))
    image = to_rgb(tight)
    tight.step = len(tight.data) // 4
    np.testing.assert_array_equal(to_rgb(tight), image)
    tight.data = tight.data.tobytes() + b'\0'  # rows of any other length are not guessed
    with pytest.raises(ImageError, match='take at least'):
        to_rgb(tight)


def test_rgb8_is_a_view_padded_or_not():
    for message in (make('rgb8'), make('rgb8', padding=5)):
        assert np.shares_memory(to_rgb(message), message.data)
    assert to_rgb(make('rgb8')).flags.c_contiguous
    live = array.array('B', bytes(72))
    assert np.shares_memory(to_rgb(make('rgb8', data=live)), np.frombuffer(live, np.uint8))


def mosaic(encoding, image):
    """The (H, W) that a sensor with that pattern makes of an image."""
    height, width = image.shape[:2]
    samples = np.zeros((height, width), np.uint8)
    for y in range(height):
        for x in range(width):
            color = reference.bayer_color(encoding, y, x)
            samples[y, x] = image[y, x, 'rgb'.index(color)]
    return Image(height, width, encoding, 0, width, samples.reshape(-1))


sides = st.integers(2, 12)
level = st.integers(0, 255)


@pytest.mark.parametrize('encoding', BAYER)
@given(height=sides, width=sides, color=st.tuples(level, level, level))
@EXAMPLES
def test_bayer_keeps_one_color_exactly(encoding, height, width, color):
    image = np.tile(np.array(color, np.uint8), (height, width, 1))
    np.testing.assert_array_equal(to_rgb(mosaic(encoding, image)), image)


@pytest.mark.parametrize('encoding', BAYER)
@given(data=st.data())
@EXAMPLES
def test_bayer_keeps_a_ramp_and_each_element_its_own_color(encoding, data):
    height, width = data.draw(st.integers(3, 12)), data.draw(st.integers(3, 12))
    slopes = np.array(data.draw(st.lists(st.integers(-5, 5), min_size=6, max_size=6)))
    y, x = np.mgrid[:height, :width, :1][:2]
    image = (128 + slopes[:3] * y + slopes[3:] * x).astype(np.uint8)
    decoded = to_rgb(mosaic(encoding, image))
    inner = (slice(1, -1), slice(1, -1))
    assert np.abs(decoded[inner].astype(int) - image[inner]).max() <= 1
    for y in range(1, height - 1):
        for x in range(1, width - 1):
            own = 'rgb'.index(reference.bayer_color(encoding, y, x))
            assert decoded[y, x, own] == image[y, x, own]


@pytest.mark.parametrize(
    ('yuv', 'rgb'),
    [
        ((16, 128, 128), (0, 0, 0)),
        ((235, 128, 128), (255, 255, 255)),
        ((81, 90, 240), (255, 0, 0)),
        ((145, 54, 34), (0, 255, 0)),
        ((41, 240, 110), (0, 0, 255)),
    ],
)
def test_yuv_knows_the_colors_of_bt601(yuv, rgb):
    luma, u, v = yuv
    for encoding, data in {
        'uyvy': [u, luma, v, luma] * 2,
        'yuyv': [luma, u, luma, v] * 2,
        'nv12': [luma] * 4 + [u, v],
        'nv21': [luma] * 4 + [v, u],
        'nv24': [luma] * 4 + [u, v] * 4,
    }.items():
        message = make(encoding, (2, 2), data=bytes(data))
        assert np.abs(to_rgb(message).astype(int) - rgb).max() <= 2


REFUSED = [
    (make('rgb8', height=0), ['height 0', 'at least 1']),
    (make('rgb8', width=0), ['width 0', 'at least 1']),
    (make('rgb8', height=-1), ['height -1', 'at least 1']),
    (make('8UC7', height=2**32 - 1, width=0), ['width 0', 'both', 'at least 1']),
    (make('mono8', (1, 1), height=MAX_PIXELS + 1), [str(MAX_PIXELS + 1), f'at most {MAX_PIXELS}']),
    (make('8UC7', (1, 1), width=MAX_PIXELS + 1), [str(MAX_PIXELS + 1), f'at most {MAX_PIXELS}']),
    (make('mono8', height=2**32 - 1, width=2**32 - 1), ['4294967295', f'at most {MAX_PIXELS}']),
    (make('bgr8', step=17), ['step 17', 'bgr8', 'at least 18']),
    (make('mono8', step=0), ['step 0', 'mono8', 'at least 6']),
    (make('mono16', step=13), ['step 13', 'mono16', 'multiple of 2']),
    (make('nv12', step=5), ['step 5', 'nv12', 'at least 6']),
    (make('rgb8', data=bytes(71)), ['71 bytes', 'rgb8', 'at least 72']),
    (make('rgb8', data=b''), ['0 bytes', 'at least 72']),
    (make('nv21', data=bytes(35)), ['35 bytes', 'nv21', 'at least 36']),
    (make('nv24', data=bytes(71)), ['71 bytes', 'nv24', 'at least 72']),
    (make('rgb16', step=37), ['step 37', 'rgb16', 'multiple of 2']),
    (make('8UC3', step=17), ['step 17', '8UC3', 'at least 18']),
    (make('mono8', step=2**32 - 1), ['step 4294967295', 'at least 17179869180']),
    (make('mono8', step=np.uint32(2**31)), ['step 2147483648', 'at least 8589934592']),
    (make('nv12', height=5), ['height 5', 'nv12', 'multiple of 2']),
    (make('nv12', height=1), ['height 1', 'nv12', 'at least 2']),
    (make('nv21', width=5), ['width 5', 'nv21', 'multiple of 2']),
    (make('uyvy', width=5), ['width 5', 'uyvy', 'multiple of 2']),
    (make('yuv422_yuy2', width=1), ['width 1', 'yuv422_yuy2', 'at least 2']),
    (make('bayer_rggb8', height=1), ['height 1', 'bayer_rggb8', 'at least 2']),
    (make('bayer_grbg8', width=1), ['width 1', 'bayer_grbg8', 'at least 2']),
    (make('rgb8', data=[0] * 72), ['type list', 'buffer of bytes']),
    (make('rgb8', data=np.zeros((72, 2), np.uint8)[:, 0]), ['type ndarray', 'contiguous']),
    (make('x' * 10**6), ['cannot decode', 'xxx...', *SUPPORTED]),
]


@pytest.mark.parametrize(('message', 'parts'), REFUSED, ids=lambda value: str(value)[:40])
def test_refuses_and_says_what_came_and_what_is_allowed(message, parts):
    with pytest.raises(ImageError) as caught:
        to_rgb(message)
    for part in parts:
        assert part in str(caught.value)
    assert len(str(caught.value)) < 500


def test_the_largest_image_is_decoded():
    side = int(MAX_PIXELS**0.5)
    image = to_rgb(Image(side, side, 'rgb8', 0, side * 3, np.zeros(side * side * 3, np.uint8)))
    assert image.shape == (side, side, 3)


number = st.one_of(st.integers(0, 12), st.integers(0, 2**32 - 1))
names = st.one_of(st.sampled_from([*SUPPORTED, '8UC2', 'nv42', 'RGB8', '']), st.text())
field = st.one_of(
    st.tuples(st.sampled_from(['height', 'width', 'step']), number),
    st.tuples(st.just('encoding'), names),
    st.tuples(st.just('data'), st.binary(max_size=500)),
)


@given(
    message=st.sampled_from(SUPPORTED).flatmap(messages),
    changes=st.lists(field, max_size=5),
)
@settings(max_examples=300, deadline=None)
def test_garbage_is_decoded_or_refused_and_nothing_else(message, changes):
    message = replace(message, **dict(changes))
    try:
        image = to_rgb(message)
    except ImageError:
        return
    assert image.dtype == np.uint8
    assert image.shape == (message.height, message.width, 3)
