# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Located objects: the messages, in which frame they are, and what they wait for."""

import sys
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest
from cameras_with_depth import header
from geometry_msgs.msg import Quaternion, Transform
from known_transforms import KnownTransforms, quaternion
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header
from visualization_msgs.msg import Marker

from clip_dinoiser_ros.core.objects import find_objects
from clip_dinoiser_ros.frames import cloud_messages, images
from clip_dinoiser_ros.frames.boxes import measure_objects
from clip_dinoiser_ros.frames.cloud_messages import CloudSource
from clip_dinoiser_ros.frames.located import ObjectSource, detection_3d_array, marker_array
from clip_dinoiser_ros.node import log
from clip_dinoiser_ros.node.clouds import MAX_WAITING, Clouds
from clip_dinoiser_ros.node.parameters import CameraTopics, ParameterError, default_settings
from clip_dinoiser_ros.node.publishers import DETECTION_TYPES
from clip_dinoiser_ros.node.transforms import Transforms, as_matrix, listen
from clip_dinoiser_ros.world.classes import CLASSES
from clip_dinoiser_ros.world.scenes import scene

SCENE = scene(904, 160, 120)
CAMERA = CameraTopics('front', '/front/image', 'raw', '/front/depth', '/front/info')


def depth(stamp_ms):
    return images.to_message(SCENE.depth, '32FC1', header(stamp_ms), Image)


def source(stamp_ms):
    confidence = np.full(SCENE.labels.shape, 0.75, np.float32)
    objects = find_objects(SCENE.labels, confidence, range(len(CLASSES)))
    names = tuple(CLASSES[one.label] for one in objects.found)
    ids = tuple(f'7{index}' for index in range(len(names)))
    return ObjectSource(header(stamp_ms), objects, names, ids, default_settings(), (120, 160))


@pytest.fixture
def clouds(said, monkeypatch):
    monkeypatch.setattr(log, 'PERIOD_S', 0.0)
    made = Clouds(CAMERA, said.append)
    k = SCENE.intrinsics.matrix()
    made.put_info(CameraInfo(height=120, width=160, k=k.ravel()))
    return made


@pytest.fixture
def buffer(clouds):
    known = KnownTransforms()
    clouds.transforms = Transforms('map', known)
    return known


def test_the_messages(clouds):
    clouds.put_depth(depth(1000))
    asked = source(1000)
    clouds.add_objects(asked)
    (located,) = clouds.ready_objects()
    boxes = measure_objects(asked.objects, SCENE.depth, SCENE.intrinsics)
    expected = [
        (name, text, one, box)
        for name, text, one, box in zip(
            asked.names, asked.ids, asked.objects.found, boxes, strict=True
        )
        if box is not None
    ]
    assert 3 <= len(expected) < len(boxes), 'the scene should have a sky, which has no depth'
    message = detection_3d_array(located, DETECTION_TYPES)
    assert message.header == header(1000)
    assert len(message.detections) == len(expected)
    for detection, (name, text, one, box) in zip(message.detections, expected, strict=True):
        (result,) = detection.results
        assert (detection.id, result.hypothesis.class_id) == (text, name)
        assert result.hypothesis.score == one.score
        assert detection.header == message.header
        assert result.pose.pose == detection.bbox.center
        centre, size = detection.bbox.center.position, detection.bbox.size
        assert (centre.x, centre.y, centre.z) == pytest.approx(box.centre)
        assert (size.x, size.y, size.z) == pytest.approx(box.size)
        assert detection.bbox.center.orientation == Quaternion()
    first, *markers = marker_array(located, DETECTION_TYPES).markers
    assert (first.action, first.header) == (Marker.DELETEALL, header(1000))
    assert len(markers) == 2 * len(expected)
    for cube, text, detection in zip(markers[::2], markers[1::2], message.detections, strict=True):
        assert (cube.type, text.type) == (Marker.CUBE, Marker.TEXT_VIEW_FACING)
        assert cube.pose == text.pose == detection.bbox.center
        assert cube.action == text.action == Marker.ADD
        assert min(cube.scale.x, cube.scale.y, cube.scale.z) > 0
        assert cube.scale.x == max(detection.bbox.size.x, 0.01)
        assert text.text == f'{detection.results[0].hypothesis.class_id} 0.75'
        assert 0 < cube.color.a < 1 == text.color.a
    assert len({(marker.ns, marker.id) for marker in markers}) == len(markers)


