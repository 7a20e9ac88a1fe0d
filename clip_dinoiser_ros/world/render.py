# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Renders a layout: objects and surroundings by depth, shadows, the camera's blur and noise."""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from clip_dinoiser_ros.frames.intrinsics import Intrinsics
from clip_dinoiser_ros.world.camera import Pose, cast_rays
from clip_dinoiser_ros.world.classes import CLASSES
from clip_dinoiser_ros.world.layout import SceneLayout
from clip_dinoiser_ros.world.paint import paint_thing, put, scaled
from clip_dinoiser_ros.world.person import paint_person
from clip_dinoiser_ros.world.surroundings import paint_surroundings
from clip_dinoiser_ros.world.things import Thing

_NEAR_M = 0.25
_WALL, _SKY = CLASSES.index('wall'), CLASSES.index('sky')


@dataclass(frozen=True)
class Scene:
    """One image and its true labels, instances and depth."""

    image: np.ndarray  # uint8 RGB (H, W, 3)
    labels: np.ndarray  # uint8 (H, W): index into classes.CLASSES
    instances: np.ndarray  # uint8 (H, W): 0 = ground, wall or sky; i = things[i - 1]
    depth: np.ndarray  # float32 (H, W): metres along the optical axis; inf in the sky
    intrinsics: Intrinsics
    pose: Pose
    things: tuple[Thing, ...]
    stamp_s: float = 0.0  # since the start of the drive

    def names(self, min_pixels: int = 1) -> list[str]:
        """Return the classes that cover at least so many pixels of the image."""
        counts = np.bincount(self.labels.ravel(), minlength=len(CLASSES))
        return [name for name, count in zip(CLASSES, counts, strict=True) if count >= min_pixels]


def render(
    layout: SceneLayout,
    pose: Pose,
    intrinsics: Intrinsics,
    time_s: float = 0.0,
    noise_seed: int = 0,
) -> Scene:
    """Render a layout from a pose at a moment."""
    rays = cast_rays(intrinsics, pose)
    things = tuple(thing.at(time_s) for thing in layout.things)
    rgb, depth, labels = paint_surroundings(rays, layout.around, layout.light)
    _cast_shadows(rgb, labels, layout, things, pose, intrinsics)
    instances = np.zeros(depth.shape, np.uint8)
    for number, thing in enumerate(things, start=1):
        window = _window(thing, pose, intrinsics)
        if window is None:
            continue
        if thing.kind == 'person':
            new_depth, colour = paint_person(*window, thing, layout.light, pose, intrinsics)
        else:
            new_depth, colour = paint_thing(rays.window(*window), thing, layout.light)
        nearer = new_depth < depth[window]
        put(depth[window], new_depth, nearer)
        put(rgb[window], colour, nearer)
        np.copyto(labels[window], CLASSES.index(thing.name), where=nearer)
        np.copyto(instances[window], number, where=nearer)
    image = _expose(rgb, layout.tint, noise_seed)
    return Scene(image, labels, instances, depth, intrinsics, pose, things, time_s)


def _window(thing: Thing, pose: Pose, intrinsics: Intrinsics) -> tuple[slice, slice] | None:
    pixels, depth = pose.project(thing.corners(), intrinsics)
    if depth.max() < _NEAR_M:
        return None
    if depth.min() < _NEAR_M:
        return slice(0, intrinsics.height), slice(0, intrinsics.width)
    low = np.maximum(np.floor(pixels.min(axis=0)).astype(int), 0)
    high = np.minimum(
        np.ceil(pixels.max(axis=0)).astype(int) + 1, (intrinsics.width, intrinsics.height)
    )
    if low[0] >= high[0] or low[1] >= high[1]:
        return None
    return slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0]))


def _cut(outline: np.ndarray) -> np.ndarray:
    """Return the part in front of the camera of a convex outline (N, 3) in the camera's frame."""
    kept = []
    for a, b in zip(outline, np.roll(outline, -1, axis=0), strict=True):
        if a[2] > _NEAR_M:
            kept.append(a)
        if (a[2] > _NEAR_M) != (b[2] > _NEAR_M):
            kept.append(a + (b - a) * (_NEAR_M - a[2]) / (b[2] - a[2]))
    return np.array(kept).reshape(-1, 3)


