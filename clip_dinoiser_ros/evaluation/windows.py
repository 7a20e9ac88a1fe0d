# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The paper's sliding windows: their positions, and how their probabilities become labels.

Every step but the last is linear: the probabilities of each window's patches are enlarged to the
window, averaged where windows overlap, and enlarged to the original size. Windows lie on a grid,
so for each side of the image one matrix does all of this at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

WINDOW = 448  # side of a window in pixels
STRIDE = 224
SHORT_SIDE = 448  # short side after resizing, unless the long side would then exceed
LONG_SIDE = 2048
BAND = 32  # rows of pixels at once on a CPU: few rows of patches, few classes that can win there
BAND_ELEMENTS = 1 << 28  # float32 elements at once on a GPU: few large products
MARGIN = 1e-5  # relative tolerance; more than the rounding errors of sums of products

Span = tuple[int, int]  # first pixel, and one past the last
Indices = npt.NDArray[np.int64]


def resized_size(height: int, width: int) -> tuple[int, int]:
    """Return the size (H, W) to which an image is resized."""
    scale = min(LONG_SIDE / max(height, width), SHORT_SIDE / min(height, width))
    return int(height * scale + 0.5), int(width * scale + 0.5)


def spans(length: int) -> list[Span]:
    """Place windows along a side of `length` pixels; the last one ends at the border.

    A side shorter than a window has one window of its own length.
    """
    count = max(length - WINDOW + STRIDE - 1, 0) // STRIDE + 1
    ends = [min(index * STRIDE + WINDOW, length) for index in range(count)]
    return [(max(end - WINDOW, 0), end) for end in ends]


@dataclass(frozen=True)
class WindowGrid:
    """The windows of an image: every span of rows combined with every span of columns.

    Attributes:
        rows, columns: The spans.
    """

    rows: Sequence[Span]
    columns: Sequence[Span]

    def crops(self, image: Tensor) -> list[Tensor]:
        """Cut an image (H, W, 3) into its windows, row by row."""
        return [image[t:b, left:right] for t, b in self.rows for left, right in self.columns]


def window_grid(height: int, width: int) -> WindowGrid:
    """Place the windows of an image."""
    return WindowGrid(spans(height), spans(width))


def join(found: Sequence[Tensor], placed: WindowGrid) -> Tensor:
    """Arrange the patches of all windows in one grid.

    Args:
        found: (K, h, w) of each window, row by row.
        placed: The windows.

    Returns:
        (K, sum of h, sum of w).
    """
    step = len(placed.columns)
    rows = [torch.cat(list(found[i : i + step]), dim=2) for i in range(0, len(found), step)]
    return torch.cat(rows, dim=1)


@lru_cache(maxsize=64)
def side_matrix(length: int, patches: tuple[int, ...], target: int) -> Tensor:
    """Return the matrix of one side: patches of all windows -> pixels of the original image.

    Args:
        length: Length of the side of the resized image in pixels.
        patches: Patches per window along the side, padded ones included. The whole grid is
            squeezed onto the window, as in the authors' evaluation.
        target: Length of the side of the original image in pixels.

    Returns:
        float32 (target, sum of patches); rows sum to 1.
    """
    placed = spans(length)
    total = sum(patches)
    mean = torch.zeros(length, total, dtype=torch.float64)
    cover = torch.zeros(length, 1, dtype=torch.float64)
    first = 0
    for (start, end), count in zip(placed, patches, strict=True):
        mean[start:end, first : first + count] = interpolation(count, end - start)
        cover[start:end] += 1
        first += count
    return (interpolation(length, target) @ (mean / cover)).float()


def interpolation(source: int, target: int) -> Tensor:
    """Return the weights of bilinear interpolation along a side, float64 (target, source).

    They equal those of `F.interpolate(..., align_corners=False)` in float32.
    """
    unit = torch.eye(source)[None]  # (1, channels, length)
    return F.interpolate(unit, target, mode='linear', align_corners=False)[0].T.double()


