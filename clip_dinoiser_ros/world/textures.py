# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Tileable grey textures in [0, 1], made once per process: noise, planks, tiles, bricks, panels."""

from functools import cache, lru_cache

import cv2
import numpy as np

SIZE = 512


def _noise(rng: np.random.Generator, cells: tuple[int, ...], fade: float = 0.6) -> np.ndarray:
    """Return tileable noise of several octaves, float32 (SIZE, SIZE), in [0, 1]."""
    total = np.zeros((SIZE, SIZE), np.float32)
    weight = 1.0
    for count in cells:
        grid = rng.random((count, count)).astype(np.float32)
        grid = np.pad(grid, 2, mode='wrap')
        step = SIZE // count
        big = cv2.resize(grid, None, fx=step, fy=step, interpolation=cv2.INTER_CUBIC)
        total += weight * big[2 * step : 2 * step + SIZE, 2 * step : 2 * step + SIZE]
        weight *= fade
    low, high = np.percentile(total, (1, 99))
    return np.clip((total - low) / (high - low), 0, 1).astype(np.float32)


def _joints(texture: np.ndarray, rows: int, cols: int, width: int, shift: bool) -> np.ndarray:
    """Cut dark joints into a texture; with `shift` every other row by half a column."""
    out = texture.copy()
    high, wide = SIZE // rows, SIZE // cols
    for row in range(rows):
        band = out[row * high : (row + 1) * high]
        start = wide // 2 if shift and row % 2 else 0
        for col in range(cols):
            left = (start + col * wide) % SIZE
            tone = 0.86 + 0.14 * ((row * 7 + col * 13) % 5) / 4  # neighbours differ slightly
            part = np.take(band, range(left, left + wide), axis=1, mode='wrap') * tone
            part[:, :width] = 0.0
            band[:, np.arange(left, left + wide) % SIZE] = part
        band[:width] = 0.0
    return out


@lru_cache(maxsize=1)
def textures() -> dict[str, np.ndarray]:
    """Return all textures by name, float32 (SIZE, SIZE); the same in every process."""
    rng = np.random.default_rng(20240711)
    fine = _noise(rng, (256, 128, 64, 32), 0.8)
    soft = _noise(rng, (8, 16, 32, 64), 0.55)
    speck = 0.5 * _noise(rng, (256,), 1.0) + 0.5 * _noise(rng, (512, 256), 1.0)
    grain = cv2.blur(np.tile(rng.random((SIZE, 1)).astype(np.float32), (1, SIZE)), (1, 5))
    grain = 0.6 * cv2.normalize(grain, None, 0, 1, cv2.NORM_MINMAX) + 0.4 * soft
    stone = 0.6 + 0.4 * (0.5 * fine + 0.5 * soft)
    panel = np.tile(0.5 + 0.5 * np.cos(np.arange(SIZE) * 2 * np.pi / 32), (SIZE, 1))
    return {
        'concrete': (0.35 * fine + 0.65 * soft).astype(np.float32),
        'asphalt': (0.75 * speck + 0.25 * soft).astype(np.float32),
        'grass': np.clip(0.7 * fine + 0.45 * soft - 0.08, 0, 1).astype(np.float32),
        'tiles': _joints(stone, 4, 4, 5, shift=False),
        'planks': _joints((0.55 + 0.45 * grain).astype(np.float32), 8, 1, 3, shift=False),
        'bricks': _joints(stone, 16, 8, 5, shift=True),
        'plaster': (0.7 + 0.3 * soft).astype(np.float32),
        'panels': (0.3 + 0.7 * panel).astype(np.float32),
        'clouds': np.clip(_noise(rng, (4, 8, 16, 32, 64, 128), 0.6) * 2.2 - 1.1, 0, 1),
    }


@cache
def tile(name: str) -> np.ndarray:
    """Return a texture with its first two rows and columns repeated at its end.

    So no interpolated position has a neighbour outside, where `cv2.remap` is slow.
    """
    return np.ascontiguousarray(np.pad(textures()[name], (0, 2), mode='wrap'))
