# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Images with true labels: a data set as a list of files, and reading them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from clip_dinoiser_ros.core.errors import one_line
from clip_dinoiser_ros.evaluation.metric import NO_CLASS, Labels
from clip_dinoiser_ros.frames import image_files
from clip_dinoiser_ros.frames.image_layout import MAX_PIXELS, ImageError


class DataError(ValueError):
    """A data set cannot be used; the message names the first bad path and what to do."""


class SampleError(ValueError):
    """An image or a label image cannot be used; the message says which and why."""


@dataclass(frozen=True)
class Sample:
    """An image file with a file of true labels.

    Attributes:
        name: Unique; also the name of its saved labels, without suffix.
        image: File of the image.
        labels: File of the true labels.
    """

    name: str
    image: Path
    labels: Path


@dataclass(frozen=True, eq=False)
class Colours:
    """True labels given as colours.

    Attributes:
        table: uint8 (n, 3), RGB.
        meaning: uint16 (n,), class of each colour, see `DataSet.meaning`.
    """

    table: npt.NDArray[np.uint8]
    meaning: npt.NDArray[np.uint16]


@dataclass(frozen=True, eq=False)
class DataSet:
    """Images with true labels, and the classes of the labels.

    Attributes:
        name: Name of the data set.
        prompts: Prompts of the classes; labels are indices into them.
        background: Index of the prompt for everything that is no other class, to which a
            background filter may apply; None: there is none.
        filtered: Whether the paper applies the filter.
        samples: The files.
        meaning: uint16 (65536,): for each value of a label image the class index, `IGNORED`, or
            `NO_CLASS` for values that should not be there; or the colours.
    """

    name: str
    prompts: tuple[str, ...]
    background: int | None
    filtered: bool
    samples: Sequence[Sample]
    meaning: npt.NDArray[np.uint16] | Colours

    def read(self, sample: Sample) -> tuple[npt.NDArray[np.uint8], Labels, str]:
        """Read an image and its true labels.

        Returns:
            uint8 (H, W, 3) RGB; uint16 (H, W), class indices, `IGNORED` or `NO_CLASS`; and which
            labels are unknown, empty if none are.

        Raises:
            SampleError: A file cannot be read, or their sizes differ.
        """
        image = read_image(sample.image)
        raw = read_labels(sample.labels, colours=isinstance(self.meaning, Colours))
        if raw.shape[:2] != image.shape[:2]:
            raise SampleError(
                f'{sample.labels} has {raw.shape[1]}x{raw.shape[0]} pixels, its image '
                f'{image.shape[1]}x{image.shape[0]}'
            )
        if isinstance(self.meaning, Colours):
            truth = _of_colours(raw, self.meaning)
        else:
            truth = self.meaning[raw]
        strange = truth == NO_CLASS
        odd = ''
        if strange.any():
            values = np.unique(raw[strange].reshape(int(strange.sum()), -1), axis=0).tolist()
            shown = ', '.join(str(v[0] if len(v) == 1 else tuple(v)) for v in values[:5])
            more = f' and {len(values) - 5} more' if len(values) > 5 else ''
            odd = f'{sample.labels}: {int(strange.sum())} pixels have unknown values: {shown}{more}'
        return image, truth, odd


def read_image(path: Path) -> npt.NDArray[np.uint8]:
    """Read an image as uint8 (H, W, 3) RGB, with its EXIF orientation applied.

    Raises:
        SampleError: It cannot be read; the message says why.
    """
    try:
        return image_files.decode(path.read_bytes())
    except (OSError, ImageError) as error:
        raise SampleError(f'{path}: {one_line(error)}') from error


def read_labels(path: Path, colours: bool = False) -> npt.NDArray[Any]:
    """Read a label image without turning palette indices into colours.

    Args:
        path: PNG of 8 or 16 bits.
        colours: Read colours instead of values.

    Returns:
        uint8 or uint16 (H, W); of colours uint8 (H, W, 3) RGB.

    Raises:
        SampleError: It cannot be read; the message says why.
    """
    try:
        with Image.open(io.BytesIO(path.read_bytes()), formats=['PNG']) as file:
            if file.width * file.height > MAX_PIXELS:
                raise ValueError(f'{file.width}x{file.height} pixels; the limit is {MAX_PIXELS}')
            if colours:
                return np.asarray(file.convert('RGB'))
            if file.mode not in ('L', 'P', '1', 'I', 'I;16'):
                raise ValueError(
                    f'a label image has one value for each pixel, but this PNG is {file.mode}'
                )
            return np.asarray(file).astype(np.uint16 if file.mode.startswith('I') else np.uint8)
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError and others
        raise SampleError(f'{path}: {one_line(error)}') from error


def _of_colours(raw: npt.NDArray[np.uint8], colours: Colours) -> npt.NDArray[np.uint16]:
    """Turn colours (H, W, 3) into class indices, uint16 (H, W)."""
    weights = np.array([1 << 16, 1 << 8, 1], np.int64)
    known = colours.table @ weights
    order = np.argsort(known)
    packed = raw @ weights
    place = np.searchsorted(known[order], packed).clip(max=len(known) - 1)
    found = order[place]
    truth: npt.NDArray[np.uint16] = np.where(
        known[found] == packed, colours.meaning[found], NO_CLASS
    )
    return truth.astype(np.uint16)
