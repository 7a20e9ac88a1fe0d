# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Image files of users: JPEG and PNG as from cameras, and BMP, TIFF and WebP by OpenCV."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from clip_dinoiser_ros.frames import compressed
from clip_dinoiser_ros.frames.image_layout import MAX_PIXELS, ImageError

SUFFIXES = ('.png', '.jpg', '.jpeg', '.jpe', '.jfif', '.mpo', '.webp', '.bmp', '.tif', '.tiff')
CLASSES_FILE = 'classes.json'  # beside the label images of `clip-dinoiser image`
_BMP, _TIFFS = b'BM', (b'II*\0', b'MM\0*')


def decode(content: bytes) -> npt.NDArray[np.uint8]:
    """Decode a file, turned as its EXIF data says.

    The size of a BMP, TIFF or WebP is checked only after OpenCV, which allows 2^30 pixels, has
    decoded it. Use this for files that the user chose, not for data from the network.

    Args:
        content: JPEG, PNG, BMP, TIFF or WebP.

    Returns:
        uint8 (H, W, 3) RGB: the first image of the file; transparency is dropped, 16-bit samples
        are scaled down.

    Raises:
        ImageError: Another kind of file, cut off, damaged, too large, or samples that are neither
            8 nor 16 bits.
    """
    webp = content[:4] == b'RIFF' and content[8:12] == b'WEBP'
    if not (webp or content.startswith((_BMP, *_TIFFS))):
        try:
            return compressed.decode(content, turned=True)
        except compressed.NeitherError as error:
            raise ImageError(
                f'{len(content)} bytes are not JPEG, PNG, BMP, TIFF or WebP; convert the file to '
                'one of these'
            ) from error
    if len(content) > compressed.MAX_BYTES:
        raise ImageError(f'{len(content)} bytes; at most {compressed.MAX_BYTES} are allowed')
    try:
        flags = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH
        image = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except cv2.error as error:
        raise ImageError(f'cannot be decoded: {error.err}') from error
    if image is None:
        raise ImageError(f'cannot be decoded: {len(content)} bytes, damaged or not supported')
    height, width = image.shape[:2]
    if height * width > MAX_PIXELS:
        raise ImageError(f'{width}x{height} pixels; allowed: 1 to {MAX_PIXELS}')
    if image.dtype not in (np.uint8, np.uint16):
        raise ImageError(f'{image.dtype} samples; must be unsigned, 8 or 16 bits')
    return compressed.to_8_bit_rgb(image)
