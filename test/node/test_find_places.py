# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Poses of ~/find in another frame: at the stamp of the image, or not at all."""

import threading

import numpy as np
import pytest
from cameras_with_depth import RELIABLE_INPUTS, TOPICS, DepthCamera
from geometry_msgs.msg import Transform
from golden_data import golden, most_shown_first
from harness import Peer
from known_transforms import KnownTransforms

from clip_dinoiser_ros.node import services
from clip_dinoiser_ros.node.transforms import Transforms, as_matrix
from clip_dinoiser_ros.world.camera import Pose

IMAGE = golden('image_160x208_plain')['image']


@pytest.fixture
def inputs():
    return {**TOPICS, **RELIABLE_INPUTS}


@pytest.fixture
def buffer(monkeypatch):
    """What the node knows of transforms once it listens."""
    known = KnownTransforms()
    monkeypatch.setattr(services, 'listen', lambda node, target: Transforms(target, known))
    return known


@pytest.fixture
def show(active_node):
    """Call it with a number for a frame with depth; `show.ask` asks for what most of it shows."""
    with Peer() as peer:
        peer.listen()
        camera = DepthCamera(peer)

        def shown(index):
            camera.send_info()
            camera.send_depth(index, 2.0)
            message = peer.send(IMAGE, index)
            peer.of_frame('frame_info', index)
            return message.header

        def ask(**fields):
            return peer.ask('find', **{'max_age_s': 1e6, 'min_confidence': 0.0, **fields})

        shown.ask = ask
        yield shown


def test_the_pose_at_the_stamp_of_the_image(show, buffer, golden_segmenter):
    """The camera moves on before anyone asks."""
    pose, later = Pose(x=3.0, y=-1.0, yaw=0.4), Pose(x=9.0, yaw=-1.0)
    header = show(10)
    buffer.learn(header, pose)
    buffer.learn(11_000, later)
    text, *contrast = most_shown_first(golden_segmenter, IMAGE)
    seen = show.ask(text=text, contrast=contrast)
    there = show.ask(text=text, contrast=contrast, target_frame='map')
    assert (seen.success, seen.message, there.success, there.message) == (True, '', True, '')
    assert len(seen.objects) == len(there.objects) >= 1
    for one, moved in zip(seen.objects, there.objects, strict=True):
        assert one.is_located
        assert one.header == header
        assert (moved.header.stamp, moved.header.frame_id) == (header.stamp, 'map')
        assert (moved.size, moved.box, moved.score) == (one.size, one.box, one.score)
        local, placed = (np.array([p.x, p.y, p.z]) for p in (o.pose.position for o in (one, moved)))
        np.testing.assert_allclose(placed, pose.rotation().T @ local + pose.position(), atol=1e-9)
        np.testing.assert_allclose(
            as_matrix_of(moved.pose.orientation), pose.rotation().T, atol=1e-9
        )


def as_matrix_of(orientation):
    return as_matrix(Transform(rotation=orientation))[:3, :3]


def test_a_frame_without_a_transform(show, buffer):
    """It is waited for, up to the timeout, and so is the next frame that has one."""
    show(20)
    refused = show.ask(text='sky', target_frame='map', timeout_s=0.3)
    assert (refused.success, len(refused.objects)) == (False, 0)
    assert "no transform from 'lens_20' to target_frame 'map'" in refused.message
    answers = []
    asking = threading.Thread(
        target=lambda: answers.append(show.ask(text='sky', target_frame='map', timeout_s=60.0))
    )
    asking.start()
    index = 21
    while asking.is_alive():
        buffer.learn(show(index), Pose())
        index += 1
        asking.join(0.1)
    assert answers[0].success
