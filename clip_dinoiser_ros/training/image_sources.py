# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Training images from a folder; recordings and generated scenes have their own modules."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

SUFFIXES = ('.jpg', '.jpeg', '.png')
IMAGES = 1000  # the paper's number (section 4.1)


class SourceError(ValueError):
    """A source of images cannot be used; the message names it and says what to do."""


@dataclass(frozen=True, eq=False)
class TrainingImage:
    """A training image.

    Attributes:
        image: uint8 (H, W, 3), RGB.
        truth: uint8 (H, W, 2), true class and instance (0: none) of each pixel; None: not known.
    """

    image: np.ndarray
    truth: np.ndarray | None = None


class ImageSource(Protocol):
    """A fixed set of images, chosen on construction."""

    names: list[str]  # one per image; a resumed training must find the same
    about: dict[str, Any]  # for the record: where they come from, what was left out

    def read(self, index: int) -> TrainingImage:
        """Return the image of an index, always the same; called from several threads."""
        ...


class FolderImages:
    """Images drawn with a seed from a folder and its subfolders.

    Args:
        folder: Folder with .jpg, .jpeg or .png files, also in subfolders.
        count: Number of images to draw; all if there are fewer.
        seed: Seed of the choice.

    Raises:
        SourceError: The folder does not exist or has no images that can be decoded.
    """

    def __init__(self, folder: str | Path, count: int = IMAGES, seed: int = 0) -> None:
        check_count(count)
        self._folder = Path(folder)
        found = _find(self._folder)
        drawn = [found[i] for i in np.random.default_rng(seed).permutation(len(found))]
        self.names: list[str] = []
        unreadable: list[str] = []
        with ThreadPoolExecutor(4) as pool:
            while drawn and len(self.names) < count:
                part = drawn[: count - len(self.names)]
                drawn = drawn[len(part) :]
                # decode all once, so that a bad file does not fail after an hour of training
                for name, good in zip(part, pool.map(self._is_readable, part), strict=True):
                    (self.names if good else unreadable).append(name)
        if not self.names:
            raise SourceError(
                f'none of the {len(found)} images in {str(folder)!r} can be decoded; '
                f'the first is {unreadable[0]!r}'
            )
        self.about: dict[str, Any] = {
            'kind': 'folder',
            'path': str(self._folder.absolute()),
            'found': len(found),
            'used': len(self.names),
            'unreadable': unreadable,
        }

    def read(self, index: int) -> TrainingImage:
        """Decode an image; raises SourceError if it has become unreadable."""
        name = self.names[index]
        try:
            return TrainingImage(decode((self._folder / name).read_bytes()))
        except (OSError, SourceError) as error:
            raise SourceError(f'{str(self._folder / name)!r}: {error}') from error

    def _is_readable(self, name: str) -> bool:
        try:
            decode((self._folder / name).read_bytes())
        except (OSError, SourceError):
            return False
        return True


def check_count(count: int) -> None:
    """Raise SourceError if fewer than one image is requested."""
    if count < 1:
        raise SourceError(f'{count} images requested; must be at least 1')


def decode(encoded: bytes | np.ndarray) -> np.ndarray:
    """Decode a JPEG or PNG file, or another format that OpenCV supports.

    Args:
        encoded: The file's bytes.

    Returns:
        uint8 (H, W, 3), RGB.

    Raises:
        SourceError: It is not an image.
    """
    buffer = np.frombuffer(encoded, np.uint8)
    try:
        image = cv2.imdecode(buffer, cv2.IMREAD_COLOR) if buffer.size else None
    except cv2.error as error:
        raise SourceError(f'cannot be decoded: {error}') from error
    if image is None:
        raise SourceError(f'{buffer.size} bytes are not an image that OpenCV can decode')
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _find(folder: Path) -> list[str]:
    """Return the images in a folder and its subfolders as relative paths, in a fixed order."""
    if not folder.is_dir():
        what = 'is not a folder' if folder.exists() else 'does not exist'
        raise SourceError(f'image folder {str(folder)!r} {what}')
    found = [path for path in folder.rglob('*') if path.suffix.lower() in SUFFIXES]
    names = sorted(path.relative_to(folder).as_posix() for path in found if path.is_file())
    if not names:
        raise SourceError(
            f'image folder {str(folder)!r} and its subfolders contain no {", ".join(SUFFIXES)} file'
        )
    return names
