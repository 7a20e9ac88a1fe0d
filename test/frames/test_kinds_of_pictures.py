# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""JPEG and PNG as other programs write them: inks, palettes, bits, orientation."""

import io
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from PIL import Image

from clip_dinoiser_ros.frames import compressed, image_files

RNG = np.random.default_rng(3)
# 24x16, in blocks of one colour, which JPEG keeps
COLOURS = RNG.integers(0, 256, (2, 3, 3), np.uint8).repeat(8, axis=0).repeat(8, axis=1)


def written(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def decoded(content):
    """As from a camera and as a file of a user: the same where nothing is turned."""
    message = SimpleNamespace(format='rgb8; jpeg compressed bgr8', data=content)
    image = compressed.to_rgb(message)
    np.testing.assert_array_equal(image_files.decode(content), image)
    return image


def test_a_jpeg_of_four_inks():
    """White paper without ink, and a patch of each ink; readers agree but for rounding."""
    inks = np.zeros((16, 40, 4), np.uint8)
    for index in range(4):
        inks[:, 8 * (index + 1) : 8 * (index + 2), index] = 255
    content = written(Image.fromarray(inks, 'CMYK'), 'JPEG', quality=100, subsampling=0)
    assert Image.open(io.BytesIO(content)).mode == 'CMYK'
    image = decoded(content)[8, 4::8].astype(int)
    expected = [[255] * 3, [0, 255, 255], [255, 0, 255], [255, 255, 0], [0] * 3]
    assert np.abs(image - expected).max() <= 4


@pytest.mark.parametrize('progressive', [False, True])
def test_a_jpeg_in_one_go_or_in_several(progressive):
    content = written(
        Image.fromarray(COLOURS), 'JPEG', quality=100, subsampling=0, progressive=progressive
    )
    assert np.abs(decoded(content).astype(int) - COLOURS).max() <= 4


@pytest.mark.parametrize('transparent', [False, True])
def test_a_palette(transparent):
    image = Image.fromarray(COLOURS).quantize(6)
    options = {'transparency': 0} if transparent else {}
    content = written(image, 'PNG', **options)
    assert Image.open(io.BytesIO(content)).mode == 'P'
    np.testing.assert_array_equal(decoded(content), np.asarray(image.convert('RGB')))


def test_one_bit():
    bits = RNG.integers(0, 2, (13, 21)).astype(bool)
    content = written(Image.fromarray(bits), 'PNG')
    assert Image.open(io.BytesIO(content)).mode == '1'
    np.testing.assert_array_equal(decoded(content), np.uint8(255 * bits)[..., None].repeat(3, 2))


def test_grey_with_transparency_and_colour_with_it():
    alpha = Image.fromarray(RNG.integers(0, 256, (16, 24), np.uint8))
    for mode in ('RGBA', 'LA'):
        image = Image.fromarray(COLOURS).convert(mode)
        image.putalpha(alpha)
        expected = np.asarray(image.convert('RGB'))
        np.testing.assert_array_equal(decoded(written(image, 'PNG')), expected)


@pytest.mark.parametrize('orientation', range(1, 9))
def test_orientation_turns_files_but_not_cameras(orientation):
    """A calibration speaks of the pixels as they are sent; a viewer turns what a phone took."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = written(Image.fromarray(COLOURS), 'JPEG', quality=100, subsampling=0, exif=exif)
    sent = compressed.to_rgb(SimpleNamespace(format='jpeg', data=content))
    plain = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_IGNORE_ORIENTATION | 1)
    np.testing.assert_array_equal(sent, plain[..., ::-1])
    turned = {
        1: sent,
        2: sent[:, ::-1],
        3: sent[::-1, ::-1],
        4: sent[::-1],
        5: sent.transpose(1, 0, 2),
        6: sent.transpose(1, 0, 2)[:, ::-1],
        7: sent.transpose(1, 0, 2)[::-1, ::-1],
        8: sent.transpose(1, 0, 2)[::-1],
    }[orientation]
    np.testing.assert_array_equal(image_files.decode(content), turned)


@pytest.mark.parametrize(
    ('form', 'kind'),
    [('png', 'JPEG'), ('jpeg', 'PNG'), ('rgb8; png compressed bgr8', 'JPEG'), ('', 'PNG')],
)
def test_the_bytes_say_which_codec_it_is(form, kind):
    """Some drivers leave the format at that of another transport."""
    content = written(Image.fromarray(COLOURS), kind)
    image = compressed.to_rgb(SimpleNamespace(format=form, data=content))
    np.testing.assert_array_equal(image, compressed.decode(content))
