# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The message types in bags: the standard ones, our own and vision_msgs, as rosbags knows them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore
from rosbags.typesys.store import Typestore

from clip_dinoiser_ros.frames.cloud_messages import CloudTypes
from clip_dinoiser_ros.frames.outputs import MessageTypes

# Copies of msg/ and of the definitions of vision_msgs: msg/ is not part of the pip package, and
# vision_msgs may not be installed.
DEFINITIONS = Path(__file__).parent / 'definitions'
IMAGE = 'sensor_msgs/msg/Image'
COMPRESSED = 'sensor_msgs/msg/CompressedImage'
CLOCK_TYPE = 'rosgraph_msgs/msg/Clock'
VOCABULARY = 'clip_dinoiser_ros/msg/Vocabulary'


@cache
def typestore() -> Typestore:
    """Return the standard types (the same in all distributions since Humble) and our own."""
    store = get_typestore(Stores.ROS2_JAZZY)
    types: dict[str, Any] = {}
    for path in sorted(DEFINITIONS.glob('*/*.msg')):
        types.update(get_types_from_msg(path.read_text(), f'{path.parent.name}/msg/{path.stem}'))
    store.register(types)
    return store


def message_types() -> MessageTypes:
    """Return the dataclasses that announce classes."""
    types = typestore().types
    return MessageTypes(
        label_info=types['vision_msgs/msg/LabelInfo'],
        vision_class=types['vision_msgs/msg/VisionClass'],
        vocabulary=types[VOCABULARY],
    )


def detection_types() -> Mapping[str, Any]:
    """Return the dataclasses of detections, by the names of their types."""
    return typestore().types


def cloud_types() -> CloudTypes:
    """Return the dataclasses that make clouds."""
    types = typestore().types
    return CloudTypes(
        point_cloud=types['sensor_msgs/msg/PointCloud2'],
        point_field=types['sensor_msgs/msg/PointField'],
        camera_info=types['sensor_msgs/msg/CameraInfo'],
        region_of_interest=types['sensor_msgs/msg/RegionOfInterest'],
    )


def ros_type(name: str) -> str | None:
    """Return the ROS 2 name of a type: pkg/msg/Name.

    Some writers use pkg/Name, or the name of DDS (pkg::msg::dds_::Name_).

    Returns:
        None if it is not the name of a type.
    """
    parts = re.split('::|/', name)
    if len(parts) == 4 and parts[2] == 'dds_':
        parts = [*parts[:2], parts[3].removesuffix('_')]
    if len(parts) == 2:
        parts.insert(1, 'msg')
    named = all(re.fullmatch('[A-Za-z][A-Za-z0-9_]*', part) for part in parts)
    if len(parts) != 3 or not named or parts[1] not in ('msg', 'srv', 'action'):
        return None
    return '/'.join(parts)


def definition(type_name: str, text: str, kind: str, digest: str) -> tuple[str, str] | None:
    """Return the definition of a type and its hash; None: unknown.

    Args:
        type_name: Such as sensor_msgs/msg/Image.
        text: Its recorded definition; empty: none.
        kind: Format of the definition: ros2msg, ros2idl or omgidl; others are ignored.
        digest: Its recorded hash; empty: none.
    """
    known = bool(text) and kind in ('ros2msg', 'ros2idl', 'omgidl')
    if known and digest:
        return text, digest
    try:
        store = typestore()
        if known:
            store = get_typestore(Stores.EMPTY)
            store.register(_parse(type_name, text, kind))
            return text, store.hash_rihs01(type_name)
        generated, _ = store.generate_msgdef(type_name, ros_version=2)
        return generated, digest or store.hash_rihs01(type_name)
    except Exception:  # rosbags has no common base class of its errors
        return None


def in_current_form(data: bytes, type_name: str, recorded: tuple[str, str] | None) -> bytes:
    """Convert a message to the current type; older ones lack Vocabulary.run_id.

    Args:
        data: CDR.
        type_name: Such as sensor_msgs/msg/Image.
        recorded: Definition of the type in the recording and its hash; None: unknown.
    """
    if type_name != VOCABULARY or recorded is None or 'run_id' in recorded[0]:
        return data
    try:
        message = _older_types(recorded[0]).deserialize_cdr(data, type_name)
        current = typestore().types[type_name](**vars(message), run_id='')
        return bytes(typestore().serialize_cdr(current, type_name))
    except Exception:  # damaged: rosbags has no common base class of its errors
        return data


@cache
def _older_types(vocabulary: str) -> Typestore:
    store = get_typestore(Stores.ROS2_JAZZY)
    store.register(get_types_from_msg(vocabulary, VOCABULARY))
    return store


def _parse(type_name: str, text: str, kind: str) -> Any:
    if kind == 'ros2msg':
        return get_types_from_msg(text, type_name)
    types: dict[str, Any] = {}
    for part in text.split('=' * 80 + '\n')[1:]:
        types.update(get_types_from_idl(part.split('\n', 1)[1]))
    return types
