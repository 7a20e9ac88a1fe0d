# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""A report of a segmented recording: one HTML file that needs no network and no script."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from clip_dinoiser_ros.bag import charts
from clip_dinoiser_ros.bag.partial import put
from clip_dinoiser_ros.bag.places import part_of
from clip_dinoiser_ros.bag.playback import Classes, Shown
from clip_dinoiser_ros.frames.overlay import colour

BINS = 300  # points of a curve, however long the recording
SAMPLES = 6  # overlays of each camera
SAMPLE_WIDTH = 640  # pixels, at most

_STYLE = """
:root { color-scheme: light dark; --grey: #8884; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1000px; margin: 2rem auto; padding: 0 1rem }
h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--grey) } h3 { margin-bottom: .3rem }
table { border-collapse: collapse } td, th { padding: .2rem .9rem .2rem 0; text-align: left }
td.number { text-align: right; font-variant-numeric: tabular-nums }
.swatch { display: inline-block; width: .9em; height: .9em; margin-right: .5em }
svg { width: 100%; font: 12px system-ui, sans-serif } svg text { fill: currentColor }
.end { text-anchor: end } .middle { text-anchor: middle } .grid { stroke: var(--grey) }
.line { fill: none; stroke: #0072b2; stroke-width: 2 }
.samples { display: grid; grid-template-columns: repeat(auto-fill, minmax(300px, 1fr)); gap: 1rem }
figure { margin: 0 } img { width: 100%; display: block } figcaption { opacity: .7 }
"""


@dataclass
class _Series:
    """One camera, added up: of a size that does not grow with the recording.

    Attributes:
        classes: What its labels speak of.
        frames: In each bin, (BINS,).
        shares: Sums over the frames of each bin, (BINS, K).
        confidence: Sums of the mean confidence, (BINS,).
        certain: Sums over all frames of the confidence of each class's pixels, (K,).
        pixels: Sums over all frames of the pixels of each class, (K,).
        samples: Caption and JPEG of some overlays.
        next_sample: Bin from which the next one is taken.
    """

    classes: Classes
    frames: npt.NDArray[np.float64]
    shares: npt.NDArray[np.float64]
    confidence: npt.NDArray[np.float64]
    certain: npt.NDArray[np.float64]
    pixels: npt.NDArray[np.float64]
    samples: list[tuple[str, bytes]] = field(default_factory=list)
    next_sample: float = 0.0


