# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Ground, walls and sky behind the objects: exact planes with textures."""

from dataclasses import dataclass

import cv2
import numpy as np

from clip_dinoiser_ros.world.camera import Rays
from clip_dinoiser_ros.world.classes import CLASSES
from clip_dinoiser_ros.world.paint import put, scaled
from clip_dinoiser_ros.world.textures import SIZE, tile
from clip_dinoiser_ros.world.things import Light

FAR_M = 60.0  # ground beyond is haze; the sky has no depth


@dataclass(frozen=True)
class Surface:
    """The texture of a plane."""

    name: str  # class: 'floor', 'road', 'grass' or 'wall'
    texture: str
    dark: tuple[float, float, float]  # RGB where the texture is 0
    light: tuple[float, float, float]  # RGB where the texture is 1
    period_m: float  # the texture repeats after so many metres


@dataclass(frozen=True)
class Surroundings:
    """Everything except the objects. Lengths in metres."""

    ground: Surface
    beside: Surface  # the ground left and right of `strip`
    strip: tuple[float, float]  # lowest and highest y of `ground`
    lines: bool  # road markings
    wall: Surface
    room: tuple[float, float, float, float]  # x0, x1, y0, y1 of the walls
    wall_height: float  # 0: no wall
    zenith: tuple[float, float, float]
    horizon: tuple[float, float, float]
    clouds: float  # in [0, 1]


def _sample(texture: str, x: np.ndarray, y: np.ndarray, period_m: float) -> np.ndarray:
    scale = np.float32(SIZE / period_m)
    return cv2.remap(tile(texture), _within(x * scale), _within(y * scale), cv2.INTER_LINEAR)


def _within(place: np.ndarray) -> np.ndarray:
    """Return the same positions in the first tile; exact, since the size is a power of two."""
    start = np.floor(place * np.float32(1 / SIZE))
    start *= np.float32(SIZE)
    return np.subtract(place, start, out=start)


