# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Two charts in SVG: shares as a stack, and one value as a line."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np
import numpy.typing as npt

WIDTH, HEIGHT = 900, 240
_LEFT, _BOTTOM, _TOP = 44, 24, 8  # margins for the labels of the axes
_RIGHT = 12
_LIMITS = (0.04, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0)  # upper end of the axis


def stack(
    times_s: npt.NDArray[np.float64],
    shares: npt.NDArray[np.float64],
    names: Sequence[str],
    colours: Sequence[tuple[int, int, int]],
) -> str:
    """Draw the share of the image that each class covers over time, stacked.

    Args:
        times_s: (T,) seconds, increasing.
        shares: (T, K), 0 to 1.
        names: K names, shown under the mouse pointer; escaped.
        colours: K colours, RGB 0 to 255.
    """
    x, top = _x(times_s), np.cumsum(shares, axis=1)
    highest = next(limit for limit in _LIMITS if limit >= min(top.max(initial=0.0), 1.0))
    parts = []
    for index, (name, rgb) in enumerate(zip(names, colours, strict=True)):
        if shares[:, index].max() == 0:
            continue
        upper = _y(top[:, index] / highest)
        lower = _y((top[:, index] - shares[:, index]) / highest)
        points = [*zip(x, upper, strict=True), *zip(x[::-1], lower[::-1], strict=True)]
        parts.append(
            f'<polygon points="{_points(points)}" fill="rgb{rgb}"><title>{escape(name)}</title>'
            '</polygon>'
        )
    return _chart(times_s, ''.join(parts), highest)


def line(times_s: npt.NDArray[np.float64], values: npt.NDArray[np.float64]) -> str:
    """Draw a value between 0 and 1 over time.

    Args:
        times_s: (T,) seconds, increasing.
        values: (T,).
    """
    points = _points(list(zip(_x(times_s), _y(values), strict=True)))
    return _chart(times_s, f'<polyline points="{points}" class="line"/>')


def _x(times_s: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    span = max(times_s[-1] - times_s[0], 1e-9)
    return _LEFT + (times_s - times_s[0]) / span * (WIDTH - _LEFT - _RIGHT)


def _y(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return _TOP + (1.0 - np.clip(values, 0.0, 1.0)) * (HEIGHT - _TOP - _BOTTOM)


def _points(points: Sequence[tuple[float, float]]) -> str:
    return ' '.join(f'{x:.1f},{y:.1f}' for x, y in points)


def _chart(times_s: npt.NDArray[np.float64], content: str, highest: float = 1.0) -> str:
    """Add axes to a drawing."""
    bottom, right = HEIGHT - _BOTTOM, WIDTH - _RIGHT
    axes = []
    digits = 0 if highest * 100 % 4 == 0 else 1
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = float(_y(np.array([share]))[0])
        axes.append(f'<path class="grid" d="M{_LEFT} {y:.1f}H{right}"/>')
        axes.append(
            f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" class="end">{share * highest:.{digits}%}</text>'
        )
    span = times_s[-1] - times_s[0]
    for part in (0.0, 0.25, 0.5, 0.75, 1.0):
        x = _LEFT + part * (right - _LEFT)
        where = {0.0: 'start', 1.0: 'end'}.get(part, 'middle')
        axes.append(
            f'<text x="{x:.1f}" y="{bottom + 18}" class="{where}">'
            f'{times_s[0] + part * span:.1f} s</text>'
        )
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">{content}{"".join(axes)}</svg>'