def _fill(mask: np.ndarray, points: np.ndarray, pose: Pose, intrinsics: Intrinsics) -> None:
    """Fill the convex hull of ground points (N, 2), cut where it passes the camera."""
    outline = cv2.convexHull(points.astype(np.float32))[:, 0].astype(float)
    rotation = pose.rotation()
    local = (np.column_stack([outline, np.zeros(len(outline))]) - pose.position()) @ rotation.T
    if (local[:, 2] <= _NEAR_M).any():
        local = _cut(local)
    if len(local) < 3:
        return
    x, y, z = local.T
    pixels = np.array(
        [x / z * intrinsics.fx + intrinsics.cx, y / z * intrinsics.fy + intrinsics.cy]
    )
    pixels = np.clip(pixels.T, -4000, 4000)
    cv2.fillConvexPoly(mask, np.round(pixels * 8).astype(np.int32), 255, cv2.LINE_AA, 3)


def _cast_shadows(
    rgb: np.ndarray,
    labels: np.ndarray,
    layout: SceneLayout,
    things: tuple[Thing, ...],
    pose: Pose,
    intrinsics: Intrinsics,
) -> None:
    """Darken the ground in the shadow of objects and right under them; in place."""
    cast = np.zeros(labels.shape, np.uint8)
    contact = np.zeros(labels.shape, np.uint8)
    lx, ly, lz = layout.light.direction
    for thing in things:
        foot = thing.footprint(0.9)
        shift = np.array([-lx, -ly]) / lz
        if thing.kind == 'ball':
            middle = (thing.x, thing.y) + shift * thing.height / 2
            stretch = np.concatenate([foot - (thing.x, thing.y)] * 2)
            stretch[:16] += shift * thing.height * 0.3
            stretch[16:] -= shift * thing.height * 0.3
            _fill(cast, middle + stretch, pose, intrinsics)
            _fill(contact, thing.footprint(0.5), pose, intrinsics)
            continue
        tip = (foot - (thing.x, thing.y)) * (0.15 if thing.kind == 'cone' else 1.0)
        top = tip + (thing.x, thing.y) + shift * thing.height
        _fill(cast, np.concatenate([foot, top]), pose, intrinsics)
        _fill(contact, thing.footprint(1.08), pose, intrinsics)
    width = max(3, intrinsics.width // 100) | 1
    sun = layout.light.sun * lz
    share = 0.85 * sun / (sun + layout.light.ambient)
    rows = np.flatnonzero(cast.any(axis=1))
    if not len(rows):
        return
    part = slice(max(0, int(rows[0]) - width), int(rows[-1]) + width)
    dark = 1 - cv2.blur(cast, (width, width))[part] * np.float32(share / 255)
    dark *= 1 - cv2.blur(contact, (width, width))[part] * np.float32(0.35 / 255)
    dark[(labels[part] == _WALL) | (labels[part] == _SKY)] = 1
    rgb[part] = scaled(rgb[part], dark)


@lru_cache(maxsize=8)
def _grain(height: int, width: int) -> np.ndarray:
    rng = np.random.default_rng(7)
    return rng.normal(0, 1, (height * 2, width * 2, 3)).astype(np.float32)


@lru_cache(maxsize=8)
def _vignette(height: int, width: int) -> np.ndarray:
    y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)
    fall = (255 * (1 - 0.10 * (x * x + y * y))).astype(np.float32)
    return cv2.merge([fall] * 3)


def _expose(rgb: np.ndarray, tint: tuple[float, float, float], seed: int) -> np.ndarray:
    """Add a camera's slight blur, noise and vignetting; return uint8."""
    height, width = rgb.shape[:2]
    rng = np.random.default_rng(seed)
    out = cv2.GaussianBlur(rgb, (3, 3), 0.55)
    out = cv2.transform(out, np.diag(tint).astype(np.float32))
    out *= _vignette(height, width)
    top, left = int(rng.integers(height)), int(rng.integers(width))
    grain = _grain(height, width)[top : top + height, left : left + width]
    out = cv2.scaleAdd(grain, float(rng.uniform(1.0, 4.0)), out)
    return np.clip(out, 0, 255, out=out).astype(np.uint8)
