# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""A slow, obvious decoder, written apart from the real one and without OpenCV.

Everything is read one byte at a time from `data`, at the place the encoding's definition gives.
"""

import numpy as np

COLOR_ORDER = {
    'rgb8': 'rgb',
    'bgr8': 'bgr',
    'rgba8': 'rgba',
    'bgra8': 'bgra',
    '8UC3': 'bgr',
    '8UC4': 'bgra',
    'rgb16': 'rgb',
    'bgr16': 'bgr',
    'rgba16': 'rgba',
    'bgra16': 'bgra',
    '16UC3': 'bgr',
    '16UC4': 'bgra',
}
GREY = ('mono8', '8UC1', 'mono16', '16UC1')
# Where a pair of pixels keeps its bytes: first luma, second luma, U, V.
PAIR_ORDER = {
    'yuv422': (1, 3, 0, 2),
    'uyvy': (1, 3, 0, 2),
    'yuv422_yuy2': (0, 2, 1, 3),
    'yuyv': (0, 2, 1, 3),
}
CHROMA_ORDER = {'nv12': (0, 1), 'nv21': (1, 0)}


def sample_bytes(encoding):
    """The bytes of a sample."""
    return 2 if '16' in encoding else 1


def row_bytes(encoding, width):
    """The bytes of a row without padding."""
    samples = 2 if encoding in PAIR_ORDER else len(COLOR_ORDER.get(encoding, 'y'))
    return width * samples * sample_bytes(encoding)


def row_count(encoding, height):
    """The rows of memory that an image takes."""
    if encoding == 'nv24':
        return 3 * height
    return height + height // 2 if encoding in CHROMA_ORDER else height


def decode(message):
    """Decode to a float (H, W, 3) of RGB levels, not rounded, by one rule per pixel."""
    image = np.zeros((message.height, message.width, 3))
    for y in range(message.height):
        for x in range(message.width):
            image[y, x] = _pixel(message, y, x)
    return image


def _pixel(message, y, x):
    encoding, data = message.encoding, message.data
    start = y * message.step
    if encoding in COLOR_ORDER:
        order = COLOR_ORDER[encoding]
        return [_level(message, start, x * len(order) + order.index(color)) for color in 'rgb']
    if encoding in GREY:
        return [_level(message, start, x)] * 3
    if encoding in PAIR_ORDER:
        order = PAIR_ORDER[encoding]
        pair = start + (x // 2) * 4
        return yuv_to_rgb(data[pair + order[x % 2]], data[pair + order[2]], data[pair + order[3]])
    if encoding in CHROMA_ORDER:
        chroma = (message.height + y // 2) * message.step + (x // 2) * 2
        u, v = (data[chroma + place] for place in CHROMA_ORDER[encoding])
        return yuv_to_rgb(data[start + x], u, v)
    if encoding == 'nv24':
        chroma = message.height * message.step + y * 2 * message.step + 2 * x
        return yuv_to_rgb(data[start + x], data[chroma], data[chroma + 1])
    return _bayer_pixel(message, y, x)


def _level(message, start, index):
    """A sample of the row that begins at `start`, from 0 to 255."""
    if sample_bytes(message.encoding) == 1:
        return int(message.data[start + index])
    first, second = (int(message.data[start + 2 * index + place]) for place in (0, 1))
    return (first * 256 + second if message.is_bigendian else second * 256 + first) / 257


def yuv_to_rgb(luma, u, v):
    """BT.601 in limited range; luma below black is black, as in OpenCV."""
    luma = max(int(luma) - 16, 0) * 255 / 219
    blue, red = (int(u) - 128) * 255 / 224, (int(v) - 128) * 255 / 224
    rgb = (luma + 1.402 * red, luma - 0.344136 * blue - 0.714136 * red, luma + 1.772 * blue)
    return [min(max(level, 0), 255) for level in rgb]


def bayer_color(encoding, y, x):
    """'r', 'g' or 'b': the filter over a sensor element; bayer_rggb8 starts R G / G B."""
    return encoding.removeprefix('bayer_')[(y % 2) * 2 + x % 2]


def _bayer_pixel(message, y, x):
    """A color is the mean of its elements nearest to the pixel, of the eight around and itself.

    The picture ends as OpenCV ends it: the outermost pixels repeat their inner neighbours, except
    that an image two pixels thin is mirrored.
    """
    height, width = message.height, message.width
    if min(height, width) > 2:
        y, x = min(max(y, 1), height - 2), min(max(x, 1), width - 2)
    levels = []
    for color in 'rgb':
        near = {}
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                if bayer_color(message.encoding, y + dy, x + dx) == color:
                    start = _mirror(y + dy, height) * message.step
                    level = _level(message, start, _mirror(x + dx, width))
                    near.setdefault(dy * dy + dx * dx, []).append(level)
        nearest = near[min(near)]
        levels.append(sum(nearest) / len(nearest))
    return levels


def _mirror(index, length):
    index = abs(index)
    return 2 * (length - 1) - index if index >= length else index
