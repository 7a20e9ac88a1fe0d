# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Images of a generated yard or warehouse, with the true class of every pixel.

`scene(seed)` is one image. `drive(seed)` is a camera that moves through one place, so the geometry
is consistent from frame to frame. The seed decides everything. The demo model is trained on such
images only.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from clip_dinoiser_ros.frames.intrinsics import Intrinsics
from clip_dinoiser_ros.world.camera import Pose
from clip_dinoiser_ros.world.placing import WAY_M, drive_layout, furnish, spread
from clip_dinoiser_ros.world.render import Scene, render

HFOV_DEG = 64.0


def scene(
    seed: int,
    width: int = 640,
    height: int = 480,
    hfov_deg: float = HFOV_DEG,
    held_out: bool | None = False,
) -> Scene:
    """Draw one image.

    Args:
        seed: Decides everything.
        width: Of the image, pixels.
        height: Of the image, pixels.
        hfov_deg: Horizontal field of view; a narrow one is that of a longer lens.
        held_out: False: no held-out pair of colour and object (training); True: at least one such
            pair, unless it is hidden; None: any pair.
    """
    rng = np.random.default_rng(seed)
    things = spread(rng, held_out, hfov_deg)
    layout = furnish(things, rng, held_out)
    pose = Pose(z=float(rng.uniform(0.6, 1.5)), pitch=float(rng.uniform(0.04, 0.22)))
    intrinsics = Intrinsics.from_fov(width, height, hfov_deg)
    return render(layout, pose, intrinsics, noise_seed=seed)


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
    """Move a camera through one place and yield its frames.

    Args:
        seed: Decides the place, the light and the path.
        seconds: Length of the drive.
        rate_hz: Frames per second.
        width: Of the image, pixels.
        height: Of the image, pixels.
        moving: Whether people walk and balls roll.
        names: Classes of the objects along the way, from its start ('red ball', 'person'), repeated
            until the way is full. None: drawn at random, as `held_out` says.
        held_out: As in `scene`, for random objects.
    """
    layout = drive_layout(seed, moving, names, held_out)
    intrinsics = Intrinsics.from_fov(width, height, HFOV_DEG)
    count = max(1, round(seconds * rate_hz))
    for frame in range(count):
        time_s = frame / rate_hz
        pose = _along(time_s, seconds, seed)
        yield render(layout, pose, intrinsics, time_s, noise_seed=seed * 100_003 + frame)


def glimpse(seed: int, width: int = 640, height: int = 480, held_out: bool | None = False) -> Scene:
    """Return one frame of a drive; the seed decides which."""
    rng = np.random.default_rng([seed, 2])
    seconds = 20.0
    time_s = float(rng.uniform(0, seconds))
    layout = drive_layout(seed, held_out=held_out)
    pose = _along(time_s, seconds, seed)
    intrinsics = Intrinsics.from_fov(width, height, HFOV_DEG)
    return render(layout, pose, intrinsics, time_s, noise_seed=seed)


def _along(time_s: float, seconds: float, seed: int) -> Pose:
    """Return the pose on a gently winding way; the camera pitches as on uneven ground."""
    done = time_s / seconds
    side = 1 if seed % 2 else -1
    return Pose(
        x=WAY_M * done,
        y=side * 0.35 * float(np.sin(2 * np.pi * done)),
        z=0.95 + 0.01 * float(np.sin(9 * time_s)),
        yaw=side * 0.20 * float(np.sin(4 * np.pi * done)),
        pitch=0.11 + 0.008 * float(np.sin(5 * time_s + 1)),
    )
