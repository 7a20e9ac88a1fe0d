# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The messages of image_transport's plugin zstd: whole raw images, without loss.

Its name is that of another codec than it uses: the pixels are a gzip stream. The fields of the
image stand before it.
"""

from __future__ import annotations

import struct
import zlib
from types import SimpleNamespace
from typing import Any

from clip_dinoiser_ros.frames.image_layout import ImageError, check_size

FORMAT = 'zstd'  # the `format` of its CompressedImage
_FIELDS = struct.Struct('<IIBII')  # height, width, is_bigendian, step, length of the encoding
_ANY_HEADER = 32 + zlib.MAX_WBITS  # of gzip or zlib
_LONGEST_ENCODING = 64
_PIXEL_BYTES = 8  # of the largest encoding, rgba16
_ROWS = 3  # of memory for each of the image, in the largest encoding, nv24


def unpack(data: Any, max_pixels: int, max_bytes: int) -> SimpleNamespace:
    """Unpack a message.

    Args:
        data: Of the CompressedImage, in any buffer.
        max_pixels: Larger images are refused before unpacking.
        max_bytes: Longer `data` is refused.

    Returns:
        The fields of `sensor_msgs/msg/Image` without the header.

    Raises:
        ImageError: Cut off, damaged, or above a limit.
    """
    content = bytes(data)
    if len(content) > max_bytes:
        raise ImageError(f'{len(content)} bytes; at most {max_bytes} are allowed')
    image, start = _fields(content)
    check_size(image, max_pixels)
    size = _ROWS * image.height * image.step
    if size > _ROWS * _PIXEL_BYTES * max_pixels:
        raise ImageError(
            f'height {image.height} and step {image.step}: too many bytes for {max_pixels} pixels'
        )
    unpacker = zlib.decompressobj(_ANY_HEADER)
    try:
        image.data = unpacker.decompress(content[start:], max(size, 1))  # 0 would be no limit
    except zlib.error as error:
        raise ImageError(f'damaged: {error}') from error
    if not unpacker.eof and len(image.data) < size:
        raise ImageError(f'cut off: only {len(image.data)} bytes of pixels could be decompressed')
    return image


def encoding(data: Any) -> str:
    """Return the encoding of the image in a message; raises as `unpack`."""
    image, _ = _fields(bytes(data))
    return str(image.encoding)


def _fields(content: bytes) -> tuple[SimpleNamespace, int]:
    """Read the fields before the pixels; return them and where they end."""
    if len(content) < _FIELDS.size:
        raise ImageError(f'cut off: {len(content)} bytes without the fields of an image')
    height, width, is_bigendian, step, length = _FIELDS.unpack_from(content)
    if length > _LONGEST_ENCODING:
        raise ImageError(f'damaged: an encoding of {length} characters')
    end = _FIELDS.size + length
    image = SimpleNamespace(
        height=height,
        width=width,
        is_bigendian=is_bigendian,
        step=step,
        encoding=content[_FIELDS.size : end].decode(errors='replace'),
    )
    return image, end
