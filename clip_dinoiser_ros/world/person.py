# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""A walking person made of limbs: tapered capsules drawn in the image plane, with true depth."""

import numpy as np

from clip_dinoiser_ros.frames.intrinsics import Intrinsics
from clip_dinoiser_ros.world.camera import Pose
from clip_dinoiser_ros.world.things import Light, Thing

_SKIN = ((0.93, 0.74, 0.62), (0.80, 0.58, 0.44), (0.55, 0.37, 0.26), (0.36, 0.23, 0.16))
_TROUSERS = ((0.12, 0.15, 0.28), (0.25, 0.25, 0.27), (0.45, 0.38, 0.27), (0.08, 0.08, 0.09))
_HAIR = ((0.10, 0.07, 0.05), (0.30, 0.19, 0.10), (0.55, 0.42, 0.22), (0.45, 0.45, 0.45))


def _limbs(person: Thing) -> list[tuple]:
    """Return (start, end, start radius, end radius, colour) of each limb; local metres."""
    pick = int(person.style * 997)
    skin = _SKIN[pick % 4]
    trousers = _TROUSERS[pick // 4 % 4]
    hair = _HAIR[pick // 16 % 4]
    stride = 0.22 * np.sin(2 * np.pi * (person.style * 7 + (person.x + person.y) * 0.8))
    h = person.height
    shirt = person.albedo
    limbs = []
    for side in (-1, 1):
        step = side * stride
        hip = (0.0, side * 0.055 * h, 0.50 * h)
        knee = (step * 0.6, side * 0.055 * h, 0.27 * h)
        foot = (step, side * 0.055 * h, 0.055 * h)
        limbs.append((hip, knee, 0.058 * h, 0.046 * h, trousers))
        limbs.append((knee, foot, 0.046 * h, 0.036 * h, trousers))
        toe = (step + 0.09 * h, side * 0.055 * h, 0.03 * h)
        limbs.append((foot, toe, 0.034 * h, 0.03 * h, (0.09, 0.08, 0.08)))
        shoulder = (0.0, side * 0.115 * h, 0.785 * h)
        elbow = (-step * 0.3, side * 0.145 * h, 0.64 * h)
        hand = (-step * 0.75 + 0.03 * h, side * 0.15 * h, 0.50 * h)
        limbs.append((shoulder, elbow, 0.042 * h, 0.035 * h, shirt))
        limbs.append((elbow, hand, 0.032 * h, 0.024 * h, shirt if pick % 3 else skin))
        chest = (0.0, side * 0.055 * h, 0.755 * h)
        limbs.append((hip, chest, 0.062 * h, 0.078 * h, shirt))
    limbs.append(((0, 0, 0.56 * h), (0, 0, 0.77 * h), 0.085 * h, 0.085 * h, shirt))
    limbs.append(((0, 0, 0.80 * h), (0, 0, 0.88 * h), 0.035 * h, 0.035 * h, skin))
    limbs.append(((0.01 * h, 0, 0.905 * h), (0.01 * h, 0, 0.925 * h), 0.058 * h, 0.060 * h, skin))
    back = -0.012 * h
    limbs.append(((back, 0, 0.93 * h), (back, 0, 0.945 * h), 0.062 * h, 0.060 * h, hair))
    return limbs


def paint_person(
    rows: slice, cols: slice, person: Thing, light: Light, pose: Pose, intrinsics: Intrinsics
) -> tuple[np.ndarray, np.ndarray]:
    """Return depth float32 (h, w), inf where missed, and RGB float32 (h, w, 3) of a window."""
    shape = (rows.stop - rows.start, cols.stop - cols.start)
    depth = np.full(shape, np.inf, np.float32)
    rgb = np.zeros((*shape, 3), np.float32)
    rotation = pose.rotation()
    sun = (rotation @ light.direction).astype(np.float32)
    cos, sin = np.cos(person.yaw), np.sin(person.yaw)
    turn = np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])
    for start, end, r0, r1, colour in _limbs(person):
        ends = np.array([start, end]) @ turn + (person.x, person.y, 0)
        pixels, z = pose.project(ends, intrinsics)
        if z.min() < 0.2:
            continue
        size = np.array([r0, r1]) * intrinsics.fx / z
        low = np.floor((pixels - size[:, None]).min(axis=0)).astype(int) - (cols.start, rows.start)
        high = np.ceil((pixels + size[:, None]).max(axis=0)).astype(int) - (cols.start, rows.start)
        x0, y0 = np.maximum(low, 0)
        x1, y1 = np.minimum(high + 1, (shape[1], shape[0]))
        if x0 >= x1 or y0 >= y1:
            continue
        px = np.arange(x0, x1, dtype=np.float32) + np.float32(cols.start - pixels[0, 0])
        py = np.arange(y0, y1, dtype=np.float32) + np.float32(rows.start - pixels[0, 1])
        part, shade = _capsule(
            px, py[:, None], pixels[1] - pixels[0], z, size, (r0, r1), light, sun
        )
        window = (slice(y0, y1), slice(x0, x1))
        nearer = part < depth[window]
        depth[window][nearer] = part[nearer]
        rgb[window][nearer] = shade[nearer][:, None] * np.asarray(colour, np.float32)
    return depth, rgb


def _capsule(
    px: np.ndarray,
    py: np.ndarray,
    axis: np.ndarray,
    z: np.ndarray,
    size: np.ndarray,
    radius: tuple[float, float],
    light: Light,
    sun: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return depth and brightness of one tapered capsule.

    Args:
        px: Columns from its start, pixels, float32 (w,).
        py: Rows from its start, pixels, float32 (h, 1).
        axis: From start to end, pixels (2,).
        z: Depth of both ends, metres (2,).
        size: Radius at both ends, pixels (2,).
        radius: Radius at both ends, metres.
        light: For its strengths.
        sun: Direction towards the sun in the camera's frame, float32 (3,).
    """
    ax, ay = np.float32(axis[0]), np.float32(axis[1])
    along = np.clip((px * ax + py * ay) / np.float32(ax * ax + ay * ay + 1e-6), 0, 1)
    r = np.float32(size[0]) + along * np.float32(size[1] - size[0])
    nx, ny = (px - along * ax) / r, (py - along * ay) / r
    out = nx * nx + ny * ny
    nz = np.sqrt(np.maximum(1 - out, 0))
    thick = np.float32(radius[0]) + along * np.float32(radius[1] - radius[0])
    depth = np.float32(z[0]) + along * np.float32(z[1] - z[0]) - nz * thick
    facing = np.maximum(nx * sun[0] + ny * sun[1] - nz * sun[2], 0)
    shade = np.float32(light.ambient) * (np.float32(0.85) - np.float32(0.15) * ny)
    shade = shade + np.float32(light.sun) * facing
    return np.where(out < 1, depth, np.float32(np.inf)), shade
