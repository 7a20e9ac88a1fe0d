# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Depth images: encodings, byte orders, padded rows, what was not measured; compressed ones."""

import gzip
import struct
from types import SimpleNamespace

import cv2
import depth_encoder
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clip_dinoiser_ros.frames import depth_images
from clip_dinoiser_ros.frames.images import ImageError, to_depth

FORMATS = {'16UC1': 'H', 'mono16': 'H', '32FC1': 'f'}


def message(encoding, samples, padding=0, big=False, **changes):
    """A depth image of rows of numbers, packed one by one."""
    order = '>' if big else '<'
    rows = [
        b''.join(struct.pack(order + FORMATS[encoding], value) for value in row) + b'\xaa' * padding
        for row in samples
    ]
    fields = {
        'height': len(samples),
        'width': len(samples[0]),
        'encoding': encoding,
        'is_bigendian': int(big),
        'step': len(rows[0]),
        'data': b''.join(rows),
    }
    return SimpleNamespace(**{**fields, **changes})


@pytest.mark.parametrize('encoding', ['16UC1', 'mono16'])
@given(
    st.lists(st.tuples(*[st.integers(0, 65535)] * 3), min_size=1, max_size=4),
    st.integers(0, 3),
    st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_millimetres(encoding, samples, words, big):
    depth = to_depth(message(encoding, samples, 2 * words, big))
    assert depth.dtype == np.float32
    expected = [[value / 1000 if value else np.nan for value in row] for row in samples]
    np.testing.assert_array_equal(depth, np.float32(expected))


@given(
    st.lists(st.tuples(*[st.floats(width=32)] * 3), min_size=1, max_size=4),
    st.integers(0, 3),
    st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_metres(samples, words, big):
    depth = to_depth(message('32FC1', samples, 4 * words, big))
    expected = [[v if 0 < v < float('inf') else np.nan for v in row] for row in samples]
    np.testing.assert_array_equal(depth, np.float32(expected))


def test_pixels_without_depth():
    rows = [(0.0, -0.0, -1.5), (float('inf'), float('-inf'), float('nan')), (1e-3, 2.5, 80.0)]
    depth = to_depth(message('32FC1', rows))
    assert np.isnan(depth).tolist() == [[True] * 3, [True] * 3, [False] * 3]


def test_the_message_stays_as_it_was():
    sent = message('32FC1', [(1.0, float('inf'))])
    data = bytearray(sent.data)
    to_depth(SimpleNamespace(**{**vars(sent), 'data': data}))
    assert bytes(data) == sent.data


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'encoding': 'rgb8'}, ["'rgb8'", 'not depth', '16UC1', '32FC1']),
        ({'encoding': '32FC1'}, ['step 4', 'at least 8']),
        ({'step': 3}, ['step 3', 'at least 4']),
        ({'step': 5}, ['step 5', 'multiple of 2']),
        ({'height': 0}, ['height 0']),
        ({'height': 3}, ['8 bytes', 'at least 12']),
        ({'height': 2**16, 'width': 2**16}, ['pixels', 'allowed']),
        ({'data': None}, ['NoneType']),
    ],
)
def test_refusals_say_what_is_wrong(changes, words):
    good = message('16UC1', [(1, 2), (3, 4)])
    to_depth(good)
    with pytest.raises(ImageError) as caught:
        to_depth(SimpleNamespace(**{**vars(good), **changes}))
    for word in words:
        assert word in str(caught.value)


def packed(form, data):
    return SimpleNamespace(format=form, data=data)


MILLIMETRES = np.uint16([[0, 1, 500], [1234, 9999, 0]])
METRES = np.float32([[np.nan, 0.2, 0.5], [1.25, 9.5, 2.0]])


@pytest.mark.parametrize('codec', ['png', 'rvl'])
def test_compressed_millimetres_are_exact(codec):
    depth = depth_images.to_depth(packed(*depth_encoder.compressed_depth(MILLIMETRES, codec)))
    assert depth.dtype == np.float32
    np.testing.assert_array_equal(
        depth, np.where(MILLIMETRES, MILLIMETRES / np.float32(1000), np.nan)
    )


@pytest.mark.parametrize('codec', ['png', 'rvl'])
def test_compressed_metres_are_near(codec):
    """The transport keeps inverse depth: a step is depth^2 / a, here 1 cm at 10 m."""
    form, data = depth_encoder.compressed_depth(METRES, codec)
    assert form == f'32FC1; compressedDepth {codec}'
    depth = depth_images.to_depth(packed(form, data))
    np.testing.assert_array_equal(np.isnan(depth), np.isnan(METRES))
    error = np.abs(depth - METRES)[~np.isnan(METRES)]
    assert (error <= METRES[~np.isnan(METRES)] ** 2 / 10100 * 1.01).all()
    assert error.max() > 0


def test_golden_bytes_of_quantised_metres():
    """10100 / (19191 + 1009) is 0.5, 10100 / (4041 + 1009) is 2, 0 is none."""
    data = bytes.fromhex('00000000 00d01d46 00407cc4 03000000 01000000 91faed01 709bbb11')
    depth = depth_images.to_depth(packed('32FC1; compressedDepth rvl', data))
    np.testing.assert_array_equal(depth, np.float32([[0.5, np.nan, 2.0]]))


