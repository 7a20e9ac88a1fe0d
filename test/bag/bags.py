# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Small bags, written as a recorder would, and read back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import Reader, StoragePlugin, Writer

from clip_dinoiser_ros.bag.types import COMPRESSED, IMAGE, typestore
from clip_dinoiser_ros.frames import images

SECOND = 10**9
START_NS = 1_700_000_000 * SECOND
PLUGINS = {'mcap': StoragePlugin.MCAP, 'sqlite3': StoragePlugin.SQLITE3}
LATCHED = Qos(
    QosHistory.KEEP_LAST,
    1,
    QosReliability.RELIABLE,
    QosDurability.TRANSIENT_LOCAL,
    QosTime(0, 0),
    QosTime(0, 0),
    QosLiveliness.AUTOMATIC,
    QosTime(0, 0),
    False,
)


def make(type_name: str, **fields: Any) -> Any:
    return typestore().types[type_name](**fields)


def header(time_ns: int, frame_id: str = 'lens') -> Any:
    stamp = make('builtin_interfaces/msg/Time', sec=time_ns // SECOND, nanosec=time_ns % SECOND)
    return make('std_msgs/msg/Header', stamp=stamp, frame_id=frame_id)


def image_message(array: np.ndarray, time_ns: int, encoding: str = 'rgb8') -> tuple[str, bytes]:
    types = typestore().types
    message = images.to_message(array, encoding, header(time_ns), types[IMAGE])
    return IMAGE, bytes(typestore().serialize_cdr(message, IMAGE))


def compressed_message(array: np.ndarray, time_ns: int, suffix: str = '.png') -> tuple[str, bytes]:
    _, data = cv2.imencode(suffix, array[..., ::-1])
    message = make(COMPRESSED, header=header(time_ns), format=f'rgb8; {suffix[1:]}', data=data)
    return COMPRESSED, bytes(typestore().serialize_cdr(message, COMPRESSED))


def text_message(text: str) -> tuple[str, bytes]:
    name = 'std_msgs/msg/String'
    return name, bytes(typestore().serialize_cdr(make(name, data=text), name))


def write(
    path: Path,
    messages: list[tuple[str, int, tuple[str, bytes]]],
    storage: str = 'mcap',
    latched: tuple[str, ...] = (),
) -> Path:
    """Write a bag of (topic, time in ns, (type, CDR))."""
    connections: dict[str, Any] = {}
    with Writer(path, version=9, storage_plugin=PLUGINS[storage]) as writer:
        for topic, time_ns, (type_name, data) in messages:
            if topic not in connections:
                connections[topic] = writer.add_connection(
                    topic,
                    type_name,
                    typestore=typestore(),
                    offered_qos_profiles=[LATCHED] if topic in latched else [],
                )
            writer.write(connections[topic], time_ns, data)
    return path


def read(path: Path) -> list[tuple[str, int, Any]]:
    """Read a bag with rosbags alone: (topic, time, message)."""
    with Reader(path) as reader:
        return [
            (connection.topic, time_ns, typestore().deserialize_cdr(data, connection.msgtype))
            for connection, time_ns, data in reader.messages()
        ]


def raw(path: Path) -> list[tuple[str, int, bytes]]:
    with Reader(path) as reader:
        return [(c.topic, time_ns, bytes(data)) for c, time_ns, data in reader.messages()]


def pixels(message: Any) -> np.ndarray:
    dtype = {'mono8': np.uint8, 'mono16': np.uint16, '32FC1': np.float32, 'rgb8': np.uint8}
    shape = (message.height, message.width) + ((3,) if message.encoding == 'rgb8' else ())
    return message.data.view(dtype[message.encoding]).reshape(shape)
