# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Intersections of rays with a box, an upright cylinder or cone, or a ball, in closed form.

Every function takes rays in the frame of the object, whose footprint is centred on the origin, and
which stands on z = 0. It returns a `Hit`, with infinite depth where the ray misses.
"""

from dataclasses import dataclass

import numpy as np

from clip_dinoiser_ros.world.camera import Rays

_TINY = np.float32(1e-9)


@dataclass(frozen=True)
class Hit:
    """The first intersection of each ray with a surface; all arrays are float32 (h, w)."""

    depth: np.ndarray  # metres along the optical axis, inf where missed
    x: np.ndarray  # the point, metres, in the frame of the object
    y: np.ndarray
    z: np.ndarray
    face: np.ndarray  # uint8: box 0, 1, 2 = the axis of the face; others 0 = side, 2 = top


def _points(rays: Rays, depth: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    ox, oy, oz = (np.float32(value) for value in rays.origin)
    finite = np.where(np.isfinite(depth), depth, np.float32(0))
    return ox + finite * rays.x, oy + finite * rays.y, oz + finite * rays.z


def intersect_box(rays: Rays, length: float, width: float, bottom: float, top: float) -> Hit:
    """Intersect a box of the given length (x) and width (y) between two heights, all in metres."""
    ox, oy, oz = (np.float32(value) for value in rays.origin)
    near, far = [], []
    for origin, direction, low, high in (
        (ox, rays.x, -length / 2, length / 2),
        (oy, rays.y, -width / 2, width / 2),
        (oz, rays.z, bottom, top),
    ):
        inverse = 1 / np.where(np.abs(direction) < _TINY, _TINY, direction)
        a, b = (np.float32(low) - origin) * inverse, (np.float32(high) - origin) * inverse
        near.append(np.minimum(a, b))
        far.append(np.maximum(a, b))
    sides = np.maximum(near[0], near[1])
    depth = np.maximum(sides, near[2])
    leave = np.minimum(np.minimum(far[0], far[1]), far[2])
    face = np.where(near[2] >= sides, 2, (near[1] > near[0]).astype(np.uint8)).astype(np.uint8)
    depth = np.where((depth < leave) & (depth > 0), depth, np.float32(np.inf))
    return Hit(depth, *_points(rays, depth), face)


def intersect_cylinder(rays: Rays, radius: float, height: float) -> Hit:
    """Intersect an upright closed cylinder."""
    return intersect_frustum(rays, radius, radius, height)


def intersect_frustum(rays: Rays, bottom: float, top: float, height: float) -> Hit:
    """Intersect an upright truncated cone with radii `bottom` and `top`, seen from outside."""
    ox, oy, oz = (np.float32(value) for value in rays.origin)
    slope = np.float32((top - bottom) / height)
    radius = np.float32(bottom) + slope * oz  # of the infinite cone at the height of the camera
    a = rays.x * rays.x + rays.y * rays.y - (slope * rays.z) ** 2
    b = ox * rays.x + oy * rays.y - slope * radius * rays.z
    c = ox * ox + oy * oy - radius * radius
    inside = b * b - a * c
    with np.errstate(invalid='ignore', divide='ignore'):
        side = (-b - np.sqrt(inside)) / a
        z = oz + side * rays.z
        lid = np.broadcast_to((np.float32(height) - oz) / rays.z, side.shape)
        on_side = (inside > 0) & (z >= 0) & (z <= height) & (side > 0)
        lx, ly = ox + lid * rays.x, oy + lid * rays.y
        on_lid = (lx * lx + ly * ly <= np.float32(top * top)) & (lid > 0)
    depth = np.where(on_side, side, np.float32(np.inf))
    face = np.where(on_lid & (lid < depth), 2, 0).astype(np.uint8)
    depth = np.where(face == 2, lid, depth)
    return Hit(depth, *_points(rays, depth), face)


def intersect_ball(rays: Rays, radius: float) -> Hit:
    """Intersect a ball that lies on the ground."""
    ox, oy, oz = (np.float32(value) for value in rays.origin)
    oz = oz - np.float32(radius)
    a = rays.x * rays.x + rays.y * rays.y + rays.z * rays.z
    b = ox * rays.x + oy * rays.y + oz * rays.z
    c = ox * ox + oy * oy + oz * oz - np.float32(radius * radius)
    inside = b * b - a * c
    with np.errstate(invalid='ignore'):
        depth = (-b - np.sqrt(inside)) / a
    depth = np.where((inside > 0) & (depth > 0), depth, np.float32(np.inf))
    return Hit(depth, *_points(rays, depth), np.zeros(depth.shape, np.uint8))
