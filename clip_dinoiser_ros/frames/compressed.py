# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""JPEG and PNG to RGB, from messages and from files; and RGB to JPEG.

JPEG and PNG headers are checked before decoding; cut off or oversized images are refused. OpenCV
alone would accept 2^30 pixels, fill the missing part of a cut off image with grey, and allocate
whatever length a chunk of a PNG states: 4 GB for a file of 144 bytes. No file has a small size for
this check and a large one for OpenCV.
"""

from __future__ import annotations

import reprlib
import sys
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from clip_dinoiser_ros.frames import images, jpeg, zstd_transport
from clip_dinoiser_ros.frames.image_layout import BAYER_CODES, LAYOUTS, MAX_PIXELS, ImageError

MAX_BYTES = 64 * 2**20  # compressed; a camera's are a hundredth of that
# what image_transport writes of an rgb8 image
JPEG_FORMAT = 'rgb8; jpeg compressed bgr8'
JPEG, PNG = b'\xff\xd8\xff', b'\x89PNG\r\n\x1a\n'  # what each begins with
_IHDR = b'\0\0\0\rIHDR'  # length and name of the part of a PNG that must be the first
_CODECS = ('jpeg', 'jpg', 'png')  # formats of senders that do not name an encoding


class NeitherError(ImageError):
    """Bytes that are neither JPEG nor PNG."""


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
        ImageError: Neither JPEG nor PNG, cut off, damaged, or above a limit.
    """
    return to_8_bit_rgb(decode_samples(data, turned, max_pixels, max_bytes))


def to_rgb(
    message: Any, max_pixels: int = MAX_PIXELS, max_bytes: int = MAX_BYTES
) -> npt.NDArray[np.uint8]:
    """Decode an object with the fields of `sensor_msgs/msg/CompressedImage`; see `decode`.

    Its format says what the pixels of a grey image are: a Bayer mosaic is interpolated. Colour
    images were converted by the sender. A raw image of the transport `zstd` is decoded too.

    Raises:
        ImageError: As `decode`, or a grey image of an encoding that is neither grey nor Bayer.
    """
    given = reprlib.repr(message.format)
    if 'compressedDepth' in message.format:
        raise ImageError(f'format {given} is depth; only JPEG and PNG images can be decoded')
    if not len(message.data):
        raise ImageError(f'format {given}: no data; the sender could not encode it, see its log')
    if message.format == zstd_transport.FORMAT:
        return images.to_rgb(zstd_transport.unpack(message.data, max_pixels, max_bytes), max_pixels)
    try:
        pixels = decode_samples(message.data, False, max_pixels, max_bytes)
    except NeitherError as error:
        raise ImageError(
            f'format {given}: {error}; republish the topic as JPEG, PNG or sensor_msgs/msg/Image, '
            'for example by image_transport republish'
        ) from error
    encoding = _encoding(message.format)
    if pixels.ndim == 3 or not encoding:
        return to_8_bit_rgb(pixels)
    if encoding in BAYER_CODES:  # of 16 bits, as a JPEG it has 8
        return to_8_bit_rgb(pixels, encoding.rstrip('0123456789'))
    if encoding not in LAYOUTS or LAYOUTS[encoding].block != (1, 1) or encoding == 'nv24':
        raise ImageError(
            f'format {given}: a grey image declared as {reprlib.repr(encoding)}; allowed: grey, '
            f'colour and {", ".join(BAYER_CODES)}; set the encoding of the driver'
        )
    return to_8_bit_rgb(pixels)


def _encoding(form: str) -> str:
    """Return the encoding of the pixels that were compressed; empty where the format names none.

    image_transport writes `SENT; jpeg compressed COMPRESSED`, where COMPRESSED may be missing.
    Others write an encoding or a codec alone.
    """
    sent, separator, rest = (part.strip() for part in form.partition(';'))
    compressed = rest.rpartition(' ')[2]
    if compressed in LAYOUTS:
        return compressed
    return sent if sent in LAYOUTS or (separator and sent not in _CODECS) else ''


def decode_samples(
    data: Any, turned: bool = False, max_pixels: int = MAX_PIXELS, max_bytes: int = MAX_BYTES
) -> npt.NDArray[np.uint8 | np.uint16]:
    """Do what `decode` does, but return (H, W) grey or (H, W, 3) BGR, of 8 or 16 bits."""
    size = memoryview(data).nbytes
    if size > max_bytes:
        raise ImageError(f'{size} bytes; at most {max_bytes} are allowed')
    content = bytes(data)
    height, width = dimensions(content)
    if height < 1 or width < 1 or height * width > max_pixels:
        raise ImageError(f'{width}x{height} pixels; allowed: 1 to {max_pixels}')
    if content.startswith(JPEG):
        content = content[: jpeg.end(content)]
    else:
        _check_png(content)
    flags = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH
    flags |= 0 if turned else cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    except cv2.error as error:
        raise ImageError(f'cannot be decoded: {error.err}') from error
    if image is None:
        raise ImageError(f'cannot be decoded: {len(content)} bytes, {width}x{height} by its header')
    return image


def to_8_bit_rgb(
    pixels: npt.NDArray[np.uint8 | np.uint16], grey: str = 'mono'
) -> npt.NDArray[np.uint8]:
    """Convert (H, W) of an encoding without its bits, or (H, W, 3) BGR, to uint8 (H, W, 3) RGB."""
    kind = grey if pixels.ndim == 2 else 'bgr'
    height, width = pixels.shape[:2]
    message = SimpleNamespace(
        height=height,
        width=width,
        encoding=f'{kind}{8 * pixels.itemsize}',
        is_bigendian=sys.byteorder == 'big',
        step=pixels.strides[0],
        data=pixels.reshape(-1).view(np.uint8),
    )
    return images.to_rgb(message, height * width)


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
    if content.startswith(PNG + _IHDR) and len(content) >= 24:
        return int.from_bytes(content[20:24], 'big'), int.from_bytes(content[16:20], 'big')
    if content.startswith(JPEG):
        return jpeg.dimensions(content)
    raise NeitherError(f'{len(content)} bytes are neither JPEG nor PNG')


def _check_png(content: bytes) -> None:
    """Refuse a PNG that lacks a part of its chunks, from the first to the end chunk."""
    place, name = len(PNG), b''
    while name != b'IEND':
        length = int.from_bytes(content[place : place + 4], 'big')
        name = content[place + 4 : place + 8]
        place += 12 + length  # with the length, the name and the checksum
        if place > len(content):
            raise ImageError(
                f'cut off or damaged: {len(content)} bytes, a chunk extends to byte {place}'
            )
