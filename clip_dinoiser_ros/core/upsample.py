"""Patch probabilities -> label and confidence of every pixel, without the big tensor."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

TILE_ELEMENTS = 1 << 22  # float32 elements enlarged at once: 16 MiB


def enlarge(
    probabilities: Tensor,
    size: tuple[int, int],
    extent: tuple[float, float],
    background: tuple[int, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Interpolate probabilities bilinearly and take the most probable class of every pixel.

    Works in strips of rows, so that never all classes of all pixels are in memory. Equal to
    `F.interpolate(..., align_corners=False)` followed by max, up to rounding.

    Args:
        probabilities: float32 (K, h, w).
        size: (H, W) of the image in pixels.
        extent: Height and width of the image in patches; less than (h, w) where it was padded.
        background: Index of the background class and its confidence, float32 (h, w), which is
            reported instead of the probability where that class wins.

    Returns:
        labels: (H, W), uint8 up to 256 classes, else int32.
        confidence: float32 (H, W) in [0, 1].
    """
    maps = probabilities
    if background is not None:
        maps = torch.cat([probabilities, background[1][None]])
    dtype = torch.uint8 if probabilities.shape[0] <= 256 else torch.int32
    labels = torch.empty(size, dtype=dtype, device=maps.device)
    confidence = torch.empty(size, dtype=torch.float32, device=maps.device)
    for strip, tile in _strips(maps, size, extent):
        best, label = tile[: probabilities.shape[0]].max(dim=0)
        if background is not None:
            best = torch.where(label == background[0], tile[-1], best)
        labels[strip], confidence[strip] = label, best
    return labels, confidence.clamp_(0.0, 1.0)


def enlarge_maps(maps: Tensor, size: tuple[int, int], extent: tuple[float, float]) -> Tensor:
    """Interpolate maps bilinearly, exactly as `enlarge` does.

    Args:
        maps: float32 (K, h, w) in [0, 1].
        size: (H, W) of the image in pixels.
        extent: Height and width of the image in patches.

    Returns:
        float32 (K, H, W) in [0, 1].
    """
    large = torch.empty((maps.shape[0], *size), dtype=torch.float32, device=maps.device)
    for strip, tile in _strips(maps, size, extent):
        large[:, strip] = tile
    return large.clamp_(0.0, 1.0)


def _strips(
    maps: Tensor, size: tuple[int, int], extent: tuple[float, float]
) -> Iterator[tuple[slice, Tensor]]:
    """Yield rows of the image and the maps (K, rows, W) enlarged there."""
    height, width = size
    count, grid_h, grid_w = maps.shape
    full_width = round(width * grid_w / extent[1])
    upper, lower, weight = _row_weights(height, grid_h, extent[0], maps.device)
    rows = max(1, TILE_ELEMENTS // (count * full_width))
    for start in range(0, height, rows):
        strip = slice(start, min(start + rows, height))
        tile = torch.lerp(maps[:, upper[strip]], maps[:, lower[strip]], weight[strip, None])
        tile = F.interpolate(tile, size=full_width, mode='linear', align_corners=False)
        yield strip, tile[..., :width]


def _row_weights(
    height: int, grid_h: int, extent: float, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Each pixel row's patch row above and below, int64 (H,), and the weight of the lower one."""
    centre = (torch.arange(height, dtype=torch.float64) + 0.5) * extent / height - 0.5
    centre = centre.clamp(min=0.0, max=grid_h - 1.0)
    upper = centre.floor().long()
    lower = (upper + 1).clamp(max=grid_h - 1)
    weight = (centre - upper).float()
    return upper.to(device), lower.to(device), weight.to(device)
