# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""A report of a segmented recording: one HTML file that needs no network and no script."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import cv2
import jinja2
import numpy as np
import numpy.typing as npt

from clip_dinoiser_ros.bag import charts
from clip_dinoiser_ros.bag.output_files import partial_file
from clip_dinoiser_ros.bag.partial import put
from clip_dinoiser_ros.bag.playback import Classes, Shown
from clip_dinoiser_ros.frames.overlay import colour

BINS = 300  # points of a curve, independent of the length of the recording
SAMPLES = 6  # overlays of each camera
SAMPLE_WIDTH = 640  # pixels, at most


@dataclass
class _Series:
    """Sums over the frames of one camera; the size is independent of the recording.

    Attributes:
        classes: The classes of its labels.
        frames: Frames in each bin, (BINS,).
        shares: Sums over the frames of each bin, (BINS, K).
        confidence: Sums of the mean confidence, (BINS,).
        certain: Sums over all frames of the confidence of each class's pixels, (K,).
        pixels: Sums over all frames of the pixels of each class, (K,).
        samples: Caption and JPEG of some overlays.
        next_sample: Bin from which the next sample is taken.
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
        start_ns, end_ns: Range of recording times of the curves.
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
            facts: Rows of the table at the top.
            damaged: A line for each message or part of a file that was not read.
        """
        source = resources.files(__package__).joinpath('report.html.j2').read_text('utf-8')
        environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
        page = environment.from_string(source).render(
            facts=facts,
            cameras=[self._camera(name) for name in sorted(self._series)],
            damaged=damaged,
        )
        part = partial_file(self._path)
        part.write_text(page + '\n', encoding='utf-8')
        put(part, self._path, self._force)

    def _camera(self, name: str) -> dict[str, Any]:
        """Return the values of a camera for the template."""
        series = self._series[name]
        bins = np.flatnonzero(series.frames)
        if len(bins) == 1:  # a line needs two points
            bins = np.repeat(bins, 2)
        times_s = (bins + 0.5) / BINS * (self._end_ns - self._start_ns) * 1e-9
        frames, classes = series.frames[bins], series.classes
        # the background would dwarf all other classes
        drawn = [i for i, known in enumerate(classes.names) if known != classes.background]
        names = [classes.names[i] for i in drawn]
        colours = [colour(classes.ids[i]) for i in drawn]
        shares = series.shares[bins][:, drawn] / frames[:, None]
        return {
            'name': name,
            'frames': int(series.frames.sum()),
            'classes': _class_rows(series),
            'background': classes.background,
            'shares_chart': charts.stack(times_s, shares, names, colours),
            'confidence_chart': charts.line(times_s, series.confidence[bins] / frames),
            'samples': [(time, base64.b64encode(jpeg).decode()) for time, jpeg in series.samples],
        }


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


def _class_rows(series: _Series) -> list[dict[str, Any]]:
    """List the classes, the largest share first."""
    share = series.shares.sum(axis=0) / series.frames.sum()
    confidence = series.certain / np.maximum(series.pixels, 1)
    return [
        {
            'name': series.classes.names[index],
            'id': series.classes.ids[index],
            'colour': colour(series.classes.ids[index]),
            'share': share[index],
            'confidence': confidence[index] if series.pixels[index] else None,
        }
        for index in np.argsort(-share, kind='stable')
    ]


def _jpeg(overlay: npt.NDArray[np.uint8]) -> bytes:
    height, width = overlay.shape[:2]
    if width > SAMPLE_WIDTH:
        size = (SAMPLE_WIDTH, max(1, round(height * SAMPLE_WIDTH / width)))
        overlay = cv2.resize(overlay, size, interpolation=cv2.INTER_AREA)
    quality = (cv2.IMWRITE_JPEG_QUALITY, 85)
    _, data = cv2.imencode('.jpg', cv2.cvtColor(overlay, cv2.COLOR_RGB2BGR), quality)
    return data.tobytes()
