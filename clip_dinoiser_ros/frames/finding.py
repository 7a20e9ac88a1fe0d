# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Finds one thing in a frame that was segmented before: only its text is new."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from clip_dinoiser_ros.core.objects import FoundObject, Objects, find_objects
from clip_dinoiser_ros.core.vocabulary import parse_prompts
from clip_dinoiser_ros.frames.boxes import Box, complete, measure_objects
from clip_dinoiser_ros.frames.outputs import scaled_size
from clip_dinoiser_ros.frames.region import region_mask
from clip_dinoiser_ros.frames.settings import Settings

if TYPE_CHECKING:
    from clip_dinoiser_ros.core import Segmenter, Vocabulary
    from clip_dinoiser_ros.core.segmentation import PatchFeatures
    from clip_dinoiser_ros.frames.cloud_messages import Measured

MIN_CONFIDENCE = 0.5  # default of ~/find: what scores less is something else; see docs/services.md
GENERAL = ('thing', 'background')  # what anything is more like than a text that does not fit it


@dataclass(frozen=True, eq=False)
class SeenFrame:
    """What is kept of the newest frame of a camera.

    Attributes:
        camera: Name of the camera.
        header: Of the camera image.
        image_size: (H, W) of the camera image.
        settings: The settings that the frame was segmented with.
        features: On the device.
        arrived_s: When the image arrived, in seconds of the steady clock.
    """

    camera: str
    header: Any
    image_size: tuple[int, int]
    settings: Settings
    features: PatchFeatures
    arrived_s: float

    @property
    def size(self) -> tuple[int, int]:
        """Size (H, W) of the label image."""
        return scaled_size(self.image_size, self.settings.output_scale)


@dataclass(frozen=True, eq=False)
class Sight:
    """One object in one frame.

    Attributes:
        frame: The frame.
        found: The object in the label image.
        centroid: Mean column and row of its pixels.
        place: Where it is in the optical frame, as deep as wide; None: not known.
    """

    frame: SeenFrame
    found: FoundObject
    centroid: tuple[float, float]
    place: Box | None


def with_general(prompts: Sequence[str]) -> list[str]:
    """Add the prompts that every text is compared with, unless they are there.

    Without them, a text that fits nothing is found where it fits less badly than the contrasts.

    Args:
        prompts: A text, then what it may be confused with.
    """
    known = {word.casefold() for one in parse_prompts(prompts) for word in one.synonyms}
    return [*prompts, *(word for word in GENERAL if word not in known)]


def find_in(
    segmenter: Segmenter,
    frame: SeenFrame,
    vocabulary: Vocabulary,
    min_confidence: float,
    min_object_size: float,
    measured: Measured | None = None,
) -> list[Sight]:
    """Find the first class of a vocabulary in a frame, without a pass of the image tower.

    Args:
        segmenter: The model that has segmented the frame.
        frame: The frame.
        vocabulary: What is looked for, then what it may be confused with.
        min_confidence: Objects with a lower score are left out.
        min_object_size: As a fraction of the image.
        measured: Depth and camera of the label image; None: not known.

    Returns:
        The objects, the best score first.
    """
    result = segmenter.compare(frame.features, vocabulary).enlarge(frame.size)
    labels = result.labels
    inside = region_mask(frame.settings.camera(frame.camera).region, frame.size)
    if inside is not None:
        labels = np.where(inside, labels, labels.dtype.type(len(vocabulary)))
    objects = find_objects(labels, result.confidence, [0], min_object_size)
    places: tuple[Box | None, ...] = (None,) * len(objects.found)
    if measured is not None:
        places = tuple(
            box and complete(box, one.box, measured.camera)
            for box, one in zip(
                measure_objects(objects, measured.metres, measured.camera),
                objects.found,
                strict=True,
            )
        )
    sights = [
        Sight(frame, one, _centroid(objects, index), place)
        for index, (one, place) in enumerate(zip(objects.found, places, strict=True))
        if one.score >= min_confidence
    ]
    return sorted(sights, key=lambda sight: -sight.found.score)


def _centroid(objects: Objects, index: int) -> tuple[float, float]:
    """Return the mean column and row of the pixels of an object."""
    left, top, _, _ = objects.found[index].box
    rows, columns = np.nonzero(objects.window(index) == index + 1)
    return left + float(columns.mean()), top + float(rows.mean())
