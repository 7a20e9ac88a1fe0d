# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The refinement of `edges` on a GPU: one kernel, launched once for each averaging.

It computes the weights of a cell's neighbours in registers and uses them for several classes, so
weights are never in memory. One launch cannot do all averagings: each needs the neighbours' results
of the one before.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, cuda

from clip_dinoiser_ros.core.triton_trial import Trial

BLOCK = 128  # cells for each program
GROUP = 8  # classes for each program: they share the weights


def usable(device: torch.device) -> bool:
    """Return whether the kernel runs on this device; see `Trial.usable`."""
    return _trial.usable(device)


def try_average(cells: Tensor, image: Tensor, steps: int, sharpness: float) -> Tensor | None:
    """Call `average` if the kernel runs on the device; return its result, else None.

    Raises:
        RuntimeError: Too little memory.
    """
    found: list[Tensor] = []
    _trial.run(cells.device, lambda: found.append(average(cells, image, steps, sharpness)))
    return found[0] if found else None


def _try_out(device: torch.device) -> str:
    """Sharpen the edge of a small image; return what is wrong with the result, or ''."""
    image = torch.zeros((8, 9, 3), dtype=torch.uint8, device=device)
    image[:, 4:] = 255
    right = (torch.arange(9, device=device) > 3).float().expand(1, 8, 9)
    found = average(torch.cat([right, 1.0 - right]), image, 2, 10.0)[0]
    wrong = float((found - right[0]).abs().max())
    return '' if wrong < 1e-3 else f'its answer is wrong: {found.tolist()}'


_trial = Trial('sharpening edges', lambda device: _try_out(device))


def average(cells: Tensor, image: Tensor, steps: int, sharpness: float) -> Tensor:
    """Average the neighbours of every cell, weighted by colour, `steps` times.

    Equal to `edges._weights` and `edges._average`, up to rounding. It does not wait for the device.

    Args:
        cells: float32 (K, h, w).
        image: uint8 (h, w, 3), contiguous.
        steps: At least 1.
        sharpness: `edges.SHARPNESS`.

    Returns:
        float32 (K, h, w).
    """
    count, height, width = cells.shape
    grid = (-(-height * width // BLOCK), -(-count // GROUP))
    source = cells.contiguous()
    spare = [torch.empty_like(source) for _ in range(min(steps, 2))]
    with cuda.device_of(cells):  # Triton compiles and launches for the current one
        for step in range(steps):
            target = spare[step % 2]
            kernel()[grid](
                source, target, image, count, height, width, sharpness, GROUP=GROUP, BLOCK=BLOCK
            )
            source = target
    return source


@cache
def kernel() -> Any:
    """Compile the kernel when it is first needed; not every machine has Triton."""
    import triton
    import triton.language as tl

    # not specialised, so that no new prompt, camera or batch size waits for the compiler
    general = ('maps', 'result', 'image', 'count', 'height', 'width', 'sharpness')

    @triton.jit(do_not_specialize=general)  # type: ignore[untyped-decorator]
    def average_neighbours(  # type: ignore[no-untyped-def]
        maps, result, image, count, height, width, sharpness,
        GROUP: tl.constexpr, BLOCK: tl.constexpr,  # noqa: N803
    ):  # fmt: skip
        cell = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
        cells = height * width
        inside = cell < cells
        y, x = tl.minimum(cell // width, height - 1), cell % width  # so all loads are inside
        reds = image + 3 * (y * width + x)
        red = tl.load(reds).to(tl.float32)
        green = tl.load(reds + 1).to(tl.float32)
        blue = tl.load(reds + 2).to(tl.float32)

        # colours relative to the cell's own: their sums lose no digits where all are alike
        zero = tl.zeros((BLOCK,), tl.float32)
        red_sum, green_sum, blue_sum = zero, zero, zero
        red_squares, green_squares, blue_squares = zero, zero, zero
        places = ()
        for step in tl.static_range(3):
            for place in tl.static_range(9):
                if place != 4:  # the cell itself
                    down, right = (place // 3 - 1) << step, (place % 3 - 1) << step
                    # beyond the edge the nearest cell counts
                    row = tl.minimum(tl.maximum(y + down, 0), height - 1)
                    column = tl.minimum(tl.maximum(x + right, 0), width - 1)
                    at = row * width + column
                    places = places + (at,)  # type: ignore[assignment]  # noqa: RUF005
                    reds = image + 3 * at
                    difference = tl.load(reds).to(tl.float32) - red
                    red_sum += difference
                    red_squares += difference * difference
                    difference = tl.load(reds + 1).to(tl.float32) - green
                    green_sum += difference
                    green_squares += difference * difference
                    difference = tl.load(reds + 2).to(tl.float32) - blue
                    blue_sum += difference
                    blue_squares += difference * difference
        third = sharpness / 3.0
        spread = tl.maximum(red_squares - red_sum * red_sum / 25.0, 0.0) / 24.0
        red_scale = third / (tl.sqrt(spread) + 1e-3)
        spread = tl.maximum(green_squares - green_sum * green_sum / 25.0, 0.0) / 24.0
        green_scale = third / (tl.sqrt(spread) + 1e-3)
        spread = tl.maximum(blue_squares - blue_sum * blue_sum / 25.0, 0.0) / 24.0
        blue_scale = third / (tl.sqrt(spread) + 1e-3)

        # Two of 25 numbers differ by less than 7 standard deviations: no exponential underflows
        weights = ()
        total = zero
        for n in tl.static_range(24):
            reds = image + 3 * places[n]
            value = tl.load(reds).to(tl.float32)
            apart = tl.abs(value - red) * red_scale
            value = tl.load(reds + 1).to(tl.float32)
            apart += tl.abs(value - green) * green_scale
            value = tl.load(reds + 2).to(tl.float32)
            apart += tl.abs(value - blue) * blue_scale
            weight = tl.exp(-apart)
            weights = weights + (weight,)  # type: ignore[assignment]  # noqa: RUF005
            total += weight

        first = tl.program_id(1) * GROUP
        for k in range(first, tl.minimum(first + GROUP, count)):
            value = tl.zeros((BLOCK,), tl.float32)
            for n in tl.static_range(24):
                at = k * cells + places[n]
                value += weights[n] * tl.load(maps + at)
            tl.store(result + k * cells + cell, value / total, mask=inside)

    return average_neighbours
