# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""What the worker says of frames that it cannot use."""

from types import SimpleNamespace

from clip_dinoiser_ros.node import worker as module
from clip_dinoiser_ros.node.frames import FrameSlots, ReceivedFrame
from clip_dinoiser_ros.node.health import Health
from clip_dinoiser_ros.node.worker import Worker


def test_bad_frames_are_all_counted_and_named_at_most_once_a_second(monkeypatch):
    now = 50.0
    monkeypatch.setattr(module.time, 'monotonic', lambda: now)
    said = []
    slots = FrameSlots(['front', 'rear'], clock=lambda: now)
    health = Health(['front', 'rear'], lambda: now)
    worker = Worker(
        processor=None,
        slots=slots,
        publishers={},
        active=None,
        health=health,
        logger=SimpleNamespace(error=said.append),
        ends=said.append,
    )
    for step in range(30):
        now = 50.0 + step / 10
        for camera in ('front', 'rear'):
            worker._reject(ReceivedFrame(camera, None, now, now), f'fault {step}')
    assert slots.count('front').rejected == slots.count('rear').rejected == 30
    assert said == [
        f'{camera}: frame dropped ({step + 1} so far): fault {step}'
        for step in (0, 10, 20)
        for camera in ('front', 'rear')
    ]


def test_a_worker_that_fails_ends_the_process_and_says_why():
    """What it cannot survive must not leave a node that lives on and sees nothing."""

    def active():
        raise KeyError('settings')

    told = []
    logger = SimpleNamespace(error=told.append)
    health = Health(['front'], lambda: 0.0)
    worker = Worker(
        processor=None,
        slots=FrameSlots(['front']),
        publishers={},
        active=active,
        health=health,
        logger=logger,
        ends=told.append,
    )
    worker.start()
    assert worker.stop(10.0)
    assert told == ["the thread that segments failed: KeyError: 'settings'"]
