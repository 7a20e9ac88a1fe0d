# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Image messages to numpy arrays and back: one codec for live messages and for recorded ones.

A message here is anything with the fields of `sensor_msgs/msg/Image`, so this module imports
neither rclpy nor a message. cv_bridge is used only for encodings that are not decoded here, because
its Python part trusts every field and silently shears rows or narrows an image.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Callable
from dataclasses import is_dataclass
from typing import Any, TypeVar

import cv2
import numpy as np

from clip_dinoiser_ros.frames.image_layout import (
    BAYER_CODES,
    LAYOUTS,
    MAX_PIXELS,
    SUPPORTED,
    ImageError,
    ImageLike,
    byte_rows,
    check_blocks,
    check_size,
    check_step,
)

__all__ = [
    'MAX_PIXELS',
    'SUPPORTED',
    'ImageError',
    'ImageLike',
    'to_depth',
    'to_ids',
    'to_message',
    'to_metres',
    'to_rgb',
]

Message = TypeVar('Message')

# Encodings that `to_message` writes: dtype (little-endian) and shape after (H, W); also 32FCk.
_WRITTEN: dict[str, tuple[str, tuple[int, ...]]] = {
    'mono8': ('|u1', ()),
    'mono16': ('<u2', ()),
    '32FC1': ('<f4', ()),
    'rgb8': ('|u1', (3,)),
}
_FLOAT_CHANNELS = re.compile('32FC([1-9][0-9]{0,3})')
# Encodings that `to_depth` reads: sample type without byte order, and samples per metre.
_DEPTHS = {'16UC1': ('u2', 1000), 'mono16': ('u2', 1000), '32FC1': ('f4', 1)}
# What `to_ids` reads: sample type without its byte order.
_IDS = {'mono8': 'u1', '8UC1': 'u1', 'mono16': 'u2', '16UC1': 'u2', '32SC1': 'i4'}
# The longest name in sensor_msgs has 12 characters. cv_bridge matches names by std::regex, which
# overflows the stack on a very long name.
_LONGEST_NAME = 32


def stamp_ns(header: Any) -> int:
    """Return the stamp of a std_msgs/Header, live or recorded, in nanoseconds."""
    return int(header.stamp.sec) * 10**9 + int(header.stamp.nanosec)


