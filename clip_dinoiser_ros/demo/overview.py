# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The overview of the demo: image, labels and confidence before and after the prompts changed."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from clip_dinoiser_ros.demo.results import IGNORED, ComparedFrame
from clip_dinoiser_ros.frames.overlay import colour

Image = npt.NDArray[np.uint8]
TILE = (360, 480)  # height, width
GAP = 8
FONT = cv2.FONT_HERSHEY_SIMPLEX
INK, PAPER, FAINT = (30, 30, 30), (255, 255, 255), (225, 225, 225)
BACKGROUND = (70, 70, 70)
COLUMNS = ('image', 'true labels', 'predicted labels', 'confidence')


def draw_overview(rows: Sequence[tuple[str, ComparedFrame]]) -> Image:
    """Draw a row of four images and a legend for each titled frame: uint8 (H, W, 3) RGB."""
    width = len(COLUMNS) * (TILE[1] + GAP) + GAP
    parts = [part for title, frame in rows for part in _row(title, frame, width)]
    return np.vstack(parts)


def _row(title: str, frame: ComparedFrame, width: int) -> list[Image]:
    colours = [rgb for _, rgb in _classes(frame)]
    tiles = [
        frame.image,
        _coloured(frame.truth, colours),
        _coloured(frame.labels, colours),
        cv2.applyColorMap(frame.result.confidence, cv2.COLORMAP_VIRIDIS)[..., ::-1],
    ]
    strip = _paper(TILE[0], width)
    for index, tile in enumerate(tiles):
        left = GAP + index * (TILE[1] + GAP)
        strip[:, left : left + TILE[1]] = cv2.resize(
            tile, TILE[::-1], interpolation=cv2.INTER_AREA if index == 0 else cv2.INTER_NEAREST
        )
    return [_heading(title, width), strip, _legend(frame, width)]


def _classes(frame: ComparedFrame) -> list[tuple[str, tuple[int, ...]]]:
    """Return name and colour of every class."""
    vocabulary = frame.result.vocabulary
    return [
        (name, BACKGROUND if name == vocabulary.background else colour(class_id))
        for name, class_id in zip(vocabulary.names, vocabulary.ids.tolist(), strict=True)
    ]


def _coloured(labels: npt.NDArray[np.unsignedinteger], colours: Sequence[tuple[int, ...]]) -> Image:
    """Draw every class in its colour, and all other pixels in light grey."""
    table = np.full((256, 3), FAINT, np.uint8)
    table[: len(colours)] = colours
    return table[labels]


def _heading(title: str, width: int) -> Image:
    strip = _paper(64, width)
    cv2.putText(strip, title, (GAP, 26), FONT, 0.7, INK, 2, cv2.LINE_AA)
    for index, name in enumerate(COLUMNS):
        at = (GAP + index * (TILE[1] + GAP), 55)
        cv2.putText(strip, name, at, FONT, 0.6, (110, 110, 110), 1, cv2.LINE_AA)
    return strip


def _legend(frame: ComparedFrame, width: int) -> Image:
    """Draw the legend: the prompts in order, and the scale of the confidence."""
    strip = _paper(44, width)
    left = GAP
    swatches = _classes(frame)
    if (frame.truth == IGNORED).any():
        swatches.append(('no prompt', FAINT))
    for name, rgb in swatches:
        cv2.rectangle(strip, (left, 12), (left + 18, 30), rgb, cv2.FILLED)
        cv2.putText(strip, name, (left + 24, 27), FONT, 0.5, INK, 1, cv2.LINE_AA)
        left += 24 + cv2.getTextSize(name, FONT, 0.5, 1)[0][0] + 20
    scale = np.arange(160, dtype=np.float32) * (255 / 159)
    bar = cv2.applyColorMap(np.tile(scale.astype(np.uint8), (18, 1)), cv2.COLORMAP_VIRIDIS)
    right = width - GAP - 40
    if left < right - 180:
        strip[12:30, right - 160 : right] = bar[..., ::-1]
        cv2.putText(strip, '0', (right - 176, 27), FONT, 0.5, INK, 1, cv2.LINE_AA)
        cv2.putText(strip, '1', (right + 6, 27), FONT, 0.5, INK, 1, cv2.LINE_AA)
    return strip


def _paper(height: int, width: int) -> Image:
    return np.full((height, width, 3), PAPER, np.uint8)