class Report:
    """Collects frames and writes the page.

    Args:
        path: Of the page.
        start_ns, end_ns: Recording times that the curves go over.
        force: Replace what is there.
    """

    def __init__(self, path: Path, start_ns: int, end_ns: int, force: bool) -> None:
        self._path, self._force = path, force
        self._start_ns, self._end_ns = start_ns, max(end_ns, start_ns + 1)
        self._series: dict[str, _Series] = {}

    def add(self, shown: Shown) -> None:
        """Add a frame to the sums."""
        series = self._series.setdefault(shown.camera.name, _empty(shown.classes))
        elapsed = (shown.time_ns - self._start_ns) / (self._end_ns - self._start_ns)
        place = min(max(int(elapsed * BINS), 0), BINS - 1)
        count = len(shown.classes.names)
        series.frames[place] += 1
        series.shares[place] += shown.share
        series.confidence[place] += float(shown.confidence.mean())
        labels, confidence = shown.labels[shown.labelled], shown.confidence[shown.labelled]
        series.certain += np.bincount(labels, confidence, count)
        series.pixels += np.bincount(labels, minlength=count)
        if place >= series.next_sample and len(series.samples) < SAMPLES:
            seconds = max(shown.time_ns - self._start_ns, 0) * 1e-9
            series.samples.append((f'{seconds:.1f} s', _jpeg(shown.overlay)))
            series.next_sample = math.floor(place / (BINS / SAMPLES) + 1) * BINS / SAMPLES

    def finish(self, facts: Mapping[str, str], damaged: Sequence[str]) -> None:
        """Write the page.

        Args:
            facts: Lines of the table at its top.
            damaged: A line for each message that was passed over.
        """
        rows = ''.join(
            f'<tr><th>{escape(key)}</th><td>{escape(value)}</td></tr>'
            for key, value in facts.items()
        )
        cameras = ''.join(self._camera(name) for name in sorted(self._series))
        lost = ''.join(f'<li>{escape(line)}</li>' for line in damaged)
        if lost:
            lost = f'<h2>Passed over</h2><ul>{lost}</ul>'
        page = (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f'<title>Segmented recording</title><style>{_STYLE}</style></head><body>'
            f'<h1>Segmented recording</h1><table>{rows}</table>{cameras}{lost}</body></html>\n'
        )
        part = part_of(self._path)
        part.write_text(page, encoding='utf-8')
        put(part, self._path, self._force)

    def _camera(self, name: str) -> str:
        series = self._series[name]
        there = np.flatnonzero(series.frames)
        if len(there) == 1:  # a line takes two points
            there = np.repeat(there, 2)
        middles = (there + 0.5) / BINS
        times_s = middles * (self._end_ns - self._start_ns) * 1e-9
        frames = series.frames[there]
        classes = series.classes
        # the background would press everything else together
        drawn = [i for i, known in enumerate(classes.names) if known != classes.background]
        names = [classes.names[i] for i in drawn]
        colours = [colour(classes.ids[i]) for i in drawn]
        shares = series.shares[there][:, drawn] / frames[:, None]
        without = f', without {escape(classes.background)}' if classes.background else ''
        samples = ''.join(
            f'<figure><img alt="overlay at {caption}" src="data:image/jpeg;base64,'
            f'{base64.b64encode(jpeg).decode()}"><figcaption>{caption}</figcaption></figure>'
            for caption, jpeg in series.samples
        )
        return (
            f'<h2>{escape(name)}</h2><p>{int(series.frames.sum())} frames</p>{_table(series)}'
            f'<h3>Share of the image over time{without}</h3>'
            f'{charts.stack(times_s, shares, names, colours)}'
            '<h3>Mean confidence over time</h3>'
            f'{charts.line(times_s, series.confidence[there] / frames)}'
            f'<h3>Samples</h3><div class="samples">{samples}</div>'
        )


def _empty(classes: Classes) -> _Series:
    count = len(classes.names)
    return _Series(
        classes=classes,
        frames=np.zeros(BINS),
        shares=np.zeros((BINS, count)),
        confidence=np.zeros(BINS),
        certain=np.zeros(count),
        pixels=np.zeros(count),
    )


def _table(series: _Series) -> str:
    """List the classes, those that cover most first."""
    share = series.shares.sum(axis=0) / series.frames.sum()
    confidence = series.certain / np.maximum(series.pixels, 1)
    rows = []
    for index in np.argsort(-share, kind='stable'):
        class_id = series.classes.ids[index]
        certain = f'{confidence[index]:.2f}' if series.pixels[index] else ''
        rows.append(
            f'<tr><td><span class="swatch" style="background: rgb{colour(class_id)}"></span>'
            f'{escape(series.classes.names[index])}</td><td class="number">{class_id}</td>'
            f'<td class="number">{share[index]:.1%}</td><td class="number">{certain}</td></tr>'
        )
    head = '<tr><th>class</th><th>id</th><th>share</th><th>confidence</th></tr>'
    return f'<table>{head}{"".join(rows)}</table>'


def _jpeg(overlay: npt.NDArray[np.uint8]) -> bytes:
    height, width = overlay.shape[:2]
    if width > SAMPLE_WIDTH:
        size = (SAMPLE_WIDTH, max(1, round(height * SAMPLE_WIDTH / width)))
        overlay = cv2.resize(overlay, size, interpolation=cv2.INTER_AREA)
    quality = (cv2.IMWRITE_JPEG_QUALITY, 85)
    _, data = cv2.imencode('.jpg', cv2.cvtColor(overlay, cv2.COLOR_RGB2BGR), quality)
    return data.tobytes()
