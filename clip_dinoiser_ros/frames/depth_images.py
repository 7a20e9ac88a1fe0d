# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Depth images of every transport: raw, zstd, PNG, and compressedDepth with its header."""

from __future__ import annotations

import reprlib
import struct
from typing import Any

import numpy as np
import numpy.typing as npt

from clip_dinoiser_ros.frames import compressed, images, rvl, zstd_transport
from clip_dinoiser_ros.frames.image_layout import MAX_PIXELS, ImageError

# Last parts of topics of CompressedImage that may be depth, as image_transport names them.
_COMPRESSED_TOPICS = ('compressed', 'compressedDepth', 'zstd')
_MILLIMETRES = 1000  # per metre
_CONFIG = struct.Struct('<iff')  # stands in front: a format, and two parameters of the quantisation
_SIZE = struct.Struct('<II')  # of RVL: width, height
_WHOLE, _INVERSE = ('16UC1', 'mono16'), '32FC1'  # encodings: millimetres, and quantised metres
_USE = 'use its raw topic, compressedDepth (png, rvl), zstd, or compressed with format png'


def is_compressed(topic: str) -> bool:
    """Whether a depth topic has messages of CompressedImage, by the last part of its name."""
    return topic.rsplit('/', 1)[-1] in _COMPRESSED_TOPICS


def to_depth(message: Any, max_pixels: int = MAX_PIXELS) -> npt.NDArray[np.float32]:
    """Decode a depth image of any transport.

    Args:
        message: An object with the fields of `sensor_msgs/msg/Image`, see `images.to_depth`, or of
            `sensor_msgs/msg/CompressedImage`: a PNG of 16-bit grey in millimetres, or what
            compressed_depth_image_transport makes of 16UC1 (the same), or of 32FC1 (inverse depth,
            quantised), as PNG or RVL; or a raw depth image of the transport `zstd`.
        max_pixels: Larger images are refused before decoding.

    Returns:
        float32 (H, W), metres along the optical axis, a new array. NaN where nothing was measured.

    Raises:
        ImageError: As `images.to_depth`; a format that is not depth or loses it; damaged data.
    """
    if not hasattr(message, 'format'):
        return images.to_depth(message, max_pixels)
    try:
        return _decode(message.format, bytes(message.data), max_pixels)
    except ImageError as error:
        raise ImageError(f'depth of format {reprlib.repr(message.format)}: {error}') from error


def _decode(form: str, content: bytes, max_pixels: int) -> npt.NDArray[np.float32]:
    if form == zstd_transport.FORMAT:
        raw = zstd_transport.unpack(content, max_pixels, compressed.MAX_BYTES)
        return images.to_depth(raw, max_pixels)
    encoding, _, codec = (part.strip() for part in form.partition(';'))
    if content.startswith((compressed.PNG, compressed.JPEG)):
        if encoding == _INVERSE:
            raise ImageError('the header with the parameters of the quantisation is missing')
        return images.to_metres(_png(content, max_pixels), _MILLIMETRES)
    if encoding not in (*_WHOLE, _INVERSE):
        raise ImageError(f'{len(content)} bytes are not a PNG; {_USE}')
    if len(content) < _CONFIG.size:
        raise ImageError(f'cut off: {len(content)} bytes; the header alone has {_CONFIG.size}')
    _, a, b = _CONFIG.unpack_from(content)
    decode = _rvl if codec.split() == ['compressedDepth', 'rvl'] else _png
    samples = decode(content[_CONFIG.size :], max_pixels)
    if encoding == _INVERSE:
        return _from_inverse(samples, a, b)
    return images.to_metres(samples, _MILLIMETRES)


def _png(content: bytes, max_pixels: int) -> npt.NDArray[np.uint16]:
    if content.startswith(compressed.JPEG):
        raise ImageError(f'a JPEG, which loses depth; {_USE}')
    try:
        samples = compressed.decode_samples(content, max_pixels=max_pixels)
    except compressed.NeitherError as error:
        raise ImageError(f'{len(content)} bytes are not a PNG; {_USE}') from error
    if samples.dtype != np.uint16 or samples.ndim != 2:
        shape = ', '.join(map(str, samples.shape))
        raise ImageError(f'a PNG of {samples.dtype} ({shape}); depth is uint16 (H, W)')
    return samples


def _rvl(content: bytes, max_pixels: int) -> npt.NDArray[np.uint16]:
    if not _SIZE.size < len(content) <= compressed.MAX_BYTES:
        raise ImageError(
            f'RVL of {len(content)} bytes; allowed: {_SIZE.size + 1} to {compressed.MAX_BYTES}'
        )
    width, height = _SIZE.unpack_from(content)
    most = min(max_pixels, rvl.MAX_PIXELS)
    if not 0 < width * height <= most:
        raise ImageError(f'RVL of {width}x{height} pixels; allowed: 1 to {most}')
    return rvl.decode(content[_SIZE.size :], height * width).reshape(height, width)


def _from_inverse(samples: npt.NDArray[np.uint16], a: float, b: float) -> npt.NDArray[np.float32]:
    """Undo the quantisation of metres: a sample is a / depth + b, 0 where nothing was measured."""
    if not (np.isfinite([a, b]).all() and a > 0):
        raise ImageError(f'quantised by {a:g} and {b:g}; the first must be above 0, both finite')
    with np.errstate(divide='ignore', over='ignore'):
        metres = np.float32(a) / (samples.astype(np.float32) - np.float32(b))
    metres[samples == 0] = np.nan
    return images.to_metres(metres)
