# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Cameras far faster than the model: the newest frame wins, and nothing piles up."""

import contextlib
import gc
import itertools
import threading

import pytest
from golden_data import golden
from harness import RELIABLE, Peer, numbered_frame, ticking
from sensor_msgs.msg import Image

TURNS = 12
MEANWHILE = 12  # frames of the first camera that arrive while the model works
FRAME_S = 0.004
ELSEWHERE = 4  # frames on the way: being sent, in a callback


FOUR = pytest.param(['flood', 'left', 'right', 'rear'], marks=pytest.mark.long)


@pytest.fixture(params=[['camera'], FOUR], ids=['one', 'four'])
def cameras(request):
    return request.param


@pytest.fixture
def parameters(parameters, cameras):
    return {**parameters, 'cameras': cameras}


@contextlib.contextmanager
def flood(cameras):
    """The first camera sends as fast as it can, each other one a quarter of it; one size."""
    image = golden('image_160x208_plain')['image']
    with Peer() as peer:
        publishers = [
            peer.node.create_publisher(Image, f'/{camera}/image_raw', RELIABLE)
            for camera in cameras
        ]

        def send(index):
            for publisher in publishers if index % 4 == 0 else publishers[:1]:
                publisher.publish(numbered_frame(image, index))

        with ticking(send, FRAME_S):
            yield peer


def frames_in_memory():
    return sum(type(o) is Image and o.encoding == 'rgb8' for o in gc.get_objects())


def test_the_newest_frame_wins(active_node, cameras, monkeypatch):
    """However fast the machine is: the model waits until a dozen frames have come.

    What is published then was taken after the turn before had ended, so it must be at least as new
    as what had arrived by that end.
    """
    arrived = dict.fromkeys(cameras, 0)  # newest stamp by camera
    ends = []  # what had arrived when each turn of the model ended
    held = []  # frames in memory, then
    published = []  # camera, turn, FrameInfo
    came, over = threading.Condition(), threading.Event()
    slots, segmenter = active_node._slots, active_node._pipeline.segmenter
    put, segment = slots.put, segmenter.segment_patches

    def arrive(camera, message):
        put(camera, message)
        with came:
            arrived[camera] = message.header.stamp.sec
            came.notify_all()

    def slow(*arguments):
        seen = itertools.count()
        with came:
            came.wait_for(lambda: next(seen) >= MEANWHILE or over.is_set())
        result = segment(*arguments)
        held.append(frames_in_memory())
        ends.append(dict(arrived))
        return result

    def record(camera, publish):
        return lambda info: published.append((camera, len(ends) - 1, info)) or publish(info)

    monkeypatch.setattr(slots, 'put', arrive)
    monkeypatch.setattr(segmenter, 'segment_patches', slow)
    for camera, outputs in active_node._pipeline.publishers.items():
        publish = record(camera, outputs.publish_frame_info)
        monkeypatch.setattr(outputs, 'publish_frame_info', publish)
    with flood(cameras) as peer:
        peer.until(lambda: len(ends) > TURNS)
        over.set()
        with came:
            came.notify_all()
    assert {camera for camera, _, _ in published} == set(cameras)
    for camera, turn, info in published:
        if turn > 0:
            assert info.header.stamp.sec >= ends[turn - 1][camera]
        waiting = info.frames_received - info.frames_segmented - info.frames_replaced
        assert 0 <= waiting <= 1
    assert max(held) <= 2 * len(cameras) + ELSEWHERE
    last = next(info for camera, _, info in reversed(published) if camera == cameras[0])
    assert last.frames_replaced > 5 * last.frames_segmented
