# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Random yards and warehouses: surfaces, light, and objects with their sizes and colours."""

import colorsys
from dataclasses import dataclass

import numpy as np

from clip_dinoiser_ros.world.classes import COLOURS, HELD_OUT, OBJECTS
from clip_dinoiser_ros.world.surroundings import Surface, Surroundings
from clip_dinoiser_ros.world.things import Light, Thing

# hue (degrees), its spread, saturation range, value range
_HSV = {
    'red': (0, 5, (0.80, 0.95), (0.65, 0.90)),
    'orange': (25, 4, (0.85, 1.00), (0.85, 1.00)),
    'yellow': (52, 4, (0.80, 0.95), (0.85, 1.00)),
    'green': (130, 15, (0.65, 0.95), (0.40, 0.65)),
    'blue': (218, 8, (0.75, 0.95), (0.55, 0.85)),
    'purple': (283, 9, (0.60, 0.85), (0.45, 0.70)),
    'white': (60, 60, (0.00, 0.05), (0.85, 0.97)),
    'black': (220, 60, (0.00, 0.20), (0.07, 0.13)),
}


@dataclass(frozen=True)
class SceneLayout:
    """A place: objects, surroundings and light."""

    things: tuple[Thing, ...]
    around: Surroundings
    light: Light
    tint: tuple[float, float, float]  # colour of the light, about 1


def albedo(colour: str, rng: np.random.Generator) -> tuple[float, float, float]:
    """Draw one shade of a named colour, RGB in [0, 1]."""
    hue, spread, saturation, value = _HSV[colour]
    return colorsys.hsv_to_rgb(
        (hue + rng.uniform(-spread, spread)) % 360 / 360,
        rng.uniform(*saturation),
        rng.uniform(*value),
    )


def make_thing(
    name: tuple[str, str], x: float, y: float, yaw: float, rng: np.random.Generator
) -> Thing:
    """Make an object of a (colour, kind) at a place, with a random size for its kind."""
    colour, kind = name
    if kind == 'ball':
        size = (rng.uniform(0.5, 1.0),) * 3
    elif kind == 'box':
        size = (rng.uniform(0.5, 1.1), rng.uniform(0.5, 1.1), rng.uniform(0.45, 1.0))
    elif kind == 'cone':
        height = rng.uniform(0.75, 1.15)
        size = (height * 0.72, height * 0.72, height)
    elif kind == 'barrel':
        width = rng.uniform(0.55, 0.75)
        size = (width, width, width * rng.uniform(1.3, 1.6))
    elif kind == 'pallet':
        size = (rng.uniform(1.0, 1.3), rng.uniform(0.8, 1.1), 0.145 * rng.integers(3, 7))
    elif kind == 'door':
        size = (0.12, rng.uniform(0.95, 1.25), rng.uniform(2.0, 2.25))
    else:
        height = rng.uniform(1.55, 1.9)
        size = (height * 0.36, height * 0.36, height)
    shirt = colour or str(rng.choice(COLOURS))
    return Thing(kind, colour, albedo(shirt, rng), x, y, yaw, *size, style=float(rng.random()))


def draw_name(rng: np.random.Generator, held_out: bool | None) -> tuple[str, str]:
    """Draw (colour, kind); `held_out` False: no held-out pair, True: only these, None: any pair."""
    if held_out:
        colour, kind = HELD_OUT[rng.integers(len(HELD_OUT))].split()
        return colour, kind
    if rng.random() < 0.15:
        return '', 'person'
    kinds = [kind for kind in OBJECTS if kind != 'door']  # doors hang on walls
    while True:
        colour, kind = str(rng.choice(COLOURS)), str(rng.choice(kinds))
        if held_out is None or f'{colour} {kind}' not in HELD_OUT:
            return colour, kind


def draw_door(rng: np.random.Generator, held_out: bool | None) -> tuple[str, str]:
    """Draw the (colour, 'door') of a door; `held_out` None: any colour, else no held-out one."""
    allowed = [c for c in COLOURS if held_out is None or f'{c} door' not in HELD_OUT]
    return str(rng.choice(allowed)), 'door'


