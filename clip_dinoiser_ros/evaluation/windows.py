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
    rows, columns = matrices(probabilities, resized, size, placed)
    wide = probabilities @ columns.T  # (K, sum of h, W)
    labels = torch.empty(size, dtype=torch.int64, device=wide.device)
    if wide.device.type == 'cpu':
        with _one_thread():
            for start in range(0, size[0], BAND):
                _label_band(labels[start : start + BAND], rows[start : start + BAND], wide)
        return labels
    height = max(1, BAND_ELEMENTS // (len(wide) * size[1]))
    for start in range(0, size[0], height):
        labels[start : start + height] = _winners(rows[start : start + height] @ wide)
    return labels


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
    """Return the class of every pixel, int64 (H, W), from merged probabilities (K, H, W)."""
    return merged.softmax(dim=0).max(dim=0).indices  # the first of equal ones


def _label_band(labels: Tensor, band: Tensor, wide: Tensor) -> None:
    """Compute `_winners(band @ wide)`, but only with classes that can win.

    A pixel is a weighted mean over rows of patches. So no class exceeds its maximum over these
    rows, and the winner reaches at least the largest of all classes' minima.

    Args:
        labels: int64 (rows, W); the result is written to it.
        band: (rows, sum of h).
        wide: (K, sum of h, W).
    """
    used = _span(band)
    band, lines = band[:, used], wide[:, used]
    bound = lines.amin(dim=1).amax(dim=0)  # (W,)
    bound -= MARGIN * (1 + bound.abs())
    ahead = lines.amax(dim=1) - bound  # (K, W)
    classes = (ahead.amax(dim=1) >= 0).nonzero()[:, 0]
    possible = ahead[classes] >= 0
    labels[:] = classes[possible.to(torch.uint8).argmax(dim=0)]
    contested = (possible.sum(dim=0) > 1).nonzero()[:, 0]
    if len(contested):
        labels[:, contested] = classes[_winners(band @ lines[classes][:, :, contested])]


def _span(band: Tensor) -> slice | Tensor:
    """Return the rows of patches that a band of pixels depends on, as a slice to avoid a copy."""
    used = (band != 0).any(dim=0).nonzero()[:, 0]
    first, last = int(used[0]), int(used[-1])
    return slice(first, last + 1) if last - first < len(used) else used


def matrices(
    probabilities: Tensor, resized: tuple[int, int], size: tuple[int, int], placed: WindowGrid
) -> tuple[Tensor, Tensor]:
    """Return the matrices of both sides; arguments as for `find_labels`."""
    made = []
    for axis, windows in enumerate((placed.rows, placed.columns)):
        count = probabilities.shape[1 + axis]
        # windows along one side have the same length, so the same number of patches
        patches = (count // len(windows),) * len(windows)
        matrix = side_matrix(resized[axis], patches, size[axis])
        made.append(matrix.to(probabilities.device))
    return made[0], made[1]
