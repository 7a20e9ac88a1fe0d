"""What the segmenter sees, for people: the camera image tinted by class, with a legend."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from functools import cache

import cv2
import numpy as np
import numpy.typing as npt

OPACITY = 0.5
BACKGROUND_COLOUR = (0, 0, 0)
MIN_SHARE = 0.002  # classes that cover less of the image are not in the legend
MAX_LEGEND_ROWS = 16

# Okabe and Ito's palette, told apart by colour-blind people too
_FIRST_COLOURS = (
    (0, 114, 178),
    (213, 94, 0),
    (0, 158, 115),
    (240, 228, 66),
    (86, 180, 233),
    (204, 121, 167),
    (230, 159, 0),
    (120, 120, 120),
)
_GOLDEN_RATIO = 0.618033988749895


@cache
def colour(class_id: int) -> tuple[int, int, int]:
    """Return the colour of a class id, RGB 0 to 255: always the same, near ids far apart."""
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
) -> npt.NDArray[np.uint8]:
    """Tint an image by class and write the names of what it shows into its upper left corner.

    Args:
        image: uint8 (H, W, 3) RGB.
        labels: (H, W), index into `names`.
        names: Class names.
        ids: Class id of each name; decides its colour.
        labelled: bool (H, W); false where no class is claimed: left as it is.
        background: Index of the background class, which is darkened instead of tinted.

    Returns:
        uint8 (H, W, 3) RGB.
    """
    colours = np.array([colour(class_id) for class_id in ids], dtype=np.uint8)
    if background is not None:
        colours[background] = BACKGROUND_COLOUR
    tinted = cv2.addWeighted(image, 1.0 - OPACITY, colours[labels], OPACITY, 0.0)
    shown = labels if labelled is None else labels[labelled]
    if labelled is not None:
        tinted = np.where(labelled[..., None], tinted, image)
    share = np.bincount(shown.ravel(), minlength=len(names)) / max(labels.size, 1)
    order = [index for index in np.argsort(-share, kind='stable') if share[index] >= MIN_SHARE]
    rows = [
        (f'{names[index]} {share[index]:.0%}', tuple(int(c) for c in colours[index]))
        for index in order[:MAX_LEGEND_ROWS]
    ]
    _draw_legend(tinted, rows)
    return tinted


def _draw_legend(image: npt.NDArray[np.uint8], rows: Sequence[tuple[str, tuple[int, ...]]]) -> None:
    """Write rows of text behind a swatch of colour onto the image, in a size that suits it."""
    if not rows:
        return
    scale = max(0.35, min(image.shape[:2]) / 1000)
    font, thickness = cv2.FONT_HERSHEY_SIMPLEX, max(1, round(scale * 1.5))
    (_, text_height), baseline = cv2.getTextSize('Ag', font, scale, thickness)
    line = text_height + 2 * baseline
    texts = [text.encode('ascii', 'replace').decode() for text, _ in rows]  # what the font has
    widths = [cv2.getTextSize(text, font, scale, thickness)[0][0] for text in texts]
    corner = image[: line * len(rows) + baseline, : line + max(widths) + 3 * baseline]
    corner //= 3  # a dark ground, so that white text reads on any image
    for row, (text, (_, rgb)) in enumerate(zip(texts, rows, strict=True)):
        top = row * line + baseline
        swatch = ((baseline, top), (baseline + text_height, top + text_height))
        cv2.rectangle(image, *swatch, rgb, cv2.FILLED)
        origin = (line + baseline, top + text_height)
        cv2.putText(image, text, origin, font, scale, (255, 255, 255), thickness, cv2.LINE_AA)
