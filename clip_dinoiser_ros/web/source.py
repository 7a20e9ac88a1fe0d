# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""What the page shows and changes: a running node (`robot.py`), or pictures (`desk.py`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt


class RefusedError(ValueError):
    """What was asked for is refused; the message is the reason, as the node gave it.

    Attributes:
        parameter: Name of the refused parameter; empty: none of them.
    """

    def __init__(self, reason: str, parameter: str = '') -> None:
        super().__init__(reason)
        self.parameter = parameter


@dataclass(frozen=True)
class ShownClass:
    """A class of a label image."""

    id: int
    name: str
    prompt: str  # with synonyms: person|human
    is_background: bool = False


@dataclass(frozen=True)
class ShownObject:
    """An object in an image; the box is (left, top, right, bottom) in pixels of the label image."""

    name: str
    confidence: float  # 0 to 1
    box: tuple[float, float, float, float]
    distance: float | None = None  # metres from the camera; None: no depth


@dataclass(frozen=True)
class ClassProbability:
    """A class and its probability in one pixel, 0 to 1."""

    name: str
    probability: float


# Asked for the likeliest classes at a place, as `Source.probabilities`
Place = Callable[[float, float], Sequence[ClassProbability]]


@dataclass(frozen=True)
class ShownFrame:
    """One segmented image."""

    camera: str
    stamp_ns: int  # of the image, nanoseconds
    image: npt.NDArray[np.uint8]  # (H, W, 3) RGB
    labels: npt.NDArray[np.unsignedinteger[Any]]  # (h, w), class ids
    confidence: npt.NDArray[np.float32] | None  # (h, w), 0 to 1; None: not known
    unlabelled_id: int
    classes: tuple[ShownClass, ...]
    objects: tuple[ShownObject, ...] = ()
    times_ms: Mapping[str, float] = field(default_factory=dict)  # stage: milliseconds
    probabilities: Place | None = None  # None: labels and confidence are all that is known


@dataclass(frozen=True)
class Status:
    """How the source is, for the header of the page."""

    level: int  # 0 ok, 1 warning, 2 error, 3 nothing is heard of it; as in DiagnosticStatus
    summary: str  # in plain words: '9.8 labels/s, 0.1 s old'
    details: tuple[tuple[str, str], ...] = ()  # name, value with unit
    is_encoding: bool = False  # new words, whoever gave them; the old ones go on


Settings = Mapping[str, Any]  # parameter: value, for SETTINGS below

LIKELIEST = 5  # classes that are told of a pixel

# The parameters of the node that the page shows and changes, by the node's names.
SETTINGS = (
    'prompts',
    'negative_prompts',
    'background',
    'min_confidence',
    'temporal_smoothing',
    'max_rate',
)


def class_name(prompt: str) -> str:
    """Return the name of a class: the first of its synonyms."""
    return prompt.split('|')[0].strip()


def background_in_use(settings: Settings) -> str:
    """Return the background of settings; empty if it is none of the classes."""
    names = map(class_name, settings['prompts'])
    return settings['background'] if settings['background'] in names else ''


def pixel_at(size: tuple[int, int], x: float, y: float) -> tuple[int, int]:
    """Return row and column at fractions of width and height in an image of a size (H, W)."""
    height, width = size
    return min(int(y * height), height - 1), min(int(x * width), width - 1)


def likeliest(
    probabilities: npt.NDArray[np.float32], names: Sequence[str]
) -> tuple[ClassProbability, ...]:
    """Return the likeliest classes of a pixel, likeliest first.

    Args:
        probabilities: (K,), of all classes.
        names: Of the K classes.
    """
    order = np.argsort(-probabilities, kind='stable')[:LIKELIEST]
    return tuple(ClassProbability(names[i], float(probabilities[i])) for i in order)


class Source(Protocol):
    """All methods may be called from any thread, and block until they have an answer.

    Methods that change or ask for something raise `RefusedError`; with a node that does not answer,
    its message says so.
    """

    title: str  # name of the node, or the folder

    @property
    def can_change(self) -> bool:
        """Whether `change` can be used at all (not if it was opened read-only)."""

    def cameras(self) -> Sequence[str]:
        """Return names of cameras, or of pictures."""

    def watch(self, camera: str, on_frame: Callable[[ShownFrame], None]) -> Callable[[], None]:
        """Call `on_frame` with every frame until the returned function is called.

        Nothing is subscribed to before the first watcher and after the last. `on_frame` must
        return at once; it runs in a thread of the source.
        """

    def settings(self) -> Settings:
        """Return the values in use."""

    def class_ids(self) -> Mapping[str, int]:
        """Return the class id of each name in use."""

    def change(self, settings: Settings) -> None:
        """Change some of the settings, all or none; return when they are in use."""

    def on_change(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` when settings changed, whoever changed them, until told to stop."""

    def status(self, camera: str) -> Status:
        """Return how this camera is."""

    def probabilities(self, camera: str, x: float, y: float) -> Sequence[ClassProbability]:
        """Return the likeliest classes in a pixel of the newest frame, likeliest first.

        `x` and `y` are fractions of width and height, 0 to 1, from the upper left corner.
        """

    def segment(
        self,
        image: npt.NDArray[np.uint8],
        prompts: Sequence[str],
        background: str,
        min_confidence: float | None = None,
    ) -> ShownFrame:
        """Segment an image (H, W, 3) RGB with prompts of its own; nothing else changes."""

    def close(self) -> None:
        """Stop; the last call."""
