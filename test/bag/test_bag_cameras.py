# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Cameras are found and named."""

import gzip
import re
import struct

import numpy as np
import pytest
from bags import (
    START_NS,
    compressed_message,
    header,
    image_message,
    make,
    text_message,
    write,
    write_mcap,
)

from clip_dinoiser_ros.bag.cameras import camera_name, choose_cameras, decode_message
from clip_dinoiser_ros.bag.recording import BagError, Recording
from clip_dinoiser_ros.bag.types import COMPRESSED, message_types, typestore

PICTURE = np.zeros((32, 48, 3), np.uint8)


@pytest.mark.parametrize(
    ('topic', 'name'),
    [
        ('/camera/image_raw', 'camera'),
        ('/camera/image_raw/compressed', 'camera'),
        ('/rig/front/image', 'rig_front'),
        ('/rig/front/image_rect_color', 'rig_front'),
        ('/cam0', 'cam0'),
        ('/image_raw', 'camera'),
        ('/0/image_raw', 'camera_0'),
        ('/a__b/left_/image_raw', 'a_b_left'),
        ('/usb-cam/image', 'usb_cam'),
        ('/compressed', 'compressed'),
    ],
)
def test_name_of_a_camera(topic, name):
    assert camera_name(topic) == name


def bag(tmp_path, *topics):
    messages = [(topic, START_NS + i, message) for i, (topic, message) in enumerate(topics)]
    return write(tmp_path / 'bag', messages)


def label_info():
    types = message_types()
    message = types.label_info(header=header(0), class_map=[], threshold=0.0)
    name = 'vision_msgs/msg/LabelInfo'
    return name, bytes(typestore().serialize_cdr(message, name))


def vocabulary():
    name = 'clip_dinoiser_ros/msg/Vocabulary'
    message = make(
        name,
        header=header(0),
        version=1,
        names=[],
        ids=np.zeros(0, np.uint16),
        prompts=[],
        background='',
        templates='none',
        unlabelled_id=255,
        run_id='',
    )
    return name, bytes(typestore().serialize_cdr(message, name))


def test_every_camera_is_found_and_nothing_else(tmp_path):
    picture, grey = image_message(PICTURE, 0), image_message(PICTURE[..., 0], 0, 'mono8')
    depth = image_message(PICTURE[..., 0].astype(np.float32), 0, '32FC1')
    path = bag(
        tmp_path,
        ('/front/image_raw', picture),
        ('/front/image_raw/compressed', compressed_message(PICTURE, 0)),
        ('/rear/image_raw/compressed', compressed_message(PICTURE, 0)),
        ('/infrared/image_raw', grey),
        ('/front/depth/image_rect', depth),
        ('/truth/labels', grey),
        ('/truth/label_info', label_info()),
        ('/seen/camera/vocabulary', vocabulary()),
        ('/seen/camera/overlay', picture),
        ('/seen/camera/classes/person/mask', grey),
        ('/talk', text_message('hello')),
    )
    with Recording(path) as recording:
        cameras, notes = choose_cameras(recording)
        assert {camera.topic: camera.name for camera in cameras} == {
            '/front/image_raw': 'front',
            '/rear/image_raw/compressed': 'rear',
            '/infrared/image_raw': 'infrared',
        }
        assert cameras[0].output('labels') == '/clip_dinoiser/front/labels'
        reasons = dict(note.split(' is left out: ') for note in notes)
        assert reasons == {
            '/front/image_raw/compressed': 'the same as /front/image_raw',
            '/front/depth/image_rect': 'it is a depth image (32FC1)',
            '/truth/labels': 'it is a label image, with a label_info beside it',
            '/seen/camera/overlay': 'it was made by this program',
            '/seen/camera/classes/person/mask': 'it was made by this program',
        }
        cameras, _ = choose_cameras(recording, ['/seen/camera/overlay'])
        assert [camera.name for camera in cameras] == ['seen_camera_overlay']


def test_the_same_stamp_in_another_byte_order_is_the_same_frame(tmp_path):
    raw, packed = '/front/image_raw', '/front/image_raw/compressed'
    messages = []
    for time_ns in (START_NS, START_NS + 1):
        name, data = compressed_message(PICTURE, time_ns)
        message = typestore().deserialize_cdr(data, name)
        big = bytes(typestore().serialize_cdr(message, name, little_endian=False))
        assert big != data
        messages += [
            (raw, time_ns, image_message(PICTURE, time_ns)),
            (packed, time_ns, (name, big)),
        ]
    with Recording(write(tmp_path / 'mixed', messages)) as recording:
        cameras, notes = choose_cameras(recording)
    assert [camera.topic for camera in cameras] == [raw]
    assert notes == [f'{packed} is left out: the same as {raw}']


