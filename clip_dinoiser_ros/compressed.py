"""JPEG and PNG to RGB, from messages and from files; and RGB to JPEG.

OpenCV allows images of 2^30 pixels and fills what is missing of a cut one with grey, so size and
end are looked at before it decodes.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from clip_dinoiser_ros.image_layout import MAX_PIXELS, ImageError

# what image_transport writes of an rgb8 image
JPEG_FORMAT = 'rgb8; jpeg compressed bgr8'

_JPEG, _PNG = b'\xff\xd8\xff', b'\x89PNG\r\n\x1a\n'
_JPEG_END = b'\xff\xd9'
_END_BYTES = 4096  # cameras pad; the end mark stands in the last so many bytes
# start-of-frame markers, all but those of the same range that mean something else
_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def decode(data: Any, turned: bool = False) -> npt.NDArray[np.uint8]:
    """Decode a JPEG or PNG.

    Args:
        data: Its bytes, in any buffer.
        turned: Follow the orientation in the EXIF data, as viewers do. Off for cameras: their
            calibration speaks of the pixels as they come.

    Returns:
        uint8 (H, W, 3) RGB; 16-bit samples are scaled down, transparency is dropped.

    Raises:
        ImageError: Neither of the two, cut off, damaged, or of more than `MAX_PIXELS`.
    """
    content = bytes(data)
    height, width = dimensions(content)
    if height < 1 or width < 1 or height * width > MAX_PIXELS:
        raise ImageError(f'{width}x{height} pixels; allowed are 1 to {MAX_PIXELS}')
    end = _JPEG_END if content.startswith(_JPEG) else b'IEND'
    if end not in content[-_END_BYTES:]:
        raise ImageError(f'cut off: {len(content)} bytes without the mark of the end')
    flags = cv2.IMREAD_COLOR | (0 if turned else cv2.IMREAD_IGNORE_ORIENTATION)
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except cv2.error as error:
        raise ImageError(f'cannot be decoded: {error.err}') from error
    if image is None:
        raise ImageError(f'cannot be decoded: {len(content)} bytes, {width}x{height} by its header')
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def encode_jpeg(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Encode uint8 (H, W, 3) RGB as a JPEG: its bytes, uint8 (N,).

    Raises:
        ImageError: A side is longer than a JPEG can be.
    """
    done, content = cv2.imencode('.jpg', cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    if not done:
        height, width = image.shape[:2]
        raise ImageError(f'{width}x{height} pixels are too many for a JPEG')
    return content


def dimensions(content: bytes) -> tuple[int, int]:
    """Read height and width from the header of a JPEG or PNG; raises as `decode`."""
    if content.startswith(_PNG) and len(content) >= 24:
        return int.from_bytes(content[20:24], 'big'), int.from_bytes(content[16:20], 'big')
    if content.startswith(_JPEG):
        return _jpeg_dimensions(content)
    raise ImageError(f'{len(content)} bytes that are neither JPEG nor PNG')


def _jpeg_dimensions(content: bytes) -> tuple[int, int]:
    place = 2
    while place + 9 <= len(content):
        if content[place] != 0xFF:
            break
        marker = content[place + 1]
        if marker == 0xFF:  # a fill byte
            place += 1
        elif marker in _FRAME_MARKERS:
            height, width = content[place + 5 : place + 7], content[place + 7 : place + 9]
            return int.from_bytes(height, 'big'), int.from_bytes(width, 'big')
        else:
            place += 2 + int.from_bytes(content[place + 2 : place + 4], 'big')
    raise ImageError(f'a JPEG of {len(content)} bytes without its size')
