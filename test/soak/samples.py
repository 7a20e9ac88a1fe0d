# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""What a process holds, sampled over time, and whether that grows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trend import Trend, fit

WARM_UP = 1 / 3  # of the time: what is loaded, cached and pooled has been by then
JUDGED_FROM_S = 300.0  # a shorter run says nothing about an hour


@dataclass(frozen=True)
class Figure:
    """One thing that is sampled.

    Attributes:
        name, unit: As they are shown.
        allowed_per_hour: What is not called a growth.
    """

    name: str
    unit: str
    allowed_per_hour: float


FIGURES: Mapping[str, Figure] = {
    'rss_mib': Figure('resident memory', 'MiB', 60.0),
    'rest_mib': Figure('resident memory after cleanup', 'MiB', 60.0),
    'fds': Figure('file descriptors', '', 6.0),
    'threads': Figure('threads', '', 6.0),
    'gpu_mib': Figure('GPU memory in use', 'MiB', 60.0),
    'page_rss_mib': Figure('resident memory of the page', 'MiB', 60.0),
    'page_fds': Figure('file descriptors of the page', '', 6.0),
    'page_threads': Figure('threads of the page', '', 6.0),
}


def column(samples: Sequence[Mapping[str, float]], key: str) -> tuple[list[float], list[float]]:
    """Return times and values of the samples that have a figure."""
    having = [s for s in samples if key in s]
    return [s['time_s'] for s in having], [s[key] for s in having]


def trends(samples: Sequence[Mapping[str, float]]) -> dict[str, Trend]:
    """Fit what came after the warm-up, for each figure that was sampled at least twice."""
    start_s, end_s = samples[0]['time_s'], samples[-1]['time_s']
    warm = [s for s in samples if s['time_s'] >= start_s + WARM_UP * (end_s - start_s)]
    return {
        key: fit(*column(warm, key), figure.allowed_per_hour)
        for key, figure in FIGURES.items()
        if len(column(warm, key)[0]) >= 2
    }


def faults(found: Mapping[str, Trend]) -> list[str]:
    """Say which figures grow."""
    return [
        f'{FIGURES[key].name}: grows by {trend.per_hour:.0f} {FIGURES[key].unit} an hour '
        f'(95 %: {trend.low:.0f} to {trend.high:.0f}, allowed {trend.allowed_per_hour:.0f})'
        for key, trend in found.items()
        if trend.grows
    ]


def table(found: Mapping[str, Trend]) -> str:
    """Show the trends as Markdown."""
    lines = ['| figure | median | per hour | 95 % | allowed per hour |', '| --- ' * 5 + '|']
    for key, trend in found.items():
        figure = FIGURES[key]
        lines.append(
            f'| {figure.name} | {trend.level:.0f} {figure.unit} | {trend.per_hour:+.1f} '
            f'| {trend.low:+.1f} to {trend.high:+.1f} | {trend.allowed_per_hour:.0f} |'
        )
    return '\n'.join(lines)
