# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""RVL, the run-length and variable-length code of depth images.

A. Wilson, Fast Lossless Depth Image Compression, ISS 2017. The pixels, row by row, are runs: how
many are 0, how many of the next are not, and of each of these how far it is from the last that was
not 0. These numbers stand one after another in nibbles: three bits of the number, the lowest first,
and a bit that says whether more follow. Eight nibbles are a word of 32 bits, the highest first.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from clip_dinoiser_ros.frames.image_layout import ImageError

MAX_PIXELS = 2**23  # of which damage can make 1 GB; depth cameras have up to 2^21
_MOST_NIBBLES = 10  # of a number; the reference decoder shifts 32 bits


def decode(content: bytes, pixels: int) -> npt.NDArray[np.uint16]:
    """Decode the pixels of an image.

    Args:
        content: The code; what follows the last pixel is not looked at.
        pixels: How many there are, 1 to `MAX_PIXELS`.

    Returns:
        uint16 (pixels,).

    Raises:
        ImageError: The code ends before the last pixel, or no encoder writes it.
    """
    numbers, too_long = _numbers(content, pixels)
    headers, used = _runs(numbers, pixels)
    if too_long < used:
        raise ImageError('RVL is damaged: a number is too long')
    lengths = np.stack((numbers[headers], numbers[headers + 1]), axis=1).ravel()
    is_delta = np.ones(used, np.bool_)
    is_delta[headers] = is_delta[headers + 1] = False
    zigzag = numbers[:used][is_delta]  # 0, -1, 1, -2, ...
    deltas = (zigzag >> 1) ^ -(zigzag & 1)
    image = np.zeros(pixels, np.uint16)
    image[np.repeat(np.arange(lengths.size) % 2 == 1, lengths)] = np.cumsum(deltas, dtype=np.uint16)
    return image


def _numbers(content: bytes, pixels: int) -> tuple[npt.NDArray[np.uint32], int]:
    """Read the numbers; return them and which is the first that is too long."""
    # a difference has 17 bits, 6 nibbles, so a word for each pixel has room for all
    words = np.frombuffer(content, '<u4', len(content) // 4)
    octets = words[: pixels + 4].astype('>u4').view(np.uint8)
    nibbles = np.zeros(2 * octets.size + 1, np.uint8)  # one in front, which ends what was before
    nibbles[1::2], nibbles[2::2] = octets >> 4, octets & 15
    goes_on = nibbles >= 8
    ends = np.flatnonzero(~goes_on[1:]) + 1
    numbers = nibbles[ends].astype(np.uint32)
    longer = np.flatnonzero(goes_on[ends - 1])
    for back in range(1, _MOST_NIBBLES):  # from the highest bits to the lowest
        places = ends[longer] - back
        numbers[longer] = numbers[longer] << 3 | (nibbles[places] & 7)
        longer = longer[goes_on[places - 1]]
    return numbers, int(longer[0]) if longer.size else ends.size


def _runs(numbers: npt.NDArray[np.uint32], pixels: int) -> tuple[npt.NDArray[np.intp], int]:
    """Find the runs; return where the two lengths of each stand, and the end of the last."""
    lengths = memoryview(numbers)  # gives Python's numbers, which are faster than numpy's
    headers = []
    place, left = 0, pixels
    while left > 0:
        if place + 1 >= numbers.size:
            raise ImageError(f'RVL is cut off: {left} of {pixels} pixels are missing')
        others = lengths[place + 1]
        count = lengths[place] + others
        if not count:
            raise ImageError('RVL is damaged: an empty run')
        headers.append(place)
        left -= count
        place += 2 + others
    if left < 0:
        raise ImageError(f'RVL is damaged: its runs have {pixels - left} pixels, not {pixels}')
    if place > numbers.size:
        raise ImageError(f'RVL is cut off: {place - numbers.size} of {pixels} pixels are missing')
    return np.array(headers, np.intp), place
