# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Options that belong to one camera: TOPIC=NAME, and NAME=VALUE or VALUE for all."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace

from clip_dinoiser_ros.bag.cameras import Camera
from clip_dinoiser_ros.bag.recording import BagError, Recording
from clip_dinoiser_ros.bag.types import COMPRESSED, IMAGE
from clip_dinoiser_ros.frames.region import RegionError, check_region
from clip_dinoiser_ros.frames.settings import CameraSettings

CAMERA_INFO = 'sensor_msgs/msg/CameraInfo'


def camera_names(args: argparse.Namespace) -> dict[str, str]:
    """Return the names of cameras, by topic.

    Raises:
        BagError: Not TOPIC=NAME, or a topic is given twice.
    """
    found: dict[str, str] = {}
    for pair in args.name:
        topic, equals, name = pair.partition('=')
        if not equals or topic in found:
            raise BagError(f'--name {pair}: must be TOPIC=NAME, and each topic given once')
        found[topic] = name
    return found


def depth_topics(args: argparse.Namespace) -> list[str]:
    """Return the topics of depth images of all cameras, as given."""
    return [value.rpartition('=')[2] for value in args.depth_topic]


def with_topics(
    args: argparse.Namespace, recording: Recording, cameras: Sequence[Camera]
) -> list[Camera]:
    """Set the topics of depth images and CameraInfo of the cameras.

    Raises:
        BagError: No such camera or topic, a topic of another type, depth without CameraInfo.
    """
    depth = {
        name: _find('--depth-topic', topic, (IMAGE, COMPRESSED), recording)
        for name, topic in _per_camera('--depth-topic', args.depth_topic, cameras).items()
    }
    info = {
        name: _find('--camera-info-topic', topic, (CAMERA_INFO,), recording)
        for name, topic in _per_camera(
            '--camera-info-topic', args.camera_info_topic, cameras
        ).items()
    }
    for name in depth.keys() - info.keys():
        raise BagError(f'--depth-topic of {name} also needs --camera-info-topic, to make points')
    return [
        replace(c, depth_topic=depth.get(c.name, ''), camera_info_topic=info.get(c.name, ''))
        for c in cameras
    ]


def regions(args: argparse.Namespace, cameras: Sequence[Camera]) -> dict[str, CameraSettings]:
    """Return the regions as settings, by camera name.

    Raises:
        BagError: No such camera, or not a region; says what is allowed.
    """
    found = {}
    for name, text in _per_camera('--region', args.region, cameras).items():
        try:
            region = tuple(float(part) for part in text.split(','))
            check_region(region)
        except RegionError as error:
            raise BagError(f'--region {text}: {error}') from error
        except ValueError as error:
            raise BagError(f'--region {text}: must be numbers separated by commas') from error
        found[name] = CameraSettings(region=region)
    return found


def _per_camera(option: str, values: Sequence[str], cameras: Sequence[Camera]) -> dict[str, str]:
    names = [camera.name for camera in cameras]
    found: dict[str, str] = {}
    for value in values:
        name, equals, text = value.rpartition('=')
        if equals and name not in names:
            raise BagError(f'{option} {value}: no camera {name!r}; available: {", ".join(names)}')
        for camera in [name] if equals else names:
            if camera in found:
                raise BagError(f'{option} {value}: {camera} has {found[camera]} already')
            found[camera] = text
    return found


def _find(option: str, topic: str, type_names: Sequence[str], recording: Recording) -> str:
    """Return the recorded name of a topic of one of the types."""
    there = sorted(t.name for t in recording.topics.values() if t.type_name in type_names)
    found = recording.find(topic)
    if found not in there:
        names = ', '.join(there) or 'none'
        types = ' or '.join(type_names)
        raise BagError(f'{option} {topic}: no such topic of {types}; available: {names}')
    return found