def test_nothing_in_view_deletes_the_markers(clouds):
    clouds.put_depth(images.to_message(np.zeros_like(SCENE.depth), '32FC1', header(1000), Image))
    clouds.add_objects(source(1000))
    (located,) = clouds.ready_objects()
    assert detection_3d_array(located, DETECTION_TYPES).detections == []
    (marker,) = marker_array(located, DETECTION_TYPES).markers
    assert marker.action == Marker.DELETEALL


def test_they_wait_for_depth_and_are_dropped_without_a_listener(clouds, said):
    clouds.add_objects(source(1000))
    assert clouds.ready_objects() == []
    assert clouds.put_depth(depth(1000))
    assert len(clouds.ready_objects()) == 1
    assert said == []
    clouds.add_objects(source(2000))
    clouds.drop_objects()
    assert not clouds.put_depth(depth(2000))


def test_depth_is_decoded_once_for_both(clouds, monkeypatch):
    read = []
    real = cloud_messages.to_depth
    monkeypatch.setattr(cloud_messages, 'to_depth', lambda d: (read.append(1), real(d))[1])
    clouds.put_depth(depth(1000))
    asked = source(1000)
    confidence = np.ones(SCENE.labels.shape, np.float32)
    clouds.add(CloudSource(asked.header, SCENE.image, SCENE.labels, confidence, asked.settings))
    clouds.add_objects(asked)
    assert len(clouds.ready()) == len(clouds.ready_objects()) == len(read) == 1
    clouds.put_info(CameraInfo())  # another one: nothing that was read may stay
    clouds.add_objects(asked)
    assert clouds.ready_objects() == []


def test_in_the_target_frame(clouds, buffer):
    clouds.put_depth(depth(1000))
    clouds.add_objects(source(1000))
    assert clouds.ready_objects() == []  # depth is there, the transform is not
    buffer.learn(1000, SCENE.pose)
    (located,) = clouds.ready_objects()
    assert located.header == Header(stamp=header(1000).stamp, frame_id='map')
    grounds = ('floor', 'road', 'grass')
    seen = {one.name: one.box for one in located.found if one.name in grounds}
    assert seen
    for box in seen.values():  # flat on the ground of the world
        assert box.centre[2] == pytest.approx(0, abs=1e-3)
        assert box.size[2] == pytest.approx(0, abs=1e-3)
    things = {thing.name: thing for thing in SCENE.things}
    near = [one for one in located.found if one.name in things]
    assert near
    for one in near:
        distances = [
            np.hypot(one.box.centre[0] - thing.x, one.box.centre[1] - thing.y)
            for thing in SCENE.things
            if thing.name == one.name
        ]
        assert min(distances) < 0.7  # half of the largest thing


def test_a_transform_that_never_comes(clouds, buffer, said):
    clouds.put_depth(depth(1000))
    clouds.add_objects(source(1000))
    later = source(1000)
    clouds.add_objects(replace(later, header=header(1200)))
    assert clouds.ready_objects() == []
    assert said == [
        "front: no detections_3d: no transform from 'lens' to target_frame 'map' at the stamp of "
        'the image: Lookup would require extrapolation into the future'
    ]
    for index in range(20):
        clouds.add_objects(source(1300 + index))
        clouds.ready_objects()
        assert len(clouds._objects) <= MAX_WAITING


def test_a_rotation_of_any_length():
    turn = quaternion(SCENE.pose.rotation())
    longer = Quaternion(x=2 * turn.x, y=2 * turn.y, z=2 * turn.z, w=2 * turn.w)
    for rotation in (turn, longer):
        matrix = as_matrix(Transform(rotation=rotation))
        np.testing.assert_allclose(matrix[:3, :3], SCENE.pose.rotation(), atol=1e-9)


def test_without_tf2_ros_it_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, 'tf2_ros', None)
    with pytest.raises(ParameterError, match="target_frame is 'map', which needs tf2_ros"):
        listen(None, 'map')


def test_with_tf2_ros_it_listens_without_a_thread_or_services(monkeypatch):
    """A module that stands in for tf2_ros; records how it is used."""
    calls = []

    class Listener:
        def __init__(self, buffer, node, *, spin_thread):
            calls.append((buffer, node, spin_thread))

        def unregister(self):
            calls.append('unregistered')

    stand_in = ModuleType('tf2_ros')
    stand_in.Buffer, stand_in.TransformListener = KnownTransforms, Listener
    monkeypatch.setitem(sys.modules, 'tf2_ros', stand_in)
    transforms = listen('the node', 'map')
    assert not transforms.is_known(header(1000))
    transforms.close()
    ((buffer, node, spin), closed) = calls
    assert isinstance(buffer, KnownTransforms)
    assert (node, spin, closed) == ('the node', False, 'unregistered')