@torch.inference_mode()
def find_labels(
    probabilities: Tensor, resized: tuple[int, int], size: tuple[int, int], placed: WindowGrid
) -> Tensor:
    """Merge the windows and find the class of every pixel.

    As in the authors' evaluation, merged probabilities go through another softmax before the
    maximum is taken. It keeps their order, but can make nearly equal ones equal. The lower class
    wins ties.

    Args:
        probabilities: float32 (K, sum of h, sum of w), see `join`.
        resized: Size (H, W) of the resized image.
        size: Size (H, W) of the original image.
        placed: The windows.

    Returns:
        int64 (H, W), on the device of the probabilities.
    """
    side_rows, side_columns = _sides(probabilities, resized, size, placed)
    columns = side_matrix(*side_columns).to(probabilities.device)
    if probabilities.device.type == 'cpu':
        labels = np.empty(size, np.int64)
        with _one_thread():
            wide = probabilities @ columns.T  # (K, sum of h, W)
            for start, used, band in _bands(*side_rows):
                _label_band(labels[start : start + BAND], band, wide[:, used])
        return torch.from_numpy(labels)
    rows = side_matrix(*side_rows).to(probabilities.device)
    wide = probabilities @ columns.T
    found = torch.empty(size, dtype=torch.int64, device=wide.device)
    height = max(1, BAND_ELEMENTS // (len(wide) * size[1]))
    for start in range(0, size[0], height):
        found[start : start + height] = _winners(rows[start : start + height] @ wide)
    return found


@contextmanager
def _one_thread() -> Iterator[None]:
    """Use one thread: sharing operations as small as those on a band takes longer than they do."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _winners(merged: Tensor) -> Tensor:
    """Return the index of the winner, int64 (...), from merged probabilities (K, ...)."""
    return merged.softmax(dim=0).max(dim=0).indices  # the first of equal ones


@lru_cache(maxsize=64)
def _bands(
    length: int, patches: tuple[int, ...], target: int
) -> list[tuple[int, slice | Tensor, Tensor]]:
    """Cut a `side_matrix` into bands of pixels.

    Returns:
        First pixel, patches that the band depends on, and its part of the matrix.
    """
    rows, cut = side_matrix(length, patches, target), []
    for start in range(0, len(rows), BAND):
        used = _span(rows[start : start + BAND])
        cut.append((start, used, rows[start : start + BAND, used].contiguous()))
    return cut


def _label_band(labels: Indices, band: Tensor, lines: Tensor) -> None:
    """Compute `_winners(band @ lines)`, but only with classes that can win.

    A pixel is a weighted mean over rows of patches. So no class exceeds its maximum over these
    rows, and the winner reaches at least the largest of all classes' minima. Softmax keeps the
    order of values that differ by more than a rounding error, so only nearly equal ones need it.

    Arrays of flags are numpy's, which handles them several times faster than torch.

    Args:
        labels: int64 (rows, W); the result is written to it.
        band: (rows, h).
        lines: (K, h, W).
    """
    bound = _just_below(lines.amin(dim=1).amax(dim=0))  # (W,)
    possible = lines.amax(dim=1).numpy() >= bound.numpy()  # (K, W)
    classes = np.flatnonzero(possible.any(axis=1))
    labels[:], count = _sum_flagged(classes, possible[classes])
    contested = np.flatnonzero(count > 1)
    if not len(contested):
        return
    picked = lines[torch.from_numpy(classes)].index_select(2, torch.from_numpy(contested))
    merged = (band @ picked).flatten(1)  # (classes, pixels)
    near = merged.numpy() >= _just_below(merged.amax(dim=0)).numpy()
    winners, count = _sum_flagged(classes, near)
    equal = np.flatnonzero(count > 1)
    if len(equal):
        winners[equal] = classes[_winners(merged[:, torch.from_numpy(equal)])]
    labels[:, contested] = winners.reshape(len(labels), -1)


def _just_below(values: Tensor) -> Tensor:
    return values - MARGIN * (1 + values.abs())


def _sum_flagged(classes: Indices, flags: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """Sum the classes that are flagged for each pixel, and count them.

    Where one class is flagged, the sum is this class.

    Args:
        classes: int64 (k,).
        flags: (k, n).

    Returns:
        Sum and number, (2, n).
    """
    terms = np.stack([classes, np.ones_like(classes)]).astype(np.float32)
    sums = torch.from_numpy(terms) @ torch.from_numpy(flags.astype(np.float32))
    return sums.numpy()


def _span(band: Tensor) -> slice | Tensor:
    """Return the rows of patches that a band of pixels depends on, as a slice to avoid a copy."""
    used = (band != 0).any(dim=0).nonzero()[:, 0]
    first, last = int(used[0]), int(used[-1])
    return slice(first, last + 1) if last - first < len(used) else used


def _sides(
    probabilities: Tensor, resized: tuple[int, int], size: tuple[int, int], placed: WindowGrid
) -> list[tuple[int, tuple[int, ...], int]]:
    """Return the arguments of `side_matrix` for rows and columns; takes those of `find_labels`."""
    sides = []
    for axis, windows in enumerate((placed.rows, placed.columns)):
        # windows along one side have the same length, so the same number of patches
        patches = (probabilities.shape[1 + axis] // len(windows),) * len(windows)
        sides.append((resized[axis], patches, size[axis]))
    return sides
