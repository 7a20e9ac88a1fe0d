# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The samples of a soak as one picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from samples import FIGURES, WARM_UP, column
from trend import Trend

WIDTH, PANEL, LEFT, RIGHT, TOP, BOTTOM = 1200, 260, 90, 30, 44, 34
FONT = cv2.FONT_HERSHEY_SIMPLEX
INK, FAINT, GRID = (40, 40, 40), (120, 120, 120), (228, 228, 228)
LINE, FITTED, WARMING = (31, 119, 180), (214, 39, 40), (245, 243, 235)
TICKS = {  # what is drawn below the samples, by kind
    'deactivate and activate': (148, 103, 189),
    'cleanup and configure': (255, 127, 14),
}


def draw(
    samples: Sequence[Mapping[str, float]],
    found: Mapping[str, Trend],
    moments: Sequence[tuple[float, str]],
) -> np.ndarray:
    """Draw a panel for each figure and a legend: uint8 (H, W, 3) RGB."""
    end_s = max(samples[-1]['time_s'], 1.0)
    panels = [_panel(key, *column(samples, key), found.get(key), moments, end_s) for key in found]
    return np.vstack([*panels, _legend()])


def _panel(
    key: str,
    times_s: Sequence[float],
    values: Sequence[float],
    trend: Trend | None,
    moments: Sequence[tuple[float, str]],
    end_s: float,
) -> np.ndarray:
    panel = np.full((PANEL, WIDTH, 3), 255, np.uint8)
    low, high, step = _axis(min(values), max(values))

    def x(time_s: float) -> int:
        return round(LEFT + time_s / end_s * (WIDTH - LEFT - RIGHT))

    def y(value: float) -> int:
        return round(TOP + (high - value) / (high - low) * (PANEL - TOP - BOTTOM))

    warm_s = times_s[0] + WARM_UP * (times_s[-1] - times_s[0])
    cv2.rectangle(panel, (x(0), y(high)), (x(warm_s), y(low)), WARMING, cv2.FILLED)
    for value in np.arange(low, high + step / 2, step):
        cv2.line(panel, (LEFT, y(value)), (WIDTH - RIGHT, y(value)), GRID, 1)
        _write(panel, f'{value:g}', (LEFT - 8, y(value) + 5), right=True)
    for part in range(7):
        at = x(part * end_s / 6)
        _write(panel, f'{part * end_s / 6:.0f} s', (at - 14, PANEL - 8))
    for time_s, kind in moments:
        if kind in TICKS:
            cv2.line(panel, (x(time_s), y(low) - 7), (x(time_s), y(low)), TICKS[kind], 1)
    points = np.array([(x(t), y(v)) for t, v in zip(times_s, values, strict=True)])
    cv2.polylines(panel, [points], False, LINE, 2, cv2.LINE_AA)
    unit = FIGURES[key].unit
    title = FIGURES[key].name + (f' in {unit}' if unit else '')
    if trend is not None:
        middle_s = (warm_s + end_s) / 2
        ends = [
            (x(t), y(trend.level + (t - middle_s) / 3600 * trend.per_hour)) for t in (warm_s, end_s)
        ]
        cv2.line(panel, *ends, FITTED, 2, cv2.LINE_AA)
        title += (
            f': {trend.per_hour:+.0f} an hour '
            f'(95 %: {trend.low:+.0f} to {trend.high:+.0f}; allowed {trend.allowed_per_hour:.0f})'
        )
    cv2.putText(panel, title, (LEFT, 26), FONT, 0.6, INK, 1, cv2.LINE_AA)
    return panel


def _axis(least: float, most: float) -> tuple[float, float, float]:
    """Return the ends of an axis that holds these values, and a round step between its lines."""
    span = max(most - least, 4.0)
    step = 10.0 ** np.floor(np.log10(span / 4))
    step *= next(factor for factor in (1, 2, 5, 10) if span / (step * factor) <= 4)
    low, high = step * np.floor(least / step), step * np.ceil(most / step)
    return (low, high, step) if low < least and most < high else (low - step, high + step, step)


def _legend() -> np.ndarray:
    strip = np.full((40, WIDTH, 3), 255, np.uint8)
    left = LEFT
    entries = {'samples': LINE, 'slope': FITTED, 'warm-up, not judged': WARMING, **TICKS}
    for name, rgb in entries.items():
        cv2.rectangle(strip, (left, 12), (left + 18, 26), rgb, cv2.FILLED)
        _write(strip, name, (left + 24, 25))
        left += 54 + cv2.getTextSize(name, FONT, 0.45, 1)[0][0]
    return strip


def _write(picture: np.ndarray, text: str, at: tuple[int, int], right: bool = False) -> None:
    x, y = at
    if right:
        x -= cv2.getTextSize(text, FONT, 0.45, 1)[0][0]
    cv2.putText(picture, text, (x, y), FONT, 0.45, FAINT, 1, cv2.LINE_AA)
