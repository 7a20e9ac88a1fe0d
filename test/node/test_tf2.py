# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""With the real tf2_ros: /tf and /tf_static come over DDS, poses are in the target frame.

tf2_ros has no wheel, so these tests are skipped where no ROS installation has it;
test_find_places.py and test_places.py have a stand-in for its buffer.
"""

import numpy as np
import pytest

pytest.importorskip('tf2_ros', reason='tf2_ros has no wheel')

import tf2_ros
from cameras_with_depth import RELIABLE_INPUTS, TOPICS, DepthCamera, header
from geometry_msgs.msg import TransformStamped, Vector3
from golden_data import golden, most_shown_first
from harness import NodeProcess, Peer, numbered_frame, ticking
from known_transforms import placed
from vision_msgs.msg import Detection3DArray

from clip_dinoiser_ros.world.camera import Pose

IMAGE = golden('image_160x208_plain')['image']
CAMERA = Pose(x=0.2, z=0.5, yaw=0.3)  # in `base`


@pytest.fixture(scope='module')
def node(parameters, tmp_path_factory):
    """A node whose objects are in `map`."""
    values = {**parameters, **TOPICS, **RELIABLE_INPUTS, 'target_frame': 'map'}
    with NodeProcess(values, tmp_path_factory.mktemp('node')) as process:
        process.wait_for_log('active; waiting for images')
        yield process


class Robot:
    """Drives at 1 m/s along x of `map`, 0 at the stamp 0, and looks at a wall 2 m away."""

    def __init__(self, peer):
        self.peer, self.camera = peer, DepthCamera(peer)
        self._static = tf2_ros.StaticTransformBroadcaster(peer.node)
        self._moving = tf2_ros.TransformBroadcaster(peer.node)
        mounted = placed(CAMERA)
        mounted.header.frame_id, mounted.child_frame_id = 'base', 'lens'
        self._static.sendTransform(mounted)

    def drive(self, start_ms, end_ms):
        """Tell where it is, ten times a second."""
        for stamp_ms in range(start_ms, end_ms, 100):
            there = TransformStamped(header=header(stamp_ms, 'map'), child_frame_id='base')
            there.transform.translation = Vector3(x=stamp_ms / 1000)
            self._moving.sendTransform(there)

    def look(self, index, frame_id='lens'):
        """Send a frame with depth; return the metres that the robot had driven."""
        self.camera.send_info()
        self.camera.send_depth(index, 2.0)
        message = numbered_frame(IMAGE, index)
        message.header.frame_id = frame_id
        self.peer.send_message(message)
        self.peer.of_frame('frame_info', index)
        return index + 0.123456789

    def find(self, **fields):
        return self.peer.ask('find', **{'max_age_s': 1e6, 'min_confidence': 0.0, **fields})


def test_the_first_question_begins_to_listen(parameters, tmp_path):
    """The node has heard nothing of the frames that are there, so it takes one that comes.

    This test stands before those that share a node, which has the same name.
    """
    values = {**parameters, **TOPICS, **RELIABLE_INPUTS}
    with NodeProcess(values, tmp_path) as node, Peer() as peer, Peer() as other:
        node.wait_for_log('active; waiting for images')
        peer.listen()
        robot = Robot(peer)
        robot.look(9)

        def go_on(index):
            robot.drive(9000 + index * 1000, 10_500 + index * 1000)
            robot.look(9 + index)

        with ticking(go_on, 0.1):
            asked = {'max_age_s': 1e6, 'timeout_s': 60.0, 'target_frame': 'map'}
            answer = other.ask('find', text='sky', **asked)
        assert (answer.success, answer.message) == (True, '')


@pytest.fixture(scope='module')
def robot(node):
    with Peer() as peer:
        peer.listen()
        peer.hear('detections_3d', Detection3DArray)
        robot = Robot(peer)
        index = 10
        while not peer.messages('detections_3d'):  # until the node has found all publishers
            robot.drive(index * 1000, index * 1000 + 1500)
            robot.look(index)
            index += 1
        yield robot


def position(pose):
    return np.array([pose.position.x, pose.position.y, pose.position.z])


def test_find_in_the_target_frame(robot, golden_segmenter):
    """Between two stamps of /tf, and the robot has moved on since."""
    text, *contrast = most_shown_first(golden_segmenter, IMAGE)
    robot.drive(100_000, 103_000)
    driven = robot.look(101)
    robot.drive(103_000, 106_000)
    asked = {'text': text, 'contrast': contrast}
    answers = {to: robot.find(**asked, target_frame=to) for to in ('', 'map', 'base', 'lens')}
    for to, answer in answers.items():
        assert (answer.success, answer.message) == (True, '')
        assert {one.header.frame_id for one in answer.objects} == {to or 'map'}
        assert all(one.header.stamp.sec == 101 for one in answer.objects)
    assert answers[''] == answers['map']
    for there, base, lens in zip(
        *(answers[to].objects for to in ('map', 'base', 'lens')), strict=True
    ):
        moved = position(there.pose) - position(base.pose)
        np.testing.assert_allclose(moved, [driven, 0, 0], atol=1e-6)
        seen = CAMERA.rotation().T @ position(lens.pose) + CAMERA.position()
        np.testing.assert_allclose(position(base.pose), seen, atol=1e-9)


def test_detections_3d_in_the_target_frame(robot):
    robot.drive(200_000, 206_000)
    boxes = []
    for index in (201, 204):
        robot.look(index)
        message = robot.peer.of_frame('detections_3d', index)
        assert message.header.frame_id == 'map'
        boxes.append([position(one.bbox.center) for one in message.detections])
    assert len(boxes[0]) >= 2
    np.testing.assert_allclose(np.subtract(*boxes[::-1]), [[3, 0, 0]] * len(boxes[0]), atol=1e-6)


@pytest.mark.parametrize(
    ('index', 'frame_id', 'target', 'reason'),
    [
        (302, 'lens', 'odom', '"odom" passed to lookupTransform argument target_frame does not'),
        (303, 'lamp', 'map', '"lamp" passed to lookupTransform argument source_frame does not'),
        (304, 'lens', '/map', "cannot start with a '/'"),
        (250, 'lens', 'map', 'extrapolation into the past'),
        (350, 'lens', 'map', 'extrapolation into the future'),
    ],
)
def test_a_pose_that_tf2_does_not_know(robot, index, frame_id, target, reason):
    robot.drive(301_000, 306_000)
    robot.look(index, frame_id)
    answer = robot.find(text='sky', target_frame=target, timeout_s=0.5)
    assert (answer.success, len(answer.objects)) == (False, 0)
    assert f'from {frame_id!r} to target_frame {target!r} at the stamp' in answer.message
    assert reason in answer.message
