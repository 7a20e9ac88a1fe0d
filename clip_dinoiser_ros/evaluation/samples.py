# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Images with true labels: a data set as a list of files, and how they are read."""

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
    """A data set that cannot be used; names the first path that is wrong, and what to do."""


class SampleError(ValueError):
    """An image or a label image that cannot be used; says which and why."""


@dataclass(frozen=True)
class Sample:
    """One image with true labels.

    Attributes:
        name: Different for each; the name of its labels when they are saved, without suffix.
        image: Its file.
        labels: File of the true labels.
    """

    name: str
    image: Path
    labels: Path


@dataclass(frozen=True, eq=False)
class Colours:
    """True labels as colours.

    Attributes:
        table: uint8 (n, 3), RGB.
        meaning: uint16 (n,), what each colour means, as of `DataSet.meaning`.
    """

    table: npt.NDArray[np.uint8]
    meaning: npt.NDArray[np.uint16]


@dataclass(frozen=True, eq=False)
class DataSet:
    """Images with true labels, and what the labels mean.

    Attributes:
        name: Of the data set.
        prompts: Of the classes; indices into them are the labels.
        background: Index of the prompt for all that is no other class, which a background filter
            may apply to; None: there is none.
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
        """Read one image and its true labels.

        Returns:
            uint8 (H, W, 3) RGB; uint16 (H, W), class indices, `IGNORED` or `NO_CLASS`; and what is
            odd about the labels, empty if nothing is.

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
            odd = f'{sample.labels}: {int(strange.sum())} pixels are no class: {shown}{more}'
        return image, truth, odd


def read_image(path: Path) -> npt.NDArray[np.uint8]:
    """Read an image, turned as its EXIF data says: uint8 (H, W, 3) RGB.

    Raises:
        SampleError: It cannot be read; says why.
    """
    try:
        return image_files.decode(path.read_bytes())
    except (OSError, ImageError) as error:
        raise SampleError(f'{path}: {one_line(error)}') from error


def read_labels(path: Path, colours: bool = False) -> npt.NDArray[Any]:
    """Read a label image as it is: palette indices are not turned into colours.

    Args:
        path: A PNG of 8 or 16 bits.
        colours: Read it as colours.

    Returns:
        uint8 or uint16 (H, W); of colours uint8 (H, W, 3) RGB.

    Raises:
        SampleError: It cannot be read; says why.
    """
    try:
        with Image.open(io.BytesIO(path.read_bytes()), formats=['PNG']) as file:
            if file.width * file.height > MAX_PIXELS:
                raise ValueError(f'{file.width}x{file.height} pixels; at most {MAX_PIXELS}')
            if colours:
                return np.asarray(file.convert('RGB'))
            if file.mode not in ('L', 'P', '1', 'I', 'I;16'):
                raise ValueError(
                    f'a label image has one value for each pixel, this PNG is {file.mode}'
                )
            return np.asarray(file).astype(np.uint16 if file.mode.startswith('I') else np.uint8)
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError and others
        raise SampleError(f'{path}: {one_line(error)}') from error


def _of_colours(raw: npt.NDArray[np.uint8], colours: Colours) -> npt.NDArray[np.uint16]:
    """Turn colours (H, W, 3) into what they mean, uint16 (H, W)."""
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
