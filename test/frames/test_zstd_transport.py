# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Messages of image_transport's plugin zstd, whole and damaged."""

import gzip
import struct
from types import SimpleNamespace

import numpy as np
import pytest

from clip_dinoiser_ros.frames import compressed
from clip_dinoiser_ros.frames.image_layout import MAX_PIXELS, ImageError

RNG = np.random.default_rng(1)
PIXELS = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)
MAX_BYTES = 2**20


def content(height=20, width=30, step=90, encoding=b'rgb8', data=None, is_bigendian=0, length=None):
    """The data of a message, as zstd_publisher.cpp writes it."""
    length = len(encoding) if length is None else length
    fields = struct.pack('<IIBII', height, width, is_bigendian, step, length)
    return fields + encoding + gzip.compress(PIXELS.tobytes() if data is None else data, mtime=0)


def decoded(data, max_pixels=MAX_PIXELS, max_bytes=MAX_BYTES):
    message = SimpleNamespace(format='zstd', data=np.frombuffer(data, np.uint8))
    return compressed.to_rgb(message, max_pixels, max_bytes)


def test_every_byte_comes_back():
    assert np.array_equal(decoded(content()), PIXELS)


def test_padded_rows():
    padded = np.zeros((20, 100), np.uint8)
    padded[:, :90] = PIXELS.reshape(20, 90)
    assert np.array_equal(decoded(content(step=100, data=padded.tobytes())), PIXELS)


@pytest.mark.parametrize('is_bigendian', [0, 1])
def test_16_bits_of_either_order(is_bigendian):
    deep = RNG.integers(0, 65536, (20, 30), dtype=np.uint16)
    data = deep.astype('>u2' if is_bigendian else '<u2').tobytes()
    image = decoded(content(20, 30, 60, b'mono16', data, is_bigendian))
    assert np.array_equal(image, np.repeat(np.rint(deep / 257)[..., np.newaxis], 3, axis=2))


@pytest.mark.parametrize(('encoding', 'size'), [(b'nv12', 900), (b'nv24', 1800)])
def test_chroma_below_luma_is_unpacked_whole(encoding, size):
    image = decoded(content(20, 30, 30, encoding, b'\x80' * size))
    assert np.array_equal(image, np.full((20, 30, 3), image[0, 0]))


@pytest.mark.parametrize(
    ('data', 'reason'),
    [
        (content()[:10], 'without the fields'),
        (content()[:40], 'cut off'),
        (content()[:-30], 'cut off'),
        (content(length=2**31), 'an encoding of 2147483648 characters'),
        (content(height=0), 'height 0'),
        (content(step=0), 'step 0'),
        (content(step=89), 'step 89'),
        (content(data=b'abc'), 'data of 3 bytes'),
        (content(encoding=b'sepia'), "encoding 'sepia'"),
        (content()[:30] + b'x' * 200, 'damaged'),
        (content(height=2**31, width=2**31), 'at most'),
        (content(step=2**32 - 1), 'too many bytes'),
        (content() + bytes(MAX_BYTES), 'are allowed'),
    ],
)
def test_unusable_zstd_messages_are_refused(data, reason):
    with pytest.raises(ImageError, match=reason):
        decoded(data)


def test_no_more_is_unpacked_than_the_image_takes():
    bomb = content(data=bytes(50 * 2**20))
    assert len(bomb) < 60_000
    assert np.array_equal(decoded(bomb), np.zeros((20, 30, 3)))
    with pytest.raises(ImageError, match='at most 500'):
        decoded(bomb, max_pixels=500)
