# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The objects of the generated world, and the light on them."""

from dataclasses import dataclass, replace

import numpy as np

Number = float | np.float32 | np.ndarray  # float32, alone or per pixel


@dataclass(frozen=True)
class Light:
    """A sun and a uniform sky; their strengths multiply the albedo."""

    direction: tuple[float, float, float]  # unit, towards the sun, world or local frame
    ambient: float
    sun: float

    def local(self, yaw: float) -> 'Light':
        """Return the light as seen in a frame turned by yaw."""
        x, y, z = self.direction
        cos, sin = float(np.cos(yaw)), float(np.sin(yaw))
        return replace(self, direction=(cos * x + sin * y, cos * y - sin * x, z))

    def shade(self, nx: Number, ny: Number, nz: Number) -> Number:
        """Return the brightness of a surface with the unit normal (nx, ny, nz)."""
        lx, ly, lz = (np.float32(value) for value in self.direction)
        facing = np.maximum(nx * lx + ny * ly + nz * lz, np.float32(0))
        sky = np.float32(self.ambient) * (np.float32(0.8) + np.float32(0.2) * nz)
        return sky + np.float32(self.sun) * facing


@dataclass(frozen=True)
class Thing:
    """An object that stands on the ground; lengths in metres, angles in radians."""

    kind: str
    colour: str  # '' for a person
    albedo: tuple[float, float, float]  # RGB in [0, 1]; of a person: the shirt
    x: float
    y: float
    yaw: float
    length: float  # along its own x
    width: float
    height: float
    style: float = 0.5  # in [0, 1], chooses a variant of the kind
    sway: tuple[float, float] = (0.0, 0.0)  # amplitude of its motion, metres
    period_s: float = 6.0

    @property
    def name(self) -> str:
        """The class: 'red ball', 'person'."""
        return f'{self.colour} {self.kind}'.strip()

    def at(self, time_s: float) -> 'Thing':
        """Return the object at its position at a time; a person faces the direction of walking."""
        if self.sway == (0.0, 0.0):
            return self
        angle = 2 * np.pi * (time_s / self.period_s + self.style)
        forth = np.cos(angle) >= 0
        turn = np.arctan2(self.sway[1], self.sway[0]) + (0 if forth else np.pi)
        return replace(
            self,
            x=self.x + self.sway[0] * float(np.sin(angle)),
            y=self.y + self.sway[1] * float(np.sin(angle)),
            yaw=float(turn) if self.kind == 'person' else self.yaw,
        )

    def footprint(self, scale: float = 1.0) -> np.ndarray:
        """Return the outline on the ground, float64 (N, 2), world metres."""
        if self.kind in ('ball', 'barrel', 'cone', 'person'):
            angles = np.linspace(0, 2 * np.pi, 16, endpoint=False)
            corners = np.stack([np.cos(angles), np.sin(angles)], axis=1) / 2
        else:
            corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) / 2
        corners = corners * (self.length * scale, self.width * scale)
        cos, sin = np.cos(self.yaw), np.sin(self.yaw)
        return corners @ np.array([[cos, sin], [-sin, cos]]) + (self.x, self.y)

    def corners(self) -> np.ndarray:
        """Return the corners of the enclosing box, float64 (8, 3), world metres."""
        square = replace(self, kind='box').footprint(1.06)
        corners = np.zeros((8, 3))
        corners[:4, :2] = corners[4:, :2] = square
        corners[4:, 2] = self.height * 1.02
        return corners
