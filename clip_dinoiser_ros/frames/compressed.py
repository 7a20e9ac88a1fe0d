# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""JPEG and PNG to RGB, from messages and from files; and RGB to JPEG.

JPEG and PNG headers are checked before decoding; truncated or oversized images are refused. OpenCV
alone would accept 2^30 pixels, fill the missing part of a truncated image with grey, and allocate
whatever length a chunk of a PNG states: 4 GB for a file of 144 bytes. A header that is not
understood here is refused, so that no file has a small size for this check and a large one for
OpenCV.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from clip_dinoiser_ros.frames.image_layout import MAX_PIXELS, ImageError

MAX_BYTES = 64 * 2**20  # compressed; a camera's are a hundredth of that
# what image_transport writes of an rgb8 image
JPEG_FORMAT = 'rgb8; jpeg compressed bgr8'
_JPEG, _PNG = b'\xff\xd8\xff', b'\x89PNG\r\n\x1a\n'
_IHDR = b'\0\0\0\rIHDR'  # length and name of the part of a PNG that has to be the first
_JPEG_END = b'\xff\xd9'
_END_BYTES = 4096  # cameras pad; the end mark of a JPEG stands in the last so many bytes
# start-of-frame markers, all but those of the same range that mean something else
_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# markers with a length behind them that may stand before the frame: tables, restart interval,
# applications' data, comment
_SEGMENT_MARKERS = frozenset({0xC4, 0xCC, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0)})
_SCAN = b'\xff\xda'
# A scan goes over all pixels, and a few bytes are enough for one: thousands would keep the decoder
# busy for minutes. Encoders write about ten; those of a thumbnail come on top.
_MAX_SCANS = 100


def decode(
    data: Any, turned: bool = False, max_pixels: int = MAX_PIXELS, max_bytes: int = MAX_BYTES
) -> npt.NDArray[np.uint8]:
    """Decode a JPEG or PNG.

    Args:
        data: Its bytes, in any buffer.
        turned: Rotate by the orientation in the EXIF data, as viewers do. Off for cameras, because
            their calibration refers to the pixels as sent.
        max_pixels: Larger images are refused before decoding.
        max_bytes: Longer `data` is refused before decoding.

    Returns:
        uint8 (H, W, 3) RGB; 16-bit samples are scaled down, transparency is dropped.

    Raises:
        ImageError: Neither JPEG nor PNG, truncated, damaged, or above a limit.
    """
    size = memoryview(data).nbytes
    if size > max_bytes:
        raise ImageError(f'{size} bytes; allowed are at most {max_bytes}')
    content = bytes(data)
    height, width = dimensions(content)
    if height < 1 or width < 1 or height * width > max_pixels:
        raise ImageError(f'{width}x{height} pixels; allowed are 1 to {max_pixels}')
    _check_jpeg(content) if content.startswith(_JPEG) else _check_png(content)
    flags = cv2.IMREAD_COLOR | (0 if turned else cv2.IMREAD_IGNORE_ORIENTATION)
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except cv2.error as error:
        raise ImageError(f'cannot be decoded: {error.err}') from error
    if image is None:
        raise ImageError(f'cannot be decoded: {len(content)} bytes, {width}x{height} by its header')
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def to_rgb(
    message: Any, max_pixels: int = MAX_PIXELS, max_bytes: int = MAX_BYTES
) -> npt.NDArray[np.uint8]:
    """Decode an object with the fields of `sensor_msgs/msg/CompressedImage`; see `decode`."""
    if 'compressedDepth' in message.format:
        raise ImageError(f'format {message.format!r} is depth; JPEG and PNG are decoded')
    return decode(message.data, max_pixels=max_pixels, max_bytes=max_bytes)


def encode_jpeg(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Encode uint8 (H, W, 3) RGB as a JPEG: its bytes, uint8 (N,).

    Raises:
        ImageError: A side is longer than a JPEG can be.
    """
    done, content = cv2.imencode('.jpg', cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    if not done:
        height, width = image.shape[:2]
        raise ImageError(f'{width}x{height} pixels are too many for a JPEG')
    return np.asarray(content, np.uint8)


def dimensions(content: bytes) -> tuple[int, int]:
    """Read height and width from the header of a JPEG or PNG; raises as `decode`."""
    if content.startswith(_PNG + _IHDR) and len(content) >= 24:
        return int.from_bytes(content[20:24], 'big'), int.from_bytes(content[16:20], 'big')
    if content.startswith(_JPEG):
        return _jpeg_dimensions(content)
    raise ImageError(f'{len(content)} bytes that are neither JPEG nor PNG')


def _check_jpeg(content: bytes) -> None:
    if _JPEG_END not in content[-_END_BYTES:]:
        raise ImageError(f'cut off: {len(content)} bytes without the mark of the end')
    scans = content.count(_SCAN)
    if scans > _MAX_SCANS:
        raise ImageError(f'a JPEG of {scans} scans; allowed are at most {_MAX_SCANS}')


def _check_png(content: bytes) -> None:
    """Refuse a PNG that lacks a part of its chunks, from the first to the end chunk."""
    place, name = len(_PNG), b''
    while name != b'IEND':
        length = int.from_bytes(content[place : place + 4], 'big')
        name = content[place + 4 : place + 8]
        place += 12 + length  # with the length, the name and the checksum
        if place > len(content):
            raise ImageError(
                f'cut off or damaged: {len(content)} bytes, a part reaches to byte {place}'
            )


def _jpeg_dimensions(content: bytes) -> tuple[int, int]:
    place = 2
    while place + 9 <= len(content) and content[place] == 0xFF:
        marker = content[place + 1]
        length = int.from_bytes(content[place + 2 : place + 4], 'big')
        if marker == 0xFF:  # a fill byte
            place += 1
        elif marker in _FRAME_MARKERS:
            height, width = content[place + 5 : place + 7], content[place + 7 : place + 9]
            return int.from_bytes(height, 'big'), int.from_bytes(width, 'big')
        elif marker in _SEGMENT_MARKERS and length >= 2:
            place += 2 + length
        else:
            break
    raise ImageError(f'a JPEG of {len(content)} bytes without its size')