def _cover(surface: Surface, x: np.ndarray, y: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """Return RGB of a textured plane; the pattern fades where it is finer than a pixel."""
    tone = _sample(surface.texture, x, y, surface.period_m)
    fade = np.clip(np.float32(2.2 * surface.period_m) / depth, 0.25, 1)
    tone -= np.float32(0.55)
    tone *= fade
    tone += np.float32(0.55)
    dark = np.asarray(surface.dark, np.float32)
    span = np.asarray(surface.light, np.float32) - dark
    return cv2.transform(tone, np.column_stack([span, dark]))  # dark + tone * span, per channel


def _markings(rgb: np.ndarray, x: np.ndarray, y: np.ndarray, strip: tuple[float, float]) -> None:
    """Paint a dashed middle line and two edge lines, in place."""
    off = np.abs(y - np.float32((strip[0] + strip[1]) / 2))
    inside = off < 0.07
    edge = np.abs(off - np.float32((strip[1] - strip[0]) / 2 - 0.3)) < 0.06
    rows, cols = np.nonzero(inside | edge)
    dash = np.modf(x[rows, cols] / 3)[0] % 1 < 0.55
    paint = edge[rows, cols] | dash
    rows, cols = rows[paint], cols[paint]
    rgb[rows, cols] = rgb[rows, cols] * np.float32(0.25) + np.float32(0.55)


def _ground(rays: Rays, around: Surroundings) -> tuple[np.ndarray, np.ndarray]:
    """Return RGB and classes of the ground for rays that point down."""
    ox, oy, oz = (np.float32(value) for value in rays.origin)
    depth = np.minimum(-oz / rays.z, np.float32(1e4))
    x, y = ox + depth * rays.x, oy + depth * rays.y
    rgb = _cover(around.ground, x, y, depth)
    classes = np.full(x.shape, CLASSES.index(around.ground.name), np.uint8)
    if around.lines:
        _markings(rgb, x, y, around.strip)
    beside = (y < np.float32(around.strip[0])) | (y > np.float32(around.strip[1]))
    rows, cols = np.flatnonzero(beside.any(axis=1)), np.flatnonzero(beside.any(axis=0))
    if len(rows):
        part = slice(rows[0], rows[-1] + 1), slice(cols[0], cols[-1] + 1)
        other = _cover(around.beside, x[part], y[part], depth[part[0]])
        put(rgb[part], other, np.ascontiguousarray(beside[part]))
        np.copyto(classes, CLASSES.index(around.beside.name), where=beside)
    far = depth[:, 0] > 12  # all pixels of a row have the same depth
    haze = np.clip((depth[far] - 12) / np.float32(FAR_M), 0, 0.6)[..., None]
    rgb[far] += haze * (np.asarray(around.horizon, np.float32) - rgb[far])
    return rgb, classes


def _wall_depth(rays: Rays, around: Surroundings) -> tuple[np.ndarray, np.ndarray]:
    """Return the depth of the walls (inf above them), and where the end walls are."""
    ox, oy, oz = (np.float32(value) for value in rays.origin)
    x0, x1, y0, y1 = (np.float32(value) for value in around.room)
    with np.errstate(divide='ignore'):
        # a ray parallel to a wall never meets it, whatever the sign of the zero
        tx = np.abs(np.where(rays.x > 0, x1 - ox, x0 - ox) / rays.x)
        ty = np.abs(np.where(rays.y > 0, y1 - oy, y0 - oy) / rays.y)
    depth = np.minimum(np.minimum(tx, ty), np.float32(1e4))
    over = oz + depth * rays.z > np.float32(around.wall_height)
    depth[over] = np.inf
    return depth, tx < ty


def _walls(
    rays: Rays, depth: np.ndarray, ends: np.ndarray, around: Surroundings, light: Light
) -> np.ndarray:
    """Return RGB of the walls at known depths."""
    ox, oy, oz = (np.float32(value) for value in rays.origin)
    depth = np.minimum(depth, np.float32(1e4))
    height = oz + depth * rays.z
    along = np.where(ends, oy + depth * rays.y, ox + depth * rays.x)
    rgb = _cover(around.wall, along, -height, depth)
    shade_x = np.where(rays.x > 0, light.shade(-1.0, 0.0, 0.0), light.shade(1.0, 0.0, 0.0))
    shade_y = np.where(rays.y > 0, light.shade(0.0, -1.0, 0.0), light.shade(0.0, 1.0, 0.0))
    foot = np.float32(0.75) + np.float32(0.25) * np.clip(height, 0, 1)
    return scaled(rgb, np.where(ends, shade_x, shade_y) * foot)


def _sky(rays: Rays, around: Surroundings) -> np.ndarray:
    up = np.clip(rays.z, 0, 1)[..., None] ** np.float32(0.6)
    horizon = np.asarray(around.horizon, np.float32)
    rgb = horizon + up * (np.asarray(around.zenith, np.float32) - horizon)
    rgb = np.broadcast_to(rgb, (*rays.x.shape, 3)).copy()
    if around.clouds:
        lift = 1 / (np.clip(rays.z, 0, 1) + np.float32(0.12))
        cloud = _sample('clouds', rays.x * lift, rays.y * lift, 9.0)
        cloud = cloud * np.float32(around.clouds)
        rgb += cloud[..., None] * (np.float32(0.95) - rgb)
    return rgb


def paint_surroundings(
    rays: Rays, around: Surroundings, light: Light
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return RGB float32 (H, W, 3), depth float32 (H, W), inf in the sky, and classes (H, W)."""
    shape = rays.x.shape
    every = slice(None)
    rgb = np.empty((*shape, 3), np.float32)
    depth = np.full(shape, np.inf, np.float32)
    classes = np.full(shape, CLASSES.index('sky'), np.uint8)
    horizon = int(np.searchsorted(-rays.z[:, 0], 1e-3))  # first row below the horizon
    np.copyto(depth[horizon:], np.float32(-rays.origin[2]) / rays.z[horizon:])
    wall = np.zeros(shape, bool)
    if around.wall_height:
        wall_depth, ends = _wall_depth(rays, around)
        wall = wall_depth < depth
        put(depth, wall_depth, wall)
        np.copyto(classes, CLASSES.index('wall'), where=wall)
    hidden = wall.all(axis=1)
    if not hidden[:horizon].all():
        rgb[:horizon] = _sky(rays.window(slice(0, horizon), every), around)
    below = slice(horizon + int(hidden[horizon:].argmin()), None)
    if below.start < shape[0]:
        colour, classes_below = _ground(rays.window(below, every), around)
        np.multiply(colour, np.float32(light.shade(0.0, 0.0, 1.0)), out=rgb[below])
        put(classes[below], classes_below, ~wall[below])
    rows = np.flatnonzero(wall.any(axis=1))
    if len(rows):
        part = slice(int(rows[0]), int(rows[-1]) + 1)
        window = rays.window(part, every)
        colour = _walls(window, wall_depth[part], ends[part], around, light)
        put(rgb[part], colour, wall[part])
    return rgb, depth, classes
