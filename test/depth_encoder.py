# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Compressed depth as compressed_depth_image_transport sends it, written number by number."""

from __future__ import annotations

import struct

import cv2
import numpy as np

DEPTH_MAX_M, DEPTH_QUANTIZATION = 10.0, 100.0  # defaults of the transport's parameters


def rvl(samples: np.ndarray) -> bytes:
    """The code of uint16 pixels: runs of zeros, runs of others, differences of the others."""
    nibbles: list[int] = []

    def put(number: int) -> None:
        while number >= 8:
            nibbles.append(number & 7 | 8)
            number >>= 3
        nibbles.append(number)

    pixels = [int(sample) for sample in samples.ravel()]
    place = previous = 0
    while place < len(pixels):
        zeros = place
        while place < len(pixels) and not pixels[place]:
            place += 1
        others = place
        while place < len(pixels) and pixels[place]:
            place += 1
        put(others - zeros)
        put(place - others)
        for pixel in pixels[others:place]:
            difference = pixel - previous
            put(2 * difference if difference >= 0 else -2 * difference - 1)
            previous = pixel
    nibbles += [0] * (-len(nibbles) % 8)
    words = (nibbles[i : i + 8] for i in range(0, len(nibbles), 8))
    return b''.join(struct.pack('<I', int(''.join(f'{n:x}' for n in word), 16)) for word in words)


def compressed_depth(depth: np.ndarray, codec: str = 'png') -> tuple[str, bytes]:
    """Format and data of a message on .../compressedDepth.

    Args:
        depth: uint16 (H, W) in millimetres, or float32 (H, W) in metres, NaN where there is none.
        codec: png or rvl.
    """
    encoding, a, b, samples = '16UC1', 0.0, 0.0, depth
    if depth.dtype == np.float32:
        encoding = '32FC1'
        a = DEPTH_QUANTIZATION * (DEPTH_QUANTIZATION + 1)
        b = 1 - a / DEPTH_MAX_M
        near = np.where(depth < DEPTH_MAX_M, depth, np.nan)
        samples = np.nan_to_num(a / near + b).astype(np.uint16)
    if codec == 'png':
        image = cv2.imencode('.png', samples)[1].tobytes()
    else:
        height, width = samples.shape
        image = struct.pack('<II', width, height) + rvl(samples)
    return f'{encoding}; compressedDepth {codec}', struct.pack('<iff', 0, a, b) + image
