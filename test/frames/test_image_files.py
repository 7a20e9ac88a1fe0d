# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Image files that no camera sends."""

import cv2
import numpy as np
import pytest

from clip_dinoiser_ros.frames import compressed, image_files
from clip_dinoiser_ros.frames.images import ImageError

PIXELS = np.random.default_rng(2).integers(0, 256, (20, 30, 3), dtype=np.uint8)
LOSSLESS = (cv2.IMWRITE_WEBP_QUALITY, 101)


def encode(suffix, pixels, *options):
    return cv2.imencode(suffix, pixels, options)[1].tobytes()


@pytest.mark.parametrize(
    'content',
    [
        encode('.bmp', PIXELS),
        encode('.tiff', PIXELS),
        encode('.tiff', PIXELS.astype(np.uint16) * 257),
        encode('.webp', PIXELS, *LOSSLESS),
        encode('.webp', np.dstack([PIXELS, PIXELS[..., :1] | 1]), *LOSSLESS),
        encode('.png', PIXELS),
    ],
    ids=['bmp', 'tiff', 'deep tiff', 'webp', 'transparent webp', 'png'],
)
def test_every_kind_is_exact(content):
    assert np.array_equal(image_files.decode(content), PIXELS[..., ::-1])


def test_grey_becomes_rgb():
    grey = image_files.decode(encode('.tiff', PIXELS[..., 0]))
    assert np.array_equal(grey, np.repeat(PIXELS[..., :1], 3, axis=2))


@pytest.mark.parametrize(
    ('content', 'reason'),
    [
        (b'ftypheic', '8 bytes are not JPEG, PNG, BMP, TIFF or WebP; convert'),
        (
            encode('.tiff', PIXELS.astype(np.float32)),
            'float32 samples; must be unsigned, 8 or 16 bits',
        ),
        (encode('.webp', PIXELS)[:50], 'cannot be decoded'),
        (encode('.tiff', PIXELS)[:8], 'cannot be decoded'),
        (encode('.bmp', PIXELS)[:20], 'cannot be decoded'),
        (encode('.png', PIXELS)[:-20], 'cut off'),
    ],
)
def test_unusable_image_files_are_refused(content, reason):
    with pytest.raises(ImageError, match=reason):
        image_files.decode(content)


def test_limits(monkeypatch):
    bmp = encode('.bmp', PIXELS)
    monkeypatch.setattr(image_files, 'MAX_PIXELS', 599)
    with pytest.raises(ImageError, match='30x20 pixels; allowed: 1 to 599'):
        image_files.decode(bmp)
    monkeypatch.setattr(compressed, 'MAX_BYTES', len(bmp) - 1)
    with pytest.raises(ImageError, match=f'at most {len(bmp) - 1} are allowed'):
        image_files.decode(bmp)


@pytest.mark.parametrize('suffix', ['.bmp', '.tiff', '.webp'])
def test_cut_files(suffix):
    content = encode(suffix, PIXELS)
    for end in range(12, len(content) - 1, 7):
        try:
            image = image_files.decode(content[:end])
        except ImageError:
            continue
        pytest.fail(f'{end} of {len(content)} bytes decoded to {image.shape}')
