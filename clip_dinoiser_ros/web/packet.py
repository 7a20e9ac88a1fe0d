# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""A frame as bytes for browsers; each part is encoded once, whoever asks for it."""

from __future__ import annotations

import io
import json
from collections.abc import Collection
from functools import cached_property
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from clip_dinoiser_ros.frames.compressed import encode_jpeg
from clip_dinoiser_ros.frames.overlay import BACKGROUND_COLOUR, colour
from clip_dinoiser_ros.web.source import ShownClass, ShownFrame

LAYERS = ('image', 'labels', 'confidence')
MAX_SIDE = 1280  # pixels; larger images are made smaller for browsers
_CLEAR = 255  # palette index of pixels without a class


class Packet:
    """One frame. Not for several threads at once."""

    def __init__(self, frame: ShownFrame) -> None:
        self.frame = frame

    def message(self, layers: Collection[str]) -> bytes:
        """Return the length of a JSON header (4 bytes, big endian), the header, and the layers.

        The header has the sizes of the layers that are there, in their order.
        """
        parts = {name: getattr(self, f'_{name}') for name in LAYERS if name in layers}
        parts = {name: content for name, content in parts.items() if content}
        sizes = {name: len(content) for name, content in parts.items()}
        header = json.dumps({**self._header, 'parts': sizes}).encode()
        return b''.join([len(header).to_bytes(4, 'big'), header, *parts.values()])

    @cached_property
    def _header(self) -> dict[str, Any]:
        frame = self.frame
        height, width = frame.labels.shape
        return {
            'camera': frame.camera,
            'stamp_s': frame.stamp_ns / 1e9,
            'size': [width, height],
            'legend': legend(frame),
            'objects': [
                {
                    'name': one.name,
                    'confidence': one.confidence,
                    'box': one.box,
                    'distance': one.distance,
                    'colour': self._colours_by_name.get(one.name, '#888888'),
                }
                for one in frame.objects
            ],
            'times_ms': dict(frame.times_ms),
        }

    @cached_property
    def _colours_by_name(self) -> dict[str, str]:
        return {one.name: css_colour(one) for one in self.frame.classes}

    @cached_property
    def _image(self) -> bytes:
        return encode_jpeg(_fit(self.frame.image, cv2.INTER_AREA)).tobytes()

    @cached_property
    def _labels(self) -> bytes:
        """A PNG with a palette, transparent where no class is; about 10 kB."""
        labels = _fit(self.frame.labels, cv2.INTER_NEAREST)
        table = np.full(int(labels.max(initial=0)) + 1, _CLEAR, np.uint8)
        palette = np.zeros((256, 3), np.uint8)
        there = np.flatnonzero(np.bincount(labels.ravel()))
        classes = {one.id: one for one in self.frame.classes}
        # 255 classes in one image leave no room for more
        for index, class_id in enumerate([int(i) for i in there if int(i) in classes][:_CLEAR]):
            table[class_id], palette[index] = index, rgb(classes[class_id])
        image = Image.fromarray(table[labels])
        image.putpalette(palette.tobytes())
        out = io.BytesIO()
        image.save(out, 'PNG', transparency=_CLEAR, compress_level=1)
        return out.getvalue()

    @cached_property
    def _confidence(self) -> bytes:
        """A grey JPEG, white is certain; empty: not known."""
        if self.frame.confidence is None:
            return b''
        grey = cv2.convertScaleAbs(_fit(self.frame.confidence, cv2.INTER_AREA), alpha=255.0)
        return bytes(cv2.imencode('.jpg', grey)[1])


def rgb(one: ShownClass) -> tuple[int, int, int]:
    """Return the colour of a class, as in the overlay of the node."""
    return BACKGROUND_COLOUR if one.is_background else colour(one.id)


def css_colour(one: ShownClass) -> str:
    """Return the colour of a class for a style sheet."""
    return '#{:02x}{:02x}{:02x}'.format(*rgb(one))


def legend(frame: ShownFrame) -> list[dict[str, Any]]:
    """Return the classes in their order, with their share of the image and mean confidence."""
    most = max([frame.unlabelled_id, *(one.id for one in frame.classes)]) + 1
    flat = frame.labels.ravel()
    counts = np.bincount(flat, minlength=most)
    sums = None
    if frame.confidence is not None:
        sums = np.bincount(flat, frame.confidence.ravel(), minlength=most)
    return [
        {
            'id': one.id,
            'name': one.name,
            'prompt': one.prompt,
            'colour': css_colour(one),
            'background': one.is_background,
            'share': float(counts[one.id] / max(flat.size, 1)),
            'confidence': float(sums[one.id] / counts[one.id])
            if sums is not None and counts[one.id]
            else None,
        }
        for one in frame.classes
    ]


def _fit(pixels: npt.NDArray[Any], interpolation: int) -> npt.NDArray[Any]:
    """Make an image smaller if it is larger than a browser needs."""
    height, width = pixels.shape[:2]
    scale = MAX_SIDE / max(height, width)
    if scale >= 1:
        return pixels
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(pixels, size, interpolation=interpolation)