def test_images_cut_off_before_their_stamp_are_not_the_same(tmp_path):
    messages = [
        (topic, START_NS, (name, data[:9]))
        for topic, (name, data) in (
            ('/front/image_raw', image_message(PICTURE, START_NS)),
            ('/front/image_raw/compressed', compressed_message(PICTURE, START_NS)),
        )
    ]
    with Recording(write(tmp_path / 'cut', messages)) as recording:
        cameras, _ = choose_cameras(recording)
    assert len(cameras) == 2


def test_a_compressed_topic_with_frames_of_its_own_is_a_camera(tmp_path):
    hour = 3600 * 10**9
    raw, packed = '/front/image_raw', '/front/image_raw/compressed'
    cases = {
        'same': ([0, 1, 2], [0, 1, 2], 1),
        'fewer of the raw ones': ([0, 2], [0, 1, 2], 1),
        'later': ([0, 1, 2], [hour, hour + 1, hour + 2], 2),
        'both then only compressed': ([0], [0, hour, 2 * hour], 2),
    }
    for name, (raw_times, packed_times, expected) in cases.items():
        messages = [(raw, START_NS + t, image_message(PICTURE, START_NS + t)) for t in raw_times]
        messages += [
            (packed, START_NS + t, compressed_message(PICTURE, START_NS + t)) for t in packed_times
        ]
        messages.sort(key=lambda message: message[1])
        with Recording(write(tmp_path / name, messages)) as recording:
            cameras, notes = choose_cameras(recording)
            assert len(cameras) == expected, name
            assert len(notes) == 2 - expected


def test_stamps_differ_although_the_times_agree(tmp_path):
    messages = []
    for t in range(3):
        messages += [
            ('/a/image_raw', START_NS + t, image_message(PICTURE, START_NS + t)),
            ('/a/image_raw/compressed', START_NS + t, compressed_message(PICTURE, t)),
        ]
    with Recording(write(tmp_path / 'bag', messages)) as recording:
        assert len(choose_cameras(recording)[0]) == 2


def test_16_bit_grey_is_a_camera_where_no_other_is(tmp_path):
    deep = image_message(np.zeros((32, 48), np.uint16), 0, 'mono16')
    path = bag(
        tmp_path, ('/depth/image_raw', deep), ('/color/image_raw', image_message(PICTURE, 0))
    )
    with Recording(path) as recording:
        cameras, notes = choose_cameras(recording)
        assert [camera.topic for camera in cameras] == ['/color/image_raw']
        assert 'it is 16-bit grey beside other cameras' in notes[0]
        cameras, _ = choose_cameras(recording, ['/depth/image_raw'])
        assert [camera.topic for camera in cameras] == ['/depth/image_raw']
    with Recording(write(tmp_path / 'alone', [('/lwir/image', START_NS, deep)])) as recording:
        assert [camera.topic for camera in choose_cameras(recording)[0]] == ['/lwir/image']


def test_topics_are_found_without_their_first_slash(tmp_path):
    picture = image_message(PICTURE, 0)
    with Recording(bag(tmp_path, ('/a/image_raw', picture), ('b', picture))) as recording:
        cameras, _ = choose_cameras(recording, ['a/image_raw', '/b'], {'a/image_raw': 'left'})
        assert [(c.topic, c.name) for c in cameras] == [('/a/image_raw', 'left'), ('b', 'b')]


def test_names_differ_or_are_refused(tmp_path):
    picture = image_message(PICTURE, 0)
    path = bag(tmp_path, ('/a/image_raw', picture), ('/a/image_rect', picture), ('/b', picture))
    with Recording(path) as recording:
        cameras, _ = choose_cameras(recording)
        assert [camera.name for camera in cameras] == ['a_image_raw', 'a_image_rect', 'b']
        cameras, _ = choose_cameras(recording, names={'/a/image_raw': 'left'})
        assert [camera.name for camera in cameras] == ['left', 'a', 'b']
        for names, reason in {
            ('/a/image_raw', 'x/y'): 'cannot be part of a topic name',
            ('/none', 'x'): 'not a segmented topic',
        }.items():
            with pytest.raises(BagError, match=reason):
                choose_cameras(recording, names=dict([names]))
        with pytest.raises(BagError, match='two cameras with the same name'):
            choose_cameras(recording, names={'/b': 'x', '/a/image_raw': 'x'})