def _grey(rng: np.random.Generator, low: float, high: float, warm: float = 0.0) -> np.ndarray:
    tone = rng.uniform(low, high)
    return tone * (1 + np.array([1.0, 0.2, -1.0]) * rng.uniform(-0.04, 0.06 + warm))


def _surface(name: str, rng: np.random.Generator) -> Surface:
    if name == 'floor':
        texture = str(rng.choice(['concrete', 'tiles', 'planks']))
        light = _grey(rng, 0.6, 0.85, 0.05) if texture != 'planks' else _grey(rng, 0.6, 0.8, 0.25)
        depth = 0.8 if texture == 'concrete' else 0.5
        return Surface(name, texture, tuple(light * depth), tuple(light), rng.uniform(2.5, 5.0))
    if name == 'road':
        light = _grey(rng, 0.22, 0.36)
        return Surface(name, 'asphalt', tuple(light * 0.55), tuple(light), rng.uniform(1.5, 3.0))
    if name == 'grass':
        base = np.array([rng.uniform(0.28, 0.5), rng.uniform(0.5, 0.62), rng.uniform(0.1, 0.22)])
        return Surface(name, 'grass', tuple(base * 0.35), tuple(base), rng.uniform(1.5, 3.0))
    texture = str(rng.choice(['bricks', 'plaster', 'panels']))
    if texture == 'bricks' and rng.random() < 0.6:
        light = np.array([0.62, 0.36, 0.28]) * rng.uniform(0.8, 1.15)
    else:
        light = _grey(rng, 0.55, 0.9, 0.08)
    return Surface('wall', texture, tuple(light * 0.72), tuple(light), rng.uniform(2.5, 4.0))


def draw_surroundings(
    rng: np.random.Generator, room: tuple[float, float, float, float]
) -> Surroundings:
    """Draw a warehouse, a walled yard or open land; `room` is where walls stand, if any."""
    place = rng.choice(['warehouse', 'yard', 'open'], p=[0.4, 0.35, 0.25])
    grounds = ['floor'] if place == 'warehouse' else ['floor', 'road', 'grass', 'road']
    name = str(rng.choice(grounds))
    strip, beside, lines = (-1e6, 1e6), name, False
    if place != 'warehouse' and name != 'grass' and rng.random() < 0.7:
        half = rng.uniform(1.8, 3.5)
        middle = rng.uniform(-1.0, 1.0)
        strip, beside = (middle - half, middle + half), 'grass'
        lines = name == 'road' and rng.random() < 0.7
    height = {'warehouse': 100.0, 'yard': rng.uniform(2.4, 4.0), 'open': 0.0}[place]
    blue = rng.uniform(0.0, 1.0)
    zenith = (0.30 + 0.35 * (1 - blue), 0.48 + 0.2 * (1 - blue), 0.78)
    horizon = (0.74, 0.80, 0.86 - 0.04 * (1 - blue))
    return Surroundings(
        ground=_surface(name, rng),
        beside=_surface(beside, rng),
        strip=strip,
        lines=lines,
        wall=_surface('wall', rng),
        room=room,
        wall_height=height,
        zenith=zenith,
        horizon=horizon,
        clouds=float(rng.uniform(0.0, 1.0)),
    )


def draw_light(rng: np.random.Generator, indoors: bool) -> tuple[Light, tuple[float, float, float]]:
    """Draw the light and its tint; indoors it is softer."""
    azimuth, elevation = rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(35, 70))
    direction = (
        float(np.cos(azimuth) * np.cos(elevation)),
        float(np.sin(azimuth) * np.cos(elevation)),
        float(np.sin(elevation)),
    )
    ambient = rng.uniform(0.5, 0.65) if indoors else rng.uniform(0.35, 0.55)
    strength = rng.uniform(0.9, 1.3)
    warm = rng.uniform(-0.05, 0.06)
    light = Light(direction, float(ambient * strength), float((1.15 - ambient) * strength))
    return light, (1 + warm, 1.0, 1 - warm)
