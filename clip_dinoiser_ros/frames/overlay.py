# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The overlay: the camera image tinted by class, with a legend."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
import numpy.typing as npt

OPACITY = 0.5
BACKGROUND_COLOUR = (0, 0, 0)
MIN_SHARE = 0.002  # classes with a smaller share of the image are not in the legend
MAX_LEGEND_ROWS = 16
FONT, INK = cv2.FONT_HERSHEY_SIMPLEX, (255, 255, 255)

# the palette of Okabe and Ito, which colour-blind people can tell apart
_FIRST_COLOURS = (
    (0, 114, 178),
    (213, 94, 0),
    (0, 158, 115),
    (240, 228, 66),
    (86, 180, 233),
    (204, 121, 167),
    (230, 159, 0),
    (120, 120, 120),
    # then, one by one, the colour with the largest least distance in CIELAB to those before and to
    # black, with normal vision and with simulated protanopia and deuteranopia
    (0, 0, 255),
    (240, 255, 180),
    (240, 255, 255),
    (105, 105, 255),
    (150, 30, 30),
    (75, 195, 105),
    (75, 75, 105),
    (255, 165, 180),
)
_GOLDEN_RATIO = 0.618033988749895


@dataclass(frozen=True)
class _LegendRow:
    """One class in the legend; `numbers` are written behind its name."""

    colour: tuple[int, ...]
    name: str
    numbers: tuple[str, ...]


@cache
def colour(class_id: int) -> tuple[int, int, int]:
    """Return the colour of a class id, RGB 0 to 255; the same id always has the same colour."""
    if class_id < len(_FIRST_COLOURS):
        return _FIRST_COLOURS[class_id]
    hue = (class_id * _GOLDEN_RATIO) % 1.0
    value = (1.0, 0.75, 0.55)[class_id % 3]
    r, g, b = colorsys.hsv_to_rgb(hue, 0.8, value)
    return round(r * 255), round(g * 255), round(b * 255)


def draw_overlay(
    image: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.unsignedinteger],
    names: Sequence[str],
    ids: Sequence[int],
    labelled: npt.NDArray[np.bool_] | None = None,
    background: int | None = None,
    confidence: npt.NDArray[np.float32] | None = None,
) -> npt.NDArray[np.uint8]:
    """Tint an image by class and draw a legend in its upper left corner.

    The legend shows the share of the image of each class, and its mean confidence.

    Args:
        image: uint8 (H, W, 3) RGB.
        labels: (H, W), index into `names`.
        names: Class names.
        ids: Class id of each name; decides its colour.
        labelled: bool (H, W); unlabelled pixels are not tinted.
        background: Index of the background class, which is darkened instead of tinted.
        confidence: float32 (H, W) in [0, 1]; None: the legend has only shares.

    Returns:
        uint8 (H, W, 3) RGB.
    """
    colours = np.array([colour(class_id) for class_id in ids], dtype=np.uint8)
    if background is not None:
        colours[background] = BACKGROUND_COLOUR
    tinted = cv2.addWeighted(image, 1.0 - OPACITY, colours[labels], OPACITY, 0.0)
    if labelled is not None:
        tinted = np.where(labelled[..., None], tinted, image)
    _draw_legend(tinted, _legend_rows(labels, names, colours, labelled, confidence))
    return tinted


def _legend_rows(
    labels: npt.NDArray[np.unsignedinteger],
    names: Sequence[str],
    colours: npt.NDArray[np.uint8],
    labelled: npt.NDArray[np.bool_] | None,
    confidence: npt.NDArray[np.float32] | None,
) -> list[_LegendRow]:
    """List the classes of an image, the largest share first."""
    chosen = slice(None) if labelled is None else labelled
    shown = labels[chosen].ravel()
    counts = np.bincount(shown, minlength=len(names))
    share = counts / max(labels.size, 1)
    cells = [[f'{part:.0%}' if part >= 0.005 else '<1%'] for part in share]
    if confidence is not None:
        total = np.bincount(shown, confidence[chosen].ravel(), minlength=len(names))
        for index, mean in enumerate(total / np.maximum(counts, 1)):
            cells[index].append(f'{mean:.2f}')
    order = [index for index in np.argsort(-share, kind='stable') if share[index] >= MIN_SHARE]
    return [
        _LegendRow(tuple(int(c) for c in colours[index]), names[index], tuple(cells[index]))
        for index in order[:MAX_LEGEND_ROWS]
    ]


def _draw_legend(image: npt.NDArray[np.uint8], rows: Sequence[_LegendRow]) -> None:
    """Draw the rows of the legend, scaled to the image."""
    if not rows:
        return
    scale = max(0.35, min(image.shape[:2]) / 1000)
    thickness = max(1, round(scale * 1.5))
    (_, text_height), baseline = cv2.getTextSize('Ag', FONT, scale, thickness)
    line, gap = text_height + 2 * baseline, 2 * baseline
    # columns: the name, then right-aligned numbers
    columns = list(zip(*([_ascii(row.name), *row.numbers] for row in rows), strict=True))
    widths = [[cv2.getTextSize(t, FONT, scale, thickness)[0][0] for t in c] for c in columns]
    ends = np.cumsum([max(width) + gap for width in widths]) + line + baseline
    corner = image[: line * len(rows) + baseline, : ends[-1]]
    corner //= 3  # a dark background, so that white text is readable on any image
    for row, entry in enumerate(rows):
        top = row * line + baseline
        swatch = ((baseline, top), (baseline + text_height, top + text_height))
        cv2.rectangle(image, *swatch, entry.colour, cv2.FILLED)
        for column, texts in enumerate(columns):
            left = ends[column] - gap - widths[column][row] if column else line + baseline
            at = (int(left), top + text_height)
            cv2.putText(image, texts[row], at, FONT, scale, INK, thickness, cv2.LINE_AA)


def _ascii(text: str) -> str:
    """Replace characters that the font lacks."""
    return text.encode('ascii', 'replace').decode()
