# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""JPEG and PNG, whole and damaged."""

import struct

import cv2
import numpy as np
import pytest

from clip_dinoiser_ros.frames import compressed
from clip_dinoiser_ros.frames.images import ImageError


@pytest.fixture
def picture():
    ramp = np.linspace(0, 255, 60 * 80 * 3).reshape(60, 80, 3)
    return ramp.astype(np.uint8)


def encode(picture, suffix, *options):
    return cv2.imencode(suffix, picture[..., ::-1], options)[1].tobytes()


def test_png_is_exact_and_jpeg_near(picture):
    assert np.array_equal(compressed.decode(encode(picture, '.png')), picture)
    jpeg = compressed.decode(encode(picture, '.jpg', cv2.IMWRITE_JPEG_QUALITY, 95))
    assert np.abs(jpeg.astype(int) - picture).max() < 12
    progressive = encode(picture, '.jpg', cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    assert compressed.decode(np.frombuffer(progressive, np.uint8)).shape == picture.shape


def test_a_jpeg_of_ours_is_read_again(picture):
    again = compressed.decode(compressed.encode_jpeg(picture))
    assert np.abs(again.astype(int) - picture).max() < 12
    with pytest.raises(ImageError, match='70000x1 pixels are too many'):
        compressed.encode_jpeg(np.zeros((1, 70_000, 3), np.uint8))


def test_grey_and_16_bit_become_rgb(picture):
    grey = compressed.decode(cv2.imencode('.png', picture[..., 0])[1])
    assert np.array_equal(grey, np.repeat(picture[..., :1], 3, axis=2))
    deep = compressed.decode(cv2.imencode('.png', picture[..., 0].astype(np.uint16) * 257)[1])
    assert np.array_equal(deep, grey)


@pytest.mark.parametrize('suffix', ['.png', '.jpg'])
def test_cut_images_are_refused(picture, suffix):
    content = encode(np.random.default_rng(0).permutation(picture), suffix)
    for end in (0, 3, 20, len(content) // 2, len(content) - 20):
        with pytest.raises(ImageError):
            compressed.decode(content[:end])


def test_size_is_read_before_anything_is_decoded(picture):
    png = bytearray(encode(picture, '.png'))
    png[16:24] = struct.pack('>II', 100_000, 100_000)
    with pytest.raises(ImageError, match='100000x100000 pixels; allowed are 1 to 67108864'):
        compressed.decode(bytes(png))
    jpeg = bytearray(encode(picture, '.jpg'))
    place = jpeg.index(b'\xff\xc0')
    jpeg[place + 5 : place + 9] = b'\xff\xff\xff\xff'
    with pytest.raises(ImageError, match='65535x65535'):
        compressed.decode(bytes(jpeg))


def test_what_is_oversized_or_cut_never_reaches_the_decoder(picture, monkeypatch):
    png, jpeg = bytearray(encode(picture, '.png')), encode(picture, '.jpg')
    png[16:24] = struct.pack('>II', 100_000, 100_000)
    monkeypatch.setattr(cv2, 'imdecode', lambda *args: pytest.fail('decoded'))
    for content in (bytes(png), jpeg[: len(jpeg) // 2], b'hello'):
        with pytest.raises(ImageError):
            compressed.decode(content)


def test_other_bytes_are_refused():
    with pytest.raises(ImageError, match='5 bytes that are neither JPEG nor PNG'):
        compressed.decode(b'hello')


@pytest.mark.parametrize(
    'marker', [b'\xff\x00', b'\xff\x01', b'\xff\xd0', b'\xff\xd8', b'\x00\x00']
)
def test_no_other_size_can_be_shown_to_us_than_to_the_decoder(picture, marker):
    """These have no length behind them: who takes one for granted jumps over the true size."""
    jpeg = encode(picture, '.jpg')
    small = b'\xff\xc0\x00\x11\x08\x00\x02\x00\x02'
    hidden = marker + struct.pack('>H', len(jpeg)) + jpeg[2:-2] + small + b'\xff\xd9'
    with pytest.raises(ImageError, match='without its size'):
        compressed.decode(b'\xff\xd8' + (b'\xff' * (marker[0] == 0)) + hidden)


def test_a_part_of_a_png_that_claims_gigabytes(picture):
    png = encode(picture, '.png')
    place = png.index(b'IDAT') - 4
    claims = png[:place] + b'\xd6\xe4\x00\x00' + png[place + 4 :]
    with pytest.raises(ImageError, match='a part reaches to byte 36052'):
        compressed.decode(claims)
    with pytest.raises(ImageError, match='neither JPEG nor PNG'):  # IHDR is not the first
        compressed.decode(png[:8] + struct.pack('>I', 4) + b'teXt' + bytes(8) + png[8:])


def test_limits(picture):
    for content in (encode(picture, '.png'), encode(picture, '.jpg')):
        assert compressed.decode(content, max_pixels=4800, max_bytes=len(content)).shape[0] == 60
        with pytest.raises(ImageError, match='80x60 pixels; allowed are 1 to 4799'):
            compressed.decode(content, max_pixels=4799)
        with pytest.raises(ImageError, match=f'allowed are at most {len(content) - 1}'):
            compressed.decode(content, max_bytes=len(content) - 1)


def test_a_jpeg_of_thousands_of_scans_is_refused(picture):
    jpeg = encode(picture, '.jpg', cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    last = jpeg.rindex(b'\xff\xda')
    many = jpeg[:-2] + jpeg[last:-2] * 1000 + jpeg[-2:]
    with pytest.raises(ImageError, match=r'of 10\d\d scans; allowed are at most 100'):
        compressed.decode(many)
