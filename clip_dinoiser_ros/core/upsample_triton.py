# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The enlarging of `upsample` as a single GPU kernel, from patches to pixels."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, cuda

from clip_dinoiser_ros.core.triton_trial import Trial

BLOCK = 256  # pixels of a row for each program
LABEL_TYPES = (torch.uint8, torch.int16)  # the kernel is compiled once for each


def usable(device: torch.device) -> bool:
    """Return whether the kernel runs on this device; see `Trial.usable`."""
    return _trial.usable(device)


def try_enlarge(
    labels: Tensor,
    confidence: Tensor,
    mono8: Tensor,
    probabilities: Tensor,
    extent: tuple[float, float],
    background: tuple[int, Tensor] | None = None,
) -> bool:
    """Call `enlarge_into` if the kernel runs on the device; return whether it did.

    Raises:
        RuntimeError: Too little memory.
    """
    given = (labels, confidence, mono8, probabilities, extent, background)
    return _trial.run(probabilities.device, lambda: enlarge_into(*given))


def _try_out(device: torch.device) -> str:
    """Run the kernel on a small image; return what is wrong with the result, or ''."""
    maps = torch.eye(2, device=device).reshape(2, 1, 2)
    for dtype in LABEL_TYPES:
        labels = torch.empty((1, 16), dtype=dtype, device=device)
        confidence = torch.empty((1, 16), device=device)
        mono8 = torch.empty((1, 16), dtype=torch.uint8, device=device)
        enlarge_into(labels, confidence, mono8, maps, (1.0, 2.0))
        found = (labels.tolist(), mono8.tolist())
        if found != ([[0] * 8 + [1] * 8], (confidence * 255.0).round().int().tolist()):
            return f'its answer is wrong: {found}'
    return ''


_trial = Trial('enlarging', lambda device: _try_out(device))


def enlarge_into(
    labels: Tensor,
    confidence: Tensor,
    mono8: Tensor,
    probabilities: Tensor,
    extent: tuple[float, float],
    background: tuple[int, Tensor] | None = None,
) -> None:
    """Write labels, confidence and mono8, each (H, W); the rest as `upsample.enlarge`."""
    count, grid_h, grid_w = probabilities.shape
    height, width = labels.shape
    full_width = round(width * grid_w / extent[1])
    index, own = background or (-1, probabilities[0])
    with cuda.device_of(probabilities):  # Triton compiles and launches for the current one
        kernel()[(height, -(-width // BLOCK))](
            probabilities.contiguous(),
            own.contiguous(),
            labels,
            confidence,
            mono8,
            count,
            grid_h,
            grid_w,
            width,
            extent[0] / height,
            grid_w / full_width,
            index,
            BLOCK=BLOCK,
            enable_fp_fusion=False,  # so that mono8 is rounded as by OpenCV
        )


@cache
def kernel() -> Any:
    """Compile the kernel when it is first needed; not every machine has Triton."""
    import triton
    import triton.language as tl

    # not specialised, so that no new prompt, camera or batch size waits for the compiler
    general = ('maps', 'own', 'labels', 'confidence', 'mono8',
               'count', 'grid_h', 'grid_w', 'width', 'background')  # fmt: skip

    @triton.jit(do_not_specialize=general)  # type: ignore[untyped-decorator]
    def enlarge_row(  # type: ignore[no-untyped-def]
        maps, own, labels, confidence, mono8,
        count, grid_h, grid_w, width, scale_y, scale_x, background,
        BLOCK: tl.constexpr,  # noqa: N803
    ):  # fmt: skip
        row = tl.program_id(0)
        x = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
        inside = x < width
        # position of the pixel's centre among the centres of the patches
        centre_y = tl.minimum(tl.maximum((row + 0.5) * scale_y - 0.5, 0.0), grid_h - 1.0)
        centre_x = tl.minimum(tl.maximum((x + 0.5) * scale_x - 0.5, 0.0), grid_w - 1.0)
        top, left = centre_y.to(tl.int32), centre_x.to(tl.int32)
        below, right = tl.minimum(top + 1, grid_h - 1), tl.minimum(left + 1, grid_w - 1)
        down, across = centre_y - top, centre_x - left
        corners = (top * grid_w + left, top * grid_w + right,
                   below * grid_w + left, below * grid_w + right)  # fmt: skip
        shares = ((1 - down) * (1 - across), (1 - down) * across,
                  down * (1 - across), down * across)  # fmt: skip

        best = tl.full((BLOCK,), -1.0, tl.float32)
        label = tl.zeros((BLOCK,), tl.int32)
        for k in range(count):
            value = tl.zeros((BLOCK,), tl.float32)
            for corner in tl.static_range(4):
                at = k * grid_h * grid_w + corners[corner]
                value += shares[corner] * tl.load(maps + at, mask=inside, other=0.0)
            better = value > best  # ties: the first class
            best = tl.where(better, value, best)
            label = tl.where(better, k, label)
        mine = tl.zeros((BLOCK,), tl.float32)
        for corner in tl.static_range(4):
            mine += shares[corner] * tl.load(own + corners[corner], mask=inside, other=0.0)
        best = tl.where(label == background, mine, best)
        best = tl.minimum(tl.maximum(best, 0.0), 1.0)
        at = row * width + x
        tl.store(labels + at, label.to(labels.dtype.element_ty), mask=inside)
        tl.store(confidence + at, best, mask=inside)
        # between 2**23 and 2**24 a float32 has no fraction: the sum is rounded, halves to even
        rounded = (best * 255.0 + 8388608.0) - 8388608.0
        tl.store(mono8 + at, rounded.to(tl.uint8), mask=inside)

    return enlarge_row
