# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The drive of `make demo`, and the prompts before and after they change."""

from collections.abc import Iterator

from clip_dinoiser_ros.world.render import Scene
from clip_dinoiser_ros.world.scenes import drive

SEED = 21
# Objects along the way, from its start.
THINGS = (
    'red ball',
    'blue barrel',
    'orange cone',
    'yellow box',
    'person',
    'green pallet',
    'white box',
    'purple ball',
    'red barrel',
    'green box',
    'blue cone',
    'person',
    'yellow barrel',
    'orange ball',
)
PROMPTS_BEFORE = (
    'background',
    'person',
    'blue barrel',
    'yellow box',
    'orange cone',
    'green pallet',
    'white box',
)
# Everything in view, also the ground. Without 'background', which would take the ground.
# 'purple ball', 'green box', 'blue cone' and 'yellow barrel' were not in the training.
PROMPTS_AFTER = (
    'person',
    'purple ball',
    'green box',
    'green pallet',
    'red barrel',
    'white box',
    'blue cone',
    'yellow barrel',
    'white door',
    'road',
    'grass',
    'wall',
    'sky',
)


def demo_drive(
    seconds: float = 20.0, rate_hz: float = 10.0, width: int = 640, height: int = 480
) -> Iterator[Scene]:
    """Yield the frames of the drive."""
    return drive(SEED, seconds, rate_hz, width, height, names=THINGS)
