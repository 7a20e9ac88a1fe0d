# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Places objects: apart from each other, within view, doors on the walls."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from clip_dinoiser_ros.world.classes import split_name
from clip_dinoiser_ros.world.layout import (
    SceneLayout,
    draw_door,
    draw_light,
    draw_name,
    draw_surroundings,
    make_thing,
)
from clip_dinoiser_ros.world.things import Thing

WAY_M = 9.0  # length of a drive
_VIEW_M = 7.5  # objects stand up to so far beyond its end


def _radius(thing: Thing) -> float:
    return float(np.hypot(thing.length, thing.width)) / 2


def _free(thing: Thing, others: Sequence[Thing]) -> bool:
    return all(
        np.hypot(thing.x - other.x, thing.y - other.y) > _radius(thing) + _radius(other)
        for other in others
    )


def spread(rng: np.random.Generator, held_out: bool | None, hfov_deg: float) -> list[Thing]:
    """Place objects in front of the origin, each in its own part of the view."""
    count = int(rng.integers(3, 8)) if hfov_deg > 50 else int(rng.integers(2, 5))
    half = np.radians(hfov_deg) / 2 * 0.92
    edges = np.linspace(-half, half, count + 1)
    things: list[Thing] = []
    for slot in rng.permutation(count):
        for _ in range(4):
            bearing = rng.uniform(edges[slot], edges[slot + 1])
            distance = rng.uniform(2.0, 6.0) if hfov_deg > 50 else rng.uniform(2.6, 7.0)
            pair = held_out and (not things or rng.random() < 0.5)
            name = draw_name(rng, True if pair else held_out and None)
            if name[1] == 'door':
                continue
            x, y = distance * np.cos(bearing), distance * np.sin(bearing)
            thing = make_thing(name, float(x), float(y), float(rng.uniform(0, 2 * np.pi)), rng)
            if _free(thing, things):
                things.append(thing)
                break
    return things


def furnish(things: list[Thing], rng: np.random.Generator, held_out: bool | None) -> SceneLayout:
    """Add surroundings to the objects, and doors to the walls."""
    room = (
        -4.0,
        max(thing.x for thing in things) + float(rng.uniform(0.9, 3.0)),
        min(thing.y for thing in things) - float(rng.uniform(1.0, 3.5)),
        max(thing.y for thing in things) + float(rng.uniform(1.0, 3.5)),
    )
    around = draw_surroundings(rng, room)
    doors: list[Thing] = []
    if around.wall_height:
        for _ in range(int(rng.integers(0, 4))):
            door = _hang_door(rng, room, held_out)
            if _free(door, doors):
                doors.append(door)
    light, tint = draw_light(rng, around.wall_height > 50)
    return SceneLayout((*things, *doors), around, light, tint)


def _hang_door(
    rng: np.random.Generator, room: tuple[float, float, float, float], held_out: bool | None
) -> Thing:
    _, x1, y0, y1 = room
    side = rng.choice(['front', 'front', 'left', 'right'])
    name = draw_door(rng, held_out)
    if side == 'front':
        middle, half = (y0 + y1) / 2, min((y1 - y0) / 2 - 0.8, 4.0)
        return make_thing(name, x1 - 0.05, float(middle + rng.uniform(-half, half)), np.pi, rng)
    x = float(rng.uniform(min(3.0, x1 - 1.2), x1 - 0.9))
    if side == 'left':
        return make_thing(name, x, y1 - 0.05, -np.pi / 2, rng)
    return make_thing(name, x, y0 + 0.05, np.pi / 2, rng)


def drive_layout(
    seed: int,
    moving: bool = True,
    names: Sequence[str] | None = None,
    held_out: bool | None = None,
) -> SceneLayout:
    """Draw the place of a drive: objects left and right of the way, and at its end."""
    rng = np.random.default_rng([seed, 1])
    things: list[Thing] = []
    places = np.arange(2.6, WAY_M + _VIEW_M, 1.05)
    for number, x in enumerate(places):
        side = 1 if number % 2 else -1
        for _ in range(8):
            reach = rng.uniform(1.2, 3.0) if x < WAY_M + 2 else rng.uniform(0.2, 3.0)
            if names:  # named objects are near enough to be seen well
                reach = 1.25 + (reach - 1.2) * 0.45
            name = split_name(names[number % len(names)]) if names else draw_name(rng, held_out)
            if name[1] == 'door':
                break
            yaw = float(rng.uniform(0, 2 * np.pi))
            thing = make_thing(name, float(x), float(side * reach), yaw, rng)
            if _free(thing, things):
                things.append(_set_moving(thing, rng) if moving else thing)
                break
    layout = furnish(things, rng, held_out)
    wanted = [split_name(name) for name in names or () if name.endswith(' door')]
    if not wanted:
        return layout
    doors = [thing for thing in layout.things if thing.kind == 'door']
    return _with_doors(layout, things, doors, wanted, rng)


def _with_doors(
    layout: SceneLayout,
    things: list[Thing],
    doors: list[Thing],
    wanted: list[tuple[str, str]],
    rng: np.random.Generator,
) -> SceneLayout:
    """Put exactly these doors side by side on the far wall; add a wall if there is none."""
    around = layout.around
    if not around.wall_height:
        around = replace(around, wall_height=3.2)
    first = (around.room[2] + around.room[3]) / 2 - 1.1 * (len(wanted) - 1)
    hung = [
        make_thing(name, around.room[1] - 0.05, first + 2.2 * number, np.pi, rng)
        for number, name in enumerate(wanted)
    ]
    return replace(layout, things=(*things, *hung), around=around)


def _set_moving(thing: Thing, rng: np.random.Generator) -> Thing:
    """Let people walk along the way and balls roll a little."""
    if thing.kind == 'person':
        return replace(thing, sway=(float(rng.uniform(0.6, 1.2)), 0.0), period_s=9.0)
    if thing.kind == 'ball':
        return replace(thing, sway=(0.25, 0.0), period_s=5.0)
    return thing
