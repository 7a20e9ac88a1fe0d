# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The memory layout of image encodings, and checks that a message fits its encoding.

The fields of a message come from the network, so every size is checked before a pixel is touched.
"""

from __future__ import annotations

import reprlib
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np

MAX_PIXELS = 64 * 2**20  # 64 megapixels: 192 MiB as RGB


class ImageError(ValueError):
    """An image that cannot be decoded or encoded; says what was given and what is allowed."""


class ImageLike(Protocol):
    """The fields of `sensor_msgs/msg/Image` that hold the image."""

    height: int  # pixels
    width: int  # pixels
    encoding: str
    is_bigendian: Any  # 0 or 1; rclpy has an int, others a bool
    step: int  # bytes from the start of one row to the start of the next
    data: Any  # a buffer of bytes: array.array (rclpy), numpy uint8 (rosbags), bytes


@dataclass(frozen=True)
class PixelLayout:
    """The memory layout of an encoding, and the OpenCV conversion from it to RGB."""

    code: int | None  # of cv2.cvtColor; None: it is RGB already
    channels: int = 1  # samples per pixel in a row
    sample_bytes: int = 1
    block: tuple[int, int] = (1, 1)  # the smallest image, (height, width) in pixels
    whole_blocks: bool = False  # height and width must be multiples of the block
    half_rows: int = 2  # half rows of memory for each row: more where chroma follows all luma


# OpenCV names a Bayer pattern by the second and third pixel of its second row: its BG is RGGB,
# that is R G in the first row and G B in the second.
_BAYER = {
    'bayer_rggb': cv2.COLOR_BayerBG2RGB,
    'bayer_bggr': cv2.COLOR_BayerRG2RGB,
    'bayer_gbrg': cv2.COLOR_BayerGR2RGB,
    'bayer_grbg': cv2.COLOR_BayerGB2RGB,
}
BAYER_CODES = {f'{name}{bits}': code for bits in (8, 16) for name, code in _BAYER.items()}
# OpenCV reads all of these as BT.601 in limited range (luma 16..235, chroma 16..240), takes luma
# below 16 for 16, and repeats a chroma sample for each pixel it covers. A message cannot name
# another range or matrix, and cv_bridge reads them by the same conversions.
_UYVY = PixelLayout(cv2.COLOR_YUV2RGB_UYVY, channels=2, block=(1, 2), whole_blocks=True)
_YUYV = PixelLayout(cv2.COLOR_YUV2RGB_YUY2, channels=2, block=(1, 2), whole_blocks=True)
_NV12 = PixelLayout(cv2.COLOR_YUV2RGB_NV12, block=(2, 2), whole_blocks=True, half_rows=3)
_NV21 = PixelLayout(cv2.COLOR_YUV2RGB_NV21, block=(2, 2), whole_blocks=True, half_rows=3)
# OpenCV has no conversion for it, so it is rearranged as UYVY first. As in V4L2, a row of chroma
# takes twice `step`.
_NV24 = PixelLayout(None, half_rows=6)
# OpenCV's type names, which some drivers send as encodings, have OpenCV's order: B G R (A).
_CHANNELS = {
    'rgb': (None, 3),
    'bgr': (cv2.COLOR_BGR2RGB, 3),
    'rgba': (cv2.COLOR_RGBA2RGB, 4),
    'bgra': (cv2.COLOR_BGRA2RGB, 4),
    'mono': (cv2.COLOR_GRAY2RGB, 1),
}
_UNNAMED = {'UC1': 'mono', 'UC3': 'bgr', 'UC4': 'bgra'}

LAYOUTS = {
    **{
        f'{name}{bits}': PixelLayout(code, channels, bits // 8)
        for bits in (8, 16)
        for name, (code, channels) in _CHANNELS.items()
    },
    **{
        f'{bits}{name}': PixelLayout(*_CHANNELS[order], bits // 8)
        for bits in (8, 16)
        for name, order in _UNNAMED.items()
    },
    **{
        name: PixelLayout(code, sample_bytes=2 if name.endswith('16') else 1, block=(2, 2))
        for name, code in BAYER_CODES.items()
    },
    'yuv422': _UYVY,
    'uyvy': _UYVY,
    'yuv422_yuy2': _YUYV,
    'yuyv': _YUYV,
    'nv12': _NV12,
    'nv21': _NV21,
    'nv24': _NV24,
}
SUPPORTED: tuple[str, ...] = tuple(LAYOUTS)


def check_size(message: ImageLike, max_pixels: int = MAX_PIXELS) -> None:
    """Refuse an image without pixels, or with more than `max_pixels`."""
    height, width = int(message.height), int(message.width)
    if height < 1 or width < 1:
        raise ImageError(f'height {height} and width {width}: both must be at least 1')
    if height * width > max_pixels:
        raise ImageError(
            f'height {height} and width {width} make {height * width} pixels; '
            f'at most {max_pixels} are allowed'
        )


def check_blocks(message: ImageLike, layout: PixelLayout) -> None:
    """Refuse a height or width that the encoding does not allow."""
    for side, length, least in zip(
        ('height', 'width'), (message.height, message.width), layout.block, strict=True
    ):
        if length < least:
            raise ImageError(f'{side} {length}: {message.encoding} needs at least {least}')
        if layout.whole_blocks and length % least:
            raise ImageError(f'{side} {length}: {message.encoding} needs a multiple of {least}')


def check_step(message: ImageLike, row_bytes: int, unit_bytes: int) -> None:
    """Refuse rows that overlap or that cut a unit (a sample, or a pixel)."""
    step, encoding = int(message.step), reprlib.repr(message.encoding)
    if step < row_bytes:
        raise ImageError(
            f'step {step}: a row of {message.width} pixels of {encoding} takes at least '
            f'{row_bytes} bytes'
        )
    if step % unit_bytes:
        raise ImageError(f'step {step}: {encoding} needs a multiple of {unit_bytes} bytes')


def byte_rows(message: ImageLike, rows: int) -> np.ndarray:
    """View the data as uint8 (rows, step), without a copy; refuse data that is too short."""
    step = int(message.step)
    try:
        memory = np.frombuffer(message.data, np.uint8)
    except (TypeError, ValueError, BufferError) as error:
        raise ImageError(
            f'data of type {type(message.data).__name__}: needs a contiguous buffer of bytes'
        ) from error
    if memory.size == int(message.height) * step == rows * int(message.width):
        step = int(message.width)  # the sender counted the rows of chroma into those of luma
    if memory.size < rows * step:
        raise ImageError(
            f'data of {memory.size} bytes: height {message.height} and step {step} of '
            f'{reprlib.repr(message.encoding)} take at least {rows * step} bytes'
        )
    return memory[: rows * step].reshape(rows, step)