@pytest.mark.parametrize('form', ['16UC1; compressedDepth', '16UC1', 'mono16; compressedDepth png'])
def test_formats_of_older_senders(form):
    _, data = depth_encoder.compressed_depth(MILLIMETRES)
    depth = depth_images.to_depth(packed(form, data))
    np.testing.assert_array_equal(np.nan_to_num(depth), MILLIMETRES / np.float32(1000))


@pytest.mark.parametrize(
    'form', ['16UC1; png compressed ', 'mono16; png compressed mono16', 'png', '16UC1', '']
)
def test_a_png_of_the_plain_transport(form):
    data = cv2.imencode('.png', MILLIMETRES)[1]
    depth = depth_images.to_depth(packed(form, data))
    np.testing.assert_array_equal(np.nan_to_num(depth), MILLIMETRES / np.float32(1000))


def test_raw_depth_goes_the_same_way():
    raw = message('16UC1', MILLIMETRES.tolist())
    np.testing.assert_array_equal(depth_images.to_depth(raw), to_depth(raw))


@pytest.mark.parametrize('encoding', ['16UC1', '32FC1'])
def test_depth_of_the_transport_zstd(encoding):
    samples = MILLIMETRES if encoding == '16UC1' else METRES
    raw = message(encoding, samples.tolist(), padding=4, big=True)
    fields = struct.pack('<IIBII', raw.height, raw.width, 1, raw.step, len(encoding))
    data = fields + encoding.encode() + gzip.compress(raw.data)
    np.testing.assert_array_equal(depth_images.to_depth(packed('zstd', data)), to_depth(raw))
    with pytest.raises(ImageError, match="depth of format 'zstd': cut off"):
        depth_images.to_depth(packed('zstd', data[:-12]))


GREY = np.zeros((4, 4), np.uint8)


@pytest.mark.parametrize(
    ('form', 'data', 'words'),
    [
        ('mono8; jpeg compressed ', cv2.imencode('.jpg', GREY)[1], 'a JPEG, which loses depth'),
        ('8UC1; png compressed ', cv2.imencode('.png', GREY)[1], r'a PNG of uint8 \(4, 4\)'),
        (
            'bgr16; png compressed bgr16',
            cv2.imencode('.png', np.zeros((4, 4, 3), np.uint16))[1],
            r'a PNG of uint16 \(4, 4, 3\); depth is uint16 \(H, W\)',
        ),
        ('32FC1; tiff compressed ', b'II*\0' + bytes(40), 'not a PNG; use its raw topic'),
        ('h264', b'\0\0\0\1' + bytes(40), "'h264': 44 bytes are not a PNG; use its raw topic"),
        (
            '32FC1; compressedDepth png',
            cv2.imencode('.png', MILLIMETRES)[1],
            'the header with the parameters of the quantisation is missing',
        ),
        ('16UC1; compressedDepth png', bytes(11), 'cut off: 11 bytes; the header alone has 12'),
        ('16UC1; compressedDepth png', bytes(12), '0 bytes are not a PNG'),
        (
            '16UC1; compressedDepth png',
            depth_encoder.compressed_depth(MILLIMETRES)[1][:-3],
            'cut off or damaged',
        ),
        ('16UC1; compressedDepth rvl', bytes(20), 'RVL of 8 bytes'),
        ('16UC1; compressedDepth rvl', bytes(24), 'RVL of 0x0 pixels'),
        ('16UC1; compressedDepth rvl', bytes(12) + b'\xff' * 12, 'RVL of 4294967295x4294967295'),
        (
            '16UC1; compressedDepth rvl',
            depth_encoder.compressed_depth(MILLIMETRES, 'rvl')[1][:-4],
            'RVL is cut off',
        ),
        *(
            (
                '32FC1; compressedDepth png',
                struct.pack('<iff', 0, *config) + cv2.imencode('.png', MILLIMETRES)[1].tobytes(),
                'quantised by',
            )
            for config in ((0, 0), (-1, 0), (float('nan'), 0), (1, float('inf')))
        ),
    ],
)
def test_compressed_refusals_say_what_is_wrong(form, data, words):
    with pytest.raises(ImageError, match=words) as refused:
        depth_images.to_depth(packed(form, data))
    assert str(refused.value).startswith(f'depth of format {form!r}: ')


def test_samples_beyond_what_can_be_measured():
    """The zero of the quantisation, and what lies behind it, are no depth."""
    png = cv2.imencode('.png', np.uint16([[5, 6, 7]]))[1].tobytes()
    data = struct.pack('<iff', 0, 8.0, 6.0) + png
    depth = depth_images.to_depth(packed('32FC1; compressedDepth png', data))
    np.testing.assert_array_equal(depth, np.float32([[np.nan, np.nan, 8.0]]))


def test_which_topics_are_compressed():
    assert depth_images.is_compressed('/camera/depth/image_raw/compressedDepth')
    assert depth_images.is_compressed('camera/depth/compressed')
    assert depth_images.is_compressed('/camera/depth/zstd')
    assert not depth_images.is_compressed('/camera/compressedDepth/image_raw')
    assert not depth_images.is_compressed('')
