# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Small bags, written as a recorder would, and read back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from mcap.writer import Writer as McapWriter
from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.rosbag2 import Reader, StoragePlugin, Writer

from clip_dinoiser_ros.bag.types import COMPRESSED, IMAGE, ros_type, typestore
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


def info_message(time_ns: int, **changes: Any) -> tuple[str, bytes]:
    fields = {
        'header': header(time_ns),
        'height': 48,
        'width': 64,
        'distortion_model': '',
        'd': np.zeros(0),
        'k': np.array([60.0, 0, 31.5, 0, 60.0, 23.5, 0, 0, 1]),
        'r': np.eye(3).ravel(),
        'p': np.zeros(12),
        'binning_x': 0,
        'binning_y': 0,
        'roi': make(
            'sensor_msgs/msg/RegionOfInterest',
            x_offset=0,
            y_offset=0,
            height=0,
            width=0,
            do_rectify=False,
        ),
    }
    message = make('sensor_msgs/msg/CameraInfo', **{**fields, **changes})
    name = 'sensor_msgs/msg/CameraInfo'
    return name, bytes(typestore().serialize_cdr(message, name))


def compressed_message(array: np.ndarray, time_ns: int, suffix: str = '.png') -> tuple[str, bytes]:
    _, data = cv2.imencode(suffix, array[..., ::-1])
    message = make(COMPRESSED, header=header(time_ns), format=f'rgb8; {suffix[1:]}', data=data)
    return COMPRESSED, bytes(typestore().serialize_cdr(message, COMPRESSED))


def text_message(text: str) -> tuple[str, bytes]:
    name = 'std_msgs/msg/String'
    return name, bytes(typestore().serialize_cdr(make(name, data=text), name))


def texts(count: int, size: int = 100_000) -> list[tuple[str, int, tuple[str, bytes]]]:
    """Make messages, so long by default that each chunk of an mcap holds a dozen."""
    rng = np.random.default_rng(1)
    return [
        ('/talk', START_NS + i, text_message(f'{i} ' + rng.bytes(size // 2).hex()))
        for i in range(count)
    ]


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


def write_mcap(
    path: Path,
    messages: list[tuple[str, int, tuple[str, bytes]]],
    foreign: Sequence[tuple[str, str, str, str, bytes]] = (),
    profile: str = 'ros2',
    kind: str = 'ros2msg',
    qos: str = '',
    **options: Any,
) -> Path:
    """Write an mcap file by the library of its format, with what that leaves open.

    Args:
        path: The file.
        messages: (topic, time in ns, (type, CDR)).
        foreign: One message each, before the others: topic, schema's encoding, schema's name,
            message's encoding, content.
        profile: Of the header.
        kind: Encoding of the schemas.
        qos: What is said to be offered; empty: nothing is said of it.
        options: Of the library's Writer.
    """
    with path.open('wb') as file:
        writer = McapWriter(file, **options)
        writer.start(profile)
        for topic, schema_kind, schema_name, encoding, data in foreign:
            schema = writer.register_schema(schema_name, schema_kind, b'') if schema_name else 0
            channel = writer.register_channel(topic, encoding, schema)
            writer.add_message(channel, START_NS, data, START_NS)
        channels: dict[str, int] = {}
        for topic, time_ns, (type_name, data) in messages:
            if topic not in channels:
                known = ros_type(type_name)
                known = known if known in typestore().types else IMAGE
                text, _ = typestore().generate_msgdef(known, ros_version=2)
                schema = writer.register_schema(type_name, kind, text.encode())
                metadata = {'offered_qos_profiles': qos} if qos else {}
                channels[topic] = writer.register_channel(topic, 'cdr', schema, metadata)
            writer.add_message(channels[topic], time_ns, data, time_ns)
        writer.finish()
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