def test_no_camera_says_what_there_is(tmp_path):
    with Recording(bag(tmp_path, ('/talk', text_message('hello')))) as recording:
        with pytest.raises(BagError, match=r'no camera found; image topics of .*: none'):
            choose_cameras(recording)
        with pytest.raises(BagError, match='/talk is not an image topic'):
            choose_cameras(recording, ['/talk'])


def zstd_message(array, time_ns, encoding='rgb8'):
    """What image_transport's plugin zstd makes of an image: its fields, and a gzip stream."""
    name = encoding.encode()
    height, width = array.shape[:2]
    fields = struct.pack('<IIBII', height, width, 0, array.nbytes // height, len(name))
    data = np.frombuffer(fields + name + gzip.compress(array.tobytes(), mtime=0), np.uint8)
    message = make(COMPRESSED, header=header(time_ns), format='zstd', data=data)
    return COMPRESSED, bytes(typestore().serialize_cdr(message, COMPRESSED))


def without_data(form):
    """What image_transport publishes of an image that it cannot encode."""
    message = make(COMPRESSED, header=header(0), format=form, data=np.zeros(0, np.uint8))
    return COMPRESSED, bytes(typestore().serialize_cdr(message, COMPRESSED))


def test_all_transports_of_a_camera_are_one_camera(tmp_path):
    depth = np.ones((32, 48), np.uint16)
    path = bag(
        tmp_path,
        ('/front/image_raw', image_message(PICTURE, 0)),
        ('/front/image_raw/compressed', compressed_message(PICTURE, 0)),
        ('/front/image_raw/zstd', zstd_message(PICTURE, 0)),
        ('/rear/image_raw/zstd', zstd_message(PICTURE, 0)),
        ('/front/depth/zstd', zstd_message(depth, 0, '16UC1')),
        ('/front/depth/compressed', without_data('16UC1; jpeg compressed mono8')),
    )
    with Recording(path) as recording:
        cameras, notes = choose_cameras(recording)
        assert {camera.topic: camera.name for camera in cameras} == {
            '/front/image_raw': 'front',
            '/rear/image_raw/zstd': 'rear',
        }
        assert dict(note.split(' is left out: ') for note in notes) == {
            '/front/image_raw/compressed': 'the same as /front/image_raw',
            '/front/image_raw/zstd': 'the same as /front/image_raw',
            '/front/depth/zstd': 'it is a depth image (16UC1)',
            '/front/depth/compressed': 'it is a depth image (16UC1; jpeg compressed mono8)',
        }
        (message,) = recording.messages(['/rear/image_raw/zstd'])
        _, image = decode_message(message.data, message.topic.type_name)
        assert np.array_equal(image, PICTURE)


OTHER_TYPES = (
    'ffmpeg_image_transport_msgs/msg/FFMPEGPacket',
    'foxglove_msgs/msg/CompressedImage',
    'foxglove_msgs/msg/CompressedVideo',
    'foxglove_msgs/msg/RawImage',
    'theora_image_transport/msg/Packet',
)


@pytest.mark.parametrize('type_name', OTHER_TYPES)
def test_images_in_other_types_are_named(tmp_path, type_name, run_quickly, capsys):
    other = ('/front/video', START_NS, (type_name, b'\0\1\0\0'))
    write_mcap(tmp_path / 'alone.mcap', [other])
    assert run_quickly('bag', tmp_path / 'alone.mcap', tmp_path / 'out') == 1
    said = f'/front/video is left out: it is [a-z A-Z]+ [(]{type_name}[)]; republish it as '
    assert re.search(said, capsys.readouterr().err)
    write_mcap(tmp_path / 'both.mcap', [other, ('/a/image', START_NS, image_message(PICTURE, 0))])
    assert run_quickly('bag', tmp_path / 'both.mcap', tmp_path / 'out') == 0
    assert re.search(said, capsys.readouterr().err)


def test_damage_that_is_found_while_cameras_are_looked_for_is_told(tmp_path):
    path = write_mcap(
        tmp_path / 'a.mcap', [('/a/image', START_NS, image_message(PICTURE, 0))], enable_crcs=False
    )
    path.write_bytes(path.read_bytes().replace(b'zstd', b'zzzz'))
    with Recording(path) as recording, pytest.raises(BagError, match="unknown compression 'zzzz'"):
        choose_cameras(recording)
