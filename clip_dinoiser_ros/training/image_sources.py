# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The images to train on: a folder of them here; a recording and generated scenes beside."""

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
    """A source of images that cannot be used; names it and says what to do."""


@dataclass(frozen=True, eq=False)
class TrainingImage:
    """One image to train on.

    Attributes:
        image: uint8 (H, W, 3), RGB.
        truth: uint8 (H, W, 2), class and instance (0: none) of each pixel, where they are known.
    """

    image: np.ndarray
    truth: np.ndarray | None = None


class ImageSource(Protocol):
    """A fixed set of images, drawn when it was made."""

    names: list[str]  # one per image; a resumed training must find the same
    about: dict[str, Any]  # for the record: where they come from, what was left out

    def read(self, index: int) -> TrainingImage:
        """Return an image, always the same for an index; called from several threads."""
        ...


class FolderImages:
    """Images drawn by a seed from a folder and all below it.

    Args:
        folder: Holds .jpg, .jpeg or .png files, at any depth.
        count: How many to draw; all when there are fewer.
        seed: Decides which.

    Raises:
        SourceError: No such folder, no images in it, or none that can be decoded.
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
                # decoded once now: a file that fails after an hour of training fails too late
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
        """Decode an image; raises SourceError where it has become unreadable."""
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
    """Raise SourceError unless images are asked for."""
    if count < 1:
        raise SourceError(f'{count} images requested; must be at least 1')


def decode(encoded: bytes | np.ndarray) -> np.ndarray:
    """Decode a JPEG or PNG file, or what else OpenCV knows.

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
        raise SourceError(f'{buffer.size} bytes that are not an image that OpenCV can decode')
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _find(folder: Path) -> list[str]:
    """Return the images below a folder, as relative paths in the same order everywhere."""
    if not folder.is_dir():
        what = 'is not a folder' if folder.exists() else 'does not exist'
        raise SourceError(f'image folder {str(folder)!r} {what}')
    found = [path for path in folder.rglob('*') if path.suffix.lower() in SUFFIXES]
    names = sorted(path.relative_to(folder).as_posix() for path in found if path.is_file())
    if not names:
        raise SourceError(
            f'image folder {str(folder)!r} holds no {", ".join(SUFFIXES)} file, at any depth'
        )
    return names