def to_rgb(message: ImageLike, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Decode an image message.

    Encodings that are not in `SUPPORTED` are decoded by cv_bridge if it is installed.

    Args:
        message: the image; its rows may be padded (`step`), its 16-bit samples big-endian, and
            its data longer than needed.
        max_pixels: Larger images are refused before decoding.

    Returns:
        uint8 (H, W, 3), RGB, each row contiguous. For rgb8 a view of the message's memory, which
        cannot be resized while the view lives; for the others a new array.

    Raises:
        ImageError: the size is zero, past `max_pixels` or does not fit the encoding; `step` is
            shorter than a row or cuts a sample; `data` is too short; the encoding is not known.
    """
    check_size(message, max_pixels)
    layout = LAYOUTS.get(message.encoding)
    if layout is None:
        return _ask_cv_bridge(message)
    check_blocks(message, layout)
    row_bytes = int(message.width) * layout.channels * layout.sample_bytes
    check_step(message, row_bytes, layout.sample_bytes)
    rows = int(message.height) * layout.half_rows // 2
    memory = byte_rows(message, rows)
    if message.encoding == 'nv24':
        return _nv24_to_rgb(memory, int(message.height), int(message.width))
    pixels = memory[:, :row_bytes]
    if layout.sample_bytes == 2:
        pixels = _to_8_bit(pixels.view('>u2' if message.is_bigendian else '<u2'))
    if layout.channels > 1:
        pixels = pixels.reshape(rows, -1, layout.channels)
    if layout.code is None:
        return pixels
    if message.encoding in BAYER_CODES and min(pixels.shape) < 3:
        return _thin_bayer(pixels, layout.code)
    return cv2.cvtColor(pixels, layout.code)


def to_depth(message: ImageLike, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Decode a depth image (REP 118).

    Args:
        message: 16UC1 or mono16 in millimetres, 32FC1 in metres; its rows may be padded (`step`)
            and its samples big-endian.
        max_pixels: Larger images are refused before decoding.

    Returns:
        float32 (H, W), metres along the optical axis, a new array. NaN where nothing was measured:
        where the message has 0, a negative or infinite number, or NaN.

    Raises:
        ImageError: as `to_rgb`, or the encoding is not one of a depth image.
    """
    if message.encoding not in _DEPTHS:
        raise ImageError(
            f'encoding {reprlib.repr(message.encoding)} is not depth; allowed: {", ".join(_DEPTHS)}'
        )
    kind, per_metre = _DEPTHS[message.encoding]
    return to_metres(_samples(message, kind, max_pixels), per_metre)


def to_metres(samples: np.ndarray, per_metre: int = 1) -> np.ndarray:
    """Convert samples of depth (H, W) to a new float32 array (H, W): NaN where they are none."""
    depth = np.divide(samples, per_metre, dtype=np.float32)
    depth[~((depth > 0) & (depth < np.inf))] = np.nan
    return depth


def to_ids(message: ImageLike) -> np.ndarray:
    """Decode a label image.

    Args:
        message: mono8, 8UC1, mono16, 16UC1 or 32SC1; its rows may be padded (`step`) and its
            samples big-endian.

    Returns:
        Class ids (H, W), uint8, uint16 or int32.

    Raises:
        ImageError: as `to_rgb`, or the encoding is not one of a label image.
    """
    if message.encoding not in _IDS:
        raise ImageError(
            f'encoding {reprlib.repr(message.encoding)} has no ids; allowed: {", ".join(_IDS)}'
        )
    samples = _samples(message, _IDS[message.encoding])
    return samples.astype(samples.dtype.newbyteorder('='))


def _samples(message: ImageLike, kind: str, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """View an image of one channel as samples of a kind, in the byte order of the message."""
    check_size(message, max_pixels)
    sample = np.dtype(('>' if message.is_bigendian else '<') + kind)
    row_bytes = int(message.width) * sample.itemsize
    check_step(message, row_bytes, sample.itemsize)
    return byte_rows(message, int(message.height))[:, :row_bytes].view(sample)


def to_message(
    array: np.ndarray, encoding: str, header: Any, image_type: Callable[..., Message]
) -> Message:
    """Make an image message without padding.

    Args:
        array: uint8 (H, W) for mono8, uint16 (H, W) for mono16, uint8 (H, W, 3) for rgb8,
            float32 (H, W, k) for 32FCk, for 32FC1 also (H, W).
        encoding: one of those.
        header: put into the message as it is.
        image_type: what to make: `sensor_msgs.msg.Image`, or the dataclass of rosbags for it.

    Returns:
        An `image_type`. One of rosbags shares the memory of a contiguous `array`.

    Raises:
        ImageError: the encoding is none of these, or the array does not fit it.
    """
    make: Any = image_type
    tight = _tight_bytes(array, encoding)
    fields = {
        'header': header,
        'height': array.shape[0],
        'width': array.shape[1],
        'encoding': encoding,
        'is_bigendian': 0,
        'step': tight.size // array.shape[0],
    }
    if is_dataclass(image_type):
        return make(**fields, data=tight)
    message = make(**fields)
    message.data.frombytes(tight)  # an assignment would copy byte by byte: 50 ms for 1080p
    return message


def _tight_bytes(array: np.ndarray, encoding: str) -> np.ndarray:
    """Return the bytes of a message, uint8 (N,); refuse an array that does not fit the encoding."""
    dtype, pixel_shape = _written(encoding)
    native = np.dtype(dtype).newbyteorder('=')
    if encoding == '32FC1' and array.ndim == 3:
        pixel_shape = (1,)
    if array.dtype != native or array.ndim < 2 or array.shape[2:] != pixel_shape or not array.size:
        shape = ', '.join(['H', 'W', *map(str, pixel_shape)])
        raise ImageError(
            f'cannot write {array.dtype} {array.shape} as {encoding}; allowed: {native} ({shape}), '
            'H and W at least 1'
        )
    return np.ascontiguousarray(array, dtype=dtype).reshape(-1).view(np.uint8)


def _written(encoding: str) -> tuple[str, tuple[int, ...]]:
    """Return dtype and shape after (H, W) of an encoding that can be written."""
    if encoding in _WRITTEN:
        return _WRITTEN[encoding]
    channels = _FLOAT_CHANNELS.fullmatch(encoding)
    if channels is None:
        raise ImageError(
            f'cannot write encoding {reprlib.repr(encoding)}; allowed: {", ".join(_WRITTEN)}, 32FCk'
        )
    return '<f4', (int(channels[1]),)


def _to_8_bit(samples: np.ndarray) -> np.ndarray:
    """Scale uint16 of either byte order, 65535 to 255, rounded to the nearest."""
    return cv2.convertScaleAbs(samples.astype(np.uint16, copy=False), alpha=255 / 65535)


def _nv24_to_rgb(memory: np.ndarray, height: int, width: int) -> np.ndarray:
    """Decode luma and the chroma below it as UYVY, each pixel as a pair of two equal ones."""
    pairs = np.empty((height, width, 4), np.uint8)
    pairs[..., 1::2] = memory[:height, :width, np.newaxis]
    pairs[..., ::2] = memory[height:].reshape(height, -1)[:, : 2 * width].reshape(height, width, 2)
    image = cv2.cvtColor(pairs.reshape(height, 2 * width, 2), cv2.COLOR_YUV2RGB_UYVY)
    return image[:, ::2].copy()


def _thin_bayer(mosaic: np.ndarray, code: int) -> np.ndarray:
    """Decode a mosaic two pixels high or wide, of which OpenCV would make a black image."""
    # Two mirrored pixels on each side keep the phase of the pattern.
    wide = cv2.copyMakeBorder(mosaic, 2, 2, 2, 2, cv2.BORDER_REFLECT_101)
    return cv2.cvtColor(wide, code)[2:-2, 2:-2]


def _ask_cv_bridge(message: ImageLike) -> np.ndarray:
    """Decode by cv_bridge, where that is installed, what is not decoded here."""
    byte_rows(message, int(message.height))
    known = f'set the driver to one of {", ".join(SUPPORTED)}'
    if len(message.encoding) > _LONGEST_NAME:
        raise ImageError(f'cannot decode encoding {reprlib.repr(message.encoding)}; {known}')
    try:
        from cv_bridge import CvBridge  # type: ignore[import-not-found]

        bridge = CvBridge()
        dtype, channels = bridge.encoding_to_dtype_with_channels(message.encoding)
        pixel_bytes = np.dtype(dtype).itemsize * channels
        # cv_bridge takes rows of whole pixels: any other step would shear the image.
        check_step(message, int(message.width) * pixel_bytes, pixel_bytes)
        image = np.asarray(bridge.imgmsg_to_cv2(message, 'rgb8'))
    except ImageError:
        raise
    except Exception as error:  # not installed, broken, or any of its many error types
        raise ImageError(
            f'cannot decode encoding {message.encoding!r}; {known}, or install cv_bridge, which '
            f'decodes some others: {error}'
        ) from error
    expected = (message.height, message.width, 3)
    if image.shape != expected or image.dtype != np.uint8:
        raise ImageError(
            f'cv_bridge made {image.dtype} {image.shape} of encoding {message.encoding!r}; '
            f'allowed: uint8 {expected}'
        )
    return np.ascontiguousarray(image)
