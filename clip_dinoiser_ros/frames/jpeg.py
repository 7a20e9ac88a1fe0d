# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Size and end of a JPEG, found without decoding it.

The markers are followed in the same way as in libjpeg, and libjpeg gets nothing behind the end. So
it cannot find another size or more scans than this module.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from clip_dinoiser_ros.frames.image_layout import ImageError

# Bytes between the segments of a JPEG are skipped: stray and fill bytes, stuffed zeros, restart
# marks, and the pixels of a scan.
_MARKER = re.compile(rb'\xff([\xc0-\xcf\xd8-\xef\xfe])')
_JPEG_START, _JPEG_END = 0xD8, 0xD9  # without a length
# start-of-frame markers: this range without three others
_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_MAX_SEGMENTS = 10_000  # 64 MiB in segments of full length are 1024
_SCAN = b'\xff\xda'
# A scan of a few bytes makes the decoder go over all pixels: thousands of scans would take minutes.
# Encoders write about ten, and a few more for a thumbnail.
_MAX_SCANS = 100


def dimensions(content: bytes) -> tuple[int, int]:
    """Read height and width in pixels.

    Raises:
        ImageError: There is no size before the end, or it is behind too many segments.
    """
    for marker, place in _segments(content):
        if marker in (_JPEG_START, _JPEG_END):
            break
        if marker in _FRAME_MARKERS and place + 7 <= len(content):
            height, width = content[place + 3 : place + 5], content[place + 5 : place + 7]
            return int.from_bytes(height, 'big'), int.from_bytes(width, 'big')
    raise ImageError(f'a JPEG of {len(content)} bytes without image size')


def end(content: bytes) -> int:
    """Return the position after the first image; padding, other images or a film may follow.

    Raises:
        ImageError: It has no end, or too many segments or scans.
    """
    for marker, place in _segments(content):
        if marker == _JPEG_START:  # start of another image
            break
        if marker == _JPEG_END:
            scans = content.count(_SCAN, 0, place)
            if scans > _MAX_SCANS:
                raise ImageError(f'a JPEG of {scans} scans; at most {_MAX_SCANS} are allowed')
            return place
    raise ImageError(f'cut off: {len(content)} bytes without an end marker')


def _segments(content: bytes) -> Iterator[tuple[int, int]]:
    """Yield each marker of a JPEG after the first, and the position after it.

    Raises:
        ImageError: There are more than `_MAX_SEGMENTS`.
    """
    place = 2
    for _ in range(_MAX_SEGMENTS):
        found = _MARKER.search(content, place)
        if found is None:
            return
        marker, place = found[1][0], found.end()
        yield marker, place
        if marker not in (_JPEG_START, _JPEG_END):
            # a length below 2 is invalid, but libjpeg accepts it
            place += max(int.from_bytes(content[place : place + 2], 'big'), 2)
    raise ImageError(f'a JPEG of more than {_MAX_SEGMENTS} segments, which is not allowed')
