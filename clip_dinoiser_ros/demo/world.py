"""A generated yard or warehouse as a robot's camera sees it, with the truth of every pixel.

`scene(seed)` is one picture; `drive(seed)` is a camera moving through one place, so that the same
things keep their geometry from frame to frame. Everything follows from the seed. The model shipped
beside this module is trained on these pictures and knows nothing else.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from clip_dinoiser_ros.demo.camera import Intrinsics, Pose
from clip_dinoiser_ros.demo.layout import (
    Layout,
    draw_door,
    draw_light,
    draw_name,
    draw_surroundings,
    make_thing,
)
from clip_dinoiser_ros.demo.render import Scene, render
from clip_dinoiser_ros.demo.things import Thing
from clip_dinoiser_ros.demo.words import split_name

HFOV_DEG = 64.0


def scene(
    seed: int,
    width: int = 640,
    height: int = 480,
    hfov_deg: float = HFOV_DEG,
    held_out: bool | None = False,
) -> Scene:
    """Draw one picture.

    Args:
        seed: Decides everything.
        width: Of the image, pixels.
        height: Of the image, pixels.
        hfov_deg: Horizontal field of view; a narrow one looks through a longer lens.
        held_out: False: never a held-out colour-object pair (training), True: at least one of the
            things is such a pair (where it is not hidden), None: any pair.
    """
    rng = np.random.default_rng(seed)
    things = _spread(rng, held_out, hfov_deg)
    layout = _furnish(things, rng, held_out)
    pose = Pose(z=float(rng.uniform(0.6, 1.5)), pitch=float(rng.uniform(0.04, 0.22)))
    intrinsics = Intrinsics.from_fov(width, height, hfov_deg)
    return render(layout, pose, intrinsics, noise_seed=seed)


def _radius(thing: Thing) -> float:
    return float(np.hypot(thing.length, thing.width)) / 2


def _free(thing: Thing, others: Sequence[Thing]) -> bool:
    return all(
        np.hypot(thing.x - other.x, thing.y - other.y) > _radius(thing) + _radius(other)
        for other in others
    )


def _spread(rng: np.random.Generator, held_out: bool | None, hfov_deg: float) -> list[Thing]:
    """Place things in front of the origin, each in its own part of the view."""
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


def _furnish(things: list[Thing], rng: np.random.Generator, held_out: bool | None) -> Layout:
    """Put surroundings about the things, and doors on the walls."""
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
    return Layout((*things, *doors), around, light, tint)


def _hang_door(
    rng: np.random.Generator, room: tuple[float, float, float, float], held_out: bool | None
) -> Thing:
    x0, x1, y0, y1 = room
    side = rng.choice(['front', 'front', 'left', 'right'])
    name = draw_door(rng, held_out)
    if side == 'front':
        middle, half = (y0 + y1) / 2, min((y1 - y0) / 2 - 0.8, 4.0)
        return make_thing(name, x1 - 0.05, float(middle + rng.uniform(-half, half)), np.pi, rng)
    x = float(rng.uniform(min(3.0, x1 - 1.2), x1 - 0.9))
    if side == 'left':
        return make_thing(name, x, y1 - 0.05, -np.pi / 2, rng)
    return make_thing(name, x, y0 + 0.05, np.pi / 2, rng)


def drive(
    seed: int,
    seconds: float = 20.0,
    rate_hz: float = 10.0,
    width: int = 640,
    height: int = 480,
    moving: bool = True,
    names: Sequence[str] | None = None,
    held_out: bool | None = None,
) -> Iterator[Scene]:
    """Move a camera through one place and yield what it sees.

    Args:
        seed: Decides the place, the light and the path.
        seconds: Length of the drive.
        rate_hz: Frames per second.
        width: Of the image, pixels.
        height: Of the image, pixels.
        moving: Whether people walk and balls roll.
        names: Classes of the things along the way, in order from the start ('red ball', 'person');
            repeated until the way is full. None: drawn by the rule of `held_out`.
        held_out: As in `scene`, for what is drawn; by default any pair.
    """
    layout = drive_layout(seed, moving, names, held_out)
    intrinsics = Intrinsics.from_fov(width, height, HFOV_DEG)
    count = max(1, round(seconds * rate_hz))
    for frame in range(count):
        time_s = frame / rate_hz
        pose = _along(time_s, seconds, seed)
        yield render(layout, pose, intrinsics, time_s, noise_seed=seed * 100_003 + frame)


def glimpse(seed: int, width: int = 640, height: int = 480, held_out: bool | None = False) -> Scene:
    """Return one frame out of the middle of a drive, drawn by the seed."""
    rng = np.random.default_rng([seed, 2])
    seconds = 20.0
    time_s = float(rng.uniform(0, seconds))
    layout = drive_layout(seed, held_out=held_out)
    pose = _along(time_s, seconds, seed)
    intrinsics = Intrinsics.from_fov(width, height, HFOV_DEG)
    return render(layout, pose, intrinsics, time_s, noise_seed=seed)


_WAY_M = 9.0
_VIEW_M = 7.5


def _along(time_s: float, seconds: float, seed: int) -> Pose:
    """Return the pose on a gently winding way; the camera nods as on uneven ground."""
    done = time_s / seconds
    side = 1 if seed % 2 else -1
    return Pose(
        x=_WAY_M * done,
        y=side * 0.35 * float(np.sin(2 * np.pi * done)),
        z=0.95 + 0.01 * float(np.sin(9 * time_s)),
        yaw=side * 0.20 * float(np.sin(4 * np.pi * done)),
        pitch=0.11 + 0.008 * float(np.sin(5 * time_s + 1)),
    )


def drive_layout(
    seed: int,
    moving: bool = True,
    names: Sequence[str] | None = None,
    held_out: bool | None = None,
) -> Layout:
    """Draw the place of a drive: things left and right of the way, and at its end."""
    rng = np.random.default_rng([seed, 1])
    things: list[Thing] = []
    places = np.arange(2.6, _WAY_M + _VIEW_M, 1.05)
    for number, x in enumerate(places):
        side = 1 if number % 2 else -1
        for _ in range(8):
            reach = rng.uniform(1.2, 3.0) if x < _WAY_M + 2 else rng.uniform(0.2, 3.0)
            name = split_name(names[number % len(names)]) if names else draw_name(rng, held_out)
            if name[1] == 'door':
                break
            yaw = float(rng.uniform(0, 2 * np.pi))
            thing = make_thing(name, float(x), float(side * reach), yaw, rng)
            if _free(thing, things):
                things.append(_set_moving(thing, rng) if moving else thing)
                break
    layout = _furnish(things, rng, held_out)
    wanted = [split_name(name) for name in names or () if name.endswith(' door')]
    if not wanted:
        return layout
    doors = [thing for thing in layout.things if thing.kind == 'door']
    return _with_doors(layout, things, doors, wanted, rng)


def _with_doors(
    layout: Layout,
    things: list[Thing],
    doors: list[Thing],
    wanted: list[tuple[str, str]],
    rng: np.random.Generator,
) -> Layout:
    """Hang the wanted doors side by side on the far wall, and no others; a wall if none stood."""
    around = layout.around
    if not around.wall_height:
        around = replace(around, wall_height=3.2)
    middle = (around.room[2] + around.room[3]) / 2
    hung = [
        make_thing(name, around.room[1] - 0.05, middle + 2.2 * (i - (len(wanted) - 1) / 2), np.pi, rng)
        for i, name in enumerate(wanted)
    ]
    return replace(layout, things=(*things, *hung), around=around)


def _set_moving(thing: Thing, rng: np.random.Generator) -> Thing:
    """Let people walk along the way and balls roll a little."""
    if thing.kind == 'person':
        return replace(thing, sway=(float(rng.uniform(0.6, 1.2)), 0.0), period_s=9.0)
    if thing.kind == 'ball':
        return replace(thing, sway=(0.25, 0.0), period_s=5.0)
    return thing
