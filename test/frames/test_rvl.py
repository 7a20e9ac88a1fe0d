# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""RVL: golden bytes, what an encoder writes, and damage."""

import depth_encoder
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clip_dinoiser_ros.frames import rvl
from clip_dinoiser_ros.frames.images import ImageError

# Written by the RvlCodec of image_transport_plugins, of release 4.
GOLDEN = [
    ('1323a123ce0e918a000033ef', [0, 0, 5, 6, 4, 0, 300, 300, 65535, 0, 0, 0]),
    ('23f38a0330af1a81', [1000, 1001, 999, 0, 0, 0, 0, 0, 0, 0, 0, 2000]),
    ('00101e0900000000', [7, 7, 7, 7, 7, 7, 7, 7, 7]),
]


@pytest.mark.parametrize(('code', 'pixels'), GOLDEN)
def test_golden_bytes(code, pixels):
    content = bytes.fromhex(code)
    assert depth_encoder.rvl(np.uint16(pixels)) == content
    decoded = rvl.decode(content, len(pixels))
    assert decoded.dtype == np.uint16
    assert decoded.tolist() == pixels
    assert rvl.decode(content + b'\xff\x08\0\0\x12', len(pixels)).tolist() == pixels


@given(st.lists(st.one_of(st.just(0), st.integers(0, 9), st.integers(0, 65535)), min_size=1))
@settings(max_examples=300, deadline=None)
def test_encode_decode_round_trip(pixels):
    content = depth_encoder.rvl(np.uint16(pixels))
    assert rvl.decode(content, len(pixels)).tolist() == pixels


@pytest.mark.parametrize('kind', ['scene', 'noise', 'nothing', 'every other', 'constant'])
def test_an_image_of_a_camera(kind):
    rng = np.random.default_rng(1)
    rows, columns = np.mgrid[:120, :160]
    scene = 2000 + 500 * np.sin(columns / 30) + rng.normal(0, 6, rows.shape)
    scene[rng.random(rows.shape) < 0.1] = 0
    pixels = {
        'scene': scene,
        'noise': rng.integers(0, 65536, rows.shape),
        'nothing': 0 * rows,
        'every other': columns % 2 * 65535,
        'constant': 0 * rows + 1,
    }[kind].astype(np.uint16)
    content = depth_encoder.rvl(pixels)
    np.testing.assert_array_equal(rvl.decode(content, pixels.size), pixels.ravel())


def words(*nibbles):
    """Words of so many nibbles, filled up with zeros."""
    filled = [*nibbles, *[0] * (-len(nibbles) % 8)]
    return np.packbits(np.unpackbits(np.uint8(filled)[:, None], axis=1)[:, 4:]).view('>u4')


@pytest.mark.parametrize(
    ('nibbles', 'reason'),
    [
        ([], 'is cut off: 4 of 4 pixels are missing'),
        ([15] * 8, 'is cut off: 4 of 4 pixels are missing'),  # a number without an end
        ([0, 4, 2, 2, 15, 15, 15, 15], 'is cut off: 2 of 4 pixels are missing'),
        ([2, 0, 0, 0, 0, 0], 'damaged: an empty run'),
        ([2, 3, 1, 1, 1], 'damaged: its runs have 5 pixels, not 4'),
        ([0, *[15] * 9, 7], 'damaged: its runs have 1073741823 pixels, not 4'),
        ([0, 4, 2, 2, *[8] * 9, 0, 2], None),  # ten nibbles are a number all the same
        ([0, 4, 2, 2, *[8] * 10, 1, 2], 'damaged: a number is too long'),
    ],
)
def test_damage(nibbles, reason):
    content = words(*nibbles).astype('<u4').tobytes()
    if reason is None:
        assert rvl.decode(content, 4).tolist() == [1, 2, 2, 3]
        return
    with pytest.raises(ImageError, match=reason):
        rvl.decode(content, 4)


def test_a_cut_anywhere_is_noticed():
    pixels = np.uint16([5, 6, 0, 7, 60000, 0, 0, 3] * 4)
    content = depth_encoder.rvl(pixels)
    for length in range(len(content)):
        with pytest.raises(ImageError, match='cut off'):
            rvl.decode(content[:length], pixels.size)
