# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""A live node with the demo model, a camera that sends, and the robot's source beside them."""

from __future__ import annotations

import contextlib
import queue
import time
from functools import cache

import numpy as np
from harness import NodeProcess, Peer, ticking

from clip_dinoiser_ros.web.robot import RobotSource
from clip_dinoiser_ros.web.source import ShownFrame
from clip_dinoiser_ros.world.drives import PROMPTS_BEFORE, demo_drive

PERIOD_S = 0.25
WAIT_S = 60.0
PARAMETERS = {
    'model': 'demo',
    'device': 'cpu',
    'gamma': 0.7,
    'prompts': list(PROMPTS_BEFORE),
    'short_side': 240,
    'diagnostics_period': 0.2,
    # best effort loses images on a busy machine
    'qos_overrides./camera/image_raw.subscription.reliability': 'reliable',
}


@cache
def picture() -> np.ndarray:
    """An image of the drive with several objects, uint8 (240, 320, 3) RGB."""
    return list(demo_drive(seconds=20.0, rate_hz=0.5, width=320, height=240))[2].image


def numbered_picture(index: int) -> np.ndarray:
    """That image with its number in the first pixels, so that no two are the same."""
    image = picture().copy()
    image[0, 0] = (index // 256, index % 256, 0)
    return image


@contextlib.contextmanager
def sending(peer: Peer):
    """Send images all the time, with stamps of 1, 2, ... seconds."""
    peer.connect()
    with ticking(lambda index: peer.send(numbered_picture(index), index), PERIOD_S):
        yield


@contextlib.contextmanager
def live_node(folder, parameters=None):
    """Run a node with a camera that sends; yields the process and the peer that sends."""
    parameters = PARAMETERS if parameters is None else parameters
    with NodeProcess(parameters, folder) as node, Peer() as peer:
        node.wait_for_log('active; waiting for images')
        peer.listen()
        with sending(peer):
            yield node, peer


class Viewer:
    """Keeps the frames of a camera that it watches, until the end of the `with` block."""

    def __init__(self, source: RobotSource, camera: str = 'camera') -> None:
        self._frames: queue.SimpleQueue[ShownFrame] = queue.SimpleQueue()
        self._stop = source.watch(camera, self._frames.put)

    def __enter__(self) -> Viewer:
        return self

    def __exit__(self, *_) -> None:
        self._stop()

    def forget(self) -> None:
        """Drop the frames that nobody asked for."""
        with contextlib.suppress(queue.Empty):
            while True:
                self._frames.get_nowait()

    def next(self, condition=lambda frame: True, timeout_s: float = WAIT_S) -> ShownFrame:
        """Wait for the next frame that fulfils a condition."""
        end_s = time.monotonic() + timeout_s
        while (left_s := end_s - time.monotonic()) > 0:
            with contextlib.suppress(queue.Empty):
                frame = self._frames.get(timeout=left_s)
                if condition(frame):
                    return frame
        raise AssertionError('no such frame')


def until(condition, timeout_s: float = WAIT_S):
    """Wait until something is true; return it."""
    end_s = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < end_s, 'waited in vain'
        time.sleep(0.05)
    return found
