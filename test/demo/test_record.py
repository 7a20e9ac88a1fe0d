# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The generated drive as a recording."""

import numpy as np
import pytest
from rosbags.rosbag2 import Reader

from clip_dinoiser_ros.bag.recording import BagError, Recording
from clip_dinoiser_ros.bag.types import typestore
from clip_dinoiser_ros.demo.record import START_NS, write_drive
from clip_dinoiser_ros.world.classes import CLASSES
from clip_dinoiser_ros.world.scenes import drive


@pytest.fixture(scope='module')
def scenes():
    return list(drive(3, seconds=0.3, rate_hz=10.0, width=160, height=120))


@pytest.mark.parametrize('name', ['drive.mcap', 'drive.db3', 'folder'])
def test_a_drive_is_read_back_as_it_was_made(scenes, tmp_path, name):
    path = tmp_path / name
    assert write_drive(path, scenes) == len(scenes) == 3
    messages = {}
    with Recording(path) as recording:
        assert not recording.damage
        for message in recording.messages():
            content = typestore().deserialize_cdr(message.data, message.topic.type_name)
            messages.setdefault(message.topic.name, []).append((message.time_ns, content))
    assert sorted(messages) == [
        '/camera/camera_info',
        '/camera/depth/image_rect',
        '/camera/image_raw',
        '/camera/truth/label_info',
        '/camera/truth/labels',
    ]
    for index, scene in enumerate(scenes):
        expected = START_NS + index * 10**8
        for topic, dtype, pixels in [
            ('/camera/image_raw', np.uint8, scene.image),
            ('/camera/depth/image_rect', np.float32, scene.depth),
            ('/camera/truth/labels', np.uint8, scene.labels),
        ]:
            time_ns, image = messages[topic][index]
            stamp = image.header.stamp
            assert time_ns == expected == stamp.sec * 10**9 + stamp.nanosec
            np.testing.assert_array_equal(image.data.view(dtype).reshape(pixels.shape), pixels)
        _, info = messages['/camera/camera_info'][index]
        assert (info.width, info.height) == (160, 120)
        np.testing.assert_array_equal(info.k.reshape(3, 3), scene.intrinsics.matrix())
        np.testing.assert_array_equal(info.p.reshape(3, 4)[:, :3], scene.intrinsics.matrix())
    (_, named), *more = messages['/camera/truth/label_info']
    assert not more
    assert [c.class_name for c in named.class_map] == list(CLASSES)
    assert [c.class_id for c in named.class_map] == list(range(len(CLASSES)))


def test_other_readers_read_it_too(scenes, tmp_path):
    write_drive(tmp_path / 'drive', scenes)
    with Reader(tmp_path / 'drive') as reader:
        assert reader.message_count == 4 * len(scenes) + 1


def test_nothing_is_overwritten(scenes, tmp_path):
    path = tmp_path / 'drive.mcap'
    path.write_text('mine')
    with pytest.raises(BagError, match='exists; --force replaces it'):
        write_drive(path, scenes)
    assert path.read_text() == 'mine'
    write_drive(path, scenes, force=True)
    assert path.stat().st_size > 1000
