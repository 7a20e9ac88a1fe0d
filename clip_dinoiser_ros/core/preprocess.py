# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""RGB images of a camera -> the batch for the image tower."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
MOST_AT_ONCE = 16  # times smaller; on a GPU, antialiased resizing fails beyond that


class Preprocess:
    """Resizes or pads and normalises images, on the device.

    Args:
        patch_size: Of the image tower, in pixels.
        short_side: Images are resized to this short side in pixels, both sides rounded to
            multiples of the patch; None: keep the size and pad with black to such multiples.
        config: OpenCLIP's `preprocess_cfg` of the image tower; `mean` and `std` are read.
        device: Where the work is done.
        dtype: Of the result; the arithmetic is float32.
    """

    def __init__(
        self,
        patch_size: int,
        short_side: int | None,
        config: dict[str, Any],
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.patch_size = patch_size
        self.short_side = short_side
        self._device = device
        self._dtype = dtype
        # for pixels in 0 to 255, so that a large image need not be divided by 255
        std = 255.0 * torch.tensor(config.get('std', CLIP_STD), device=device)[:, None, None]
        mean = torch.tensor(config.get('mean', CLIP_MEAN), device=device)[:, None, None]
        self._scale = 1.0 / std
        self._offset = -255.0 * mean / std

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Return the grid of patches (h, w) of an image of this size."""
        p = self.patch_size
        if self.short_side is None:
            return -(-height // p), -(-width // p)
        scale = self.short_side / min(height, width)
        return max(1, round(height * scale / p)), max(1, round(width * scale / p))

    def extent(self, height: int, width: int) -> tuple[float, float]:
        """Return height and width of an image of this size in patches, padding not counted."""
        if self.short_side is None:
            return height / self.patch_size, width / self.patch_size
        h, w = self.grid(height, width)
        return float(h), float(w)

    def upload(self, images: Sequence[npt.NDArray[np.uint8]]) -> Tensor:
        """Bring images of one size to the device: uint8 (B, H, W, 3)."""
        pinned = self._device.type == 'cuda'  # the GPU copies from pinned memory without the CPU
        pixels = torch.empty((len(images), *images[0].shape), dtype=torch.uint8, pin_memory=pinned)
        # always copied, since the message that holds the image may be read-only
        for target, image in zip(pixels.numpy(), images, strict=True):
            np.copyto(target, image)
        return pixels.to(self._device, non_blocking=True)

    def __call__(self, pixels: Tensor) -> Tensor:
        """Make the batch: uint8 (B, H, W, 3) -> (B, 3, H', W'), sides multiples of the patch."""
        height, width = pixels.shape[1:3]
        h, w = self.grid(height, width)
        size = (h * self.patch_size, w * self.patch_size)
        # separate planes, which resize a third faster than interleaved colours
        planes = pixels.permute(0, 3, 1, 2)
        x = planes.to(torch.float32, memory_format=torch.contiguous_format)
        if self.short_side is None:
            x = F.pad(x, (0, size[1] - width, 0, size[0] - height))
        elif (height, width) != size:
            if max(height / size[0], width / size[1]) > MOST_AT_ONCE:
                # first average areas, down to at most four times the final size
                x = F.adaptive_avg_pool2d(x, (min(height, 4 * size[0]), min(width, 4 * size[1])))
            x = F.interpolate(x, size=size, mode='bilinear', antialias=True)
        return torch.addcmul(self._offset, x, self._scale).to(self._dtype)
