# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""What the worker says of frames: of those that it cannot use, and the figures of the others."""

import queue
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from clip_dinoiser_ros.msg import FrameInfo
from std_msgs.msg import Header

from clip_dinoiser_ros.node import worker as module
from clip_dinoiser_ros.node.frames import FrameSlots, ReceivedFrame
from clip_dinoiser_ros.node.health import Health, Source
from clip_dinoiser_ros.node.worker import Limits, Worker


def worker_of(publishers, told, processor=None, active=None, **options):
    """A worker that tells `told` what it logs and why it ends."""
    options.setdefault('slots', FrameSlots(list(publishers)))
    options.setdefault('health', Health(list(publishers), lambda: 0.0))
    return Worker(
        processor=processor,
        publishers=publishers,
        active=active,
        logger=SimpleNamespace(error=told.append),
        ends=told.append,
        **options,
    )


def publisher_of(announced):
    """Publishers of a camera of which nobody wants anything else."""
    return SimpleNamespace(
        announce=announced,
        publish_clouds=lambda: None,
        expect=lambda header: None,
        wants_features=lambda: False,
    )


def state_of(worker, camera):
    """State and reason of a camera in the diagnostics."""
    counts, source = worker._slots.count(camera), Source('image', 1)
    values = worker._health.cameras[camera].status(0.0, counts, source, stale_after_s=1.0).values
    return values['state'], values['reason']


def test_bad_frames_are_all_counted_and_named_at_most_once_a_second(monkeypatch):
    now = 50.0
    monkeypatch.setattr(module.time, 'monotonic', lambda: now)
    said = []
    cameras = ('front', 'rear')
    slots = FrameSlots(cameras, clock=lambda: now)
    health = Health(cameras, lambda: now)
    worker = worker_of({}, said, slots=slots, health=health)
    for step in range(30):
        now = 50.0 + step / 10
        for camera in cameras:
            worker._reject(ReceivedFrame(camera, None, now, now), f'fault {step}')
    assert slots.count('front').rejected == slots.count('rear').rejected == 30
    health.cameras['front'].arrived(now)
    assert state_of(worker, 'front') == ('rejected', 'fault 29')
    assert said == [
        f'{camera}: frame dropped ({step + 1} so far): fault {step}'
        for step in (0, 10, 20)
        for camera in cameras
    ]


def test_a_worker_that_fails_ends_the_process_and_says_why():
    """What it cannot survive must not leave a node that lives on and sees nothing."""

    def active():
        raise KeyError('settings')

    told = []
    worker = worker_of({'front': None}, told, active=active)
    worker.start()
    assert worker.stop(10.0)
    assert told == ["the thread that segments failed: KeyError: 'settings'"]


def test_a_cloud_that_cannot_be_published_costs_no_other():
    told, published = [], []

    def fail():
        raise RuntimeError('no depth')

    worker = worker_of(
        {
            'front': SimpleNamespace(publish_clouds=fail),
            'rear': SimpleNamespace(publish_clouds=lambda: published.append('rear')),
        },
        told,
    )
    worker._publish_clouds()
    assert told == ['front: cloud not published: RuntimeError: no depth']
    assert published == ['rear']


def test_frames_that_fail_late_are_counted():
    """One in the model, one while its outputs are published."""
    told, refused = [], []

    def publish(outputs):
        raise ValueError('overlay too small')

    processor = SimpleNamespace(
        process=lambda frames, active: [MemoryError('model'), 'outputs'],
        errors=SimpleNamespace(refuse=refused.append),
    )
    publishers = {name: SimpleNamespace(publish=publish) for name in ('front', 'rear')}
    worker = worker_of(publishers, told, processor)
    frames = [(ReceivedFrame(name, None, 0.0, 0.0), None) for name in publishers]
    worker._process(frames, None)
    assert told == [
        'front: frame dropped (1 so far): MemoryError: model',
        'rear: frame dropped (1 so far): not published in full: ValueError: overlay too small',
    ]
    assert [str(error) for error in refused] == ['overlay too small']
    assert [worker._slots.count(name).rejected for name in publishers] == [1, 1]


def test_the_figures_of_a_frame(monkeypatch):
    times_s = iter([10.5, 10.75])
    monkeypatch.setattr(module.time, 'monotonic', lambda: next(times_s))
    sent = []
    publisher = SimpleNamespace(publish=lambda outputs: None, publish_frame_info=sent.append)
    worker = worker_of({'front': publisher}, [])
    for _ in range(5):
        worker._slots.put('front', 'message')
    worker._slots.count('front', segmented=1, rejected=3)
    worker._health.cameras['front'].arrived(0.0)
    worker._health.cameras['front'].rejected('the frame before')
    outputs = SimpleNamespace(
        header=Header(frame_id='lens'),
        active=SimpleNamespace(version=7),
        frame=SimpleNamespace(decode_ms=2.0),
        segment_ms=30.0,
        batch_size=4,
    )
    worker._publish(ReceivedFrame('front', None, arrived_s=10.0, taken_s=10.25), outputs)
    assert sent == [
        FrameInfo(
            header=outputs.header,
            vocabulary_version=7,
            frames_received=5,
            frames_segmented=2,
            frames_replaced=4,
            frames_rejected=3,
            batch_size=4,
            wait_ms=250.0,
            decode_ms=2.0,
            segment_ms=30.0,
            publish_ms=250.0,
            total_ms=750.0,
        )
    ]
    assert state_of(worker, 'front')[0] == 'active'
    stages = worker._health.stages.values()
    assert (stages['wait_ms_median'], stages['total_ms_p95']) == ('250.0', '750.0')


def active_of(version, min_confidence=0.0):
    settings = SimpleNamespace(min_confidence=min_confidence, max_rates=dict)
    return SimpleNamespace(version=version, settings=settings)


def test_a_vocabulary_is_announced_before_its_frames_and_frames_of_a_size_go_together(monkeypatch):
    """It changes while the worker waits for the frames."""
    events, now = [], [active_of(1)]
    sizes = {'front': (8, 8, 3), 'left': (8, 4, 3), 'rear': (8, 8, 3)}
    frames = [
        ReceivedFrame(name, SimpleNamespace(header=None, size=size), 0.0, 0.0)
        for name, size in sizes.items()
    ]
    turns = iter([frames, None])

    def take(max_rates):
        events.append('take')
        now[0] = active_of(2)
        return next(turns)

    def process(decoded, active):
        events.append((active.version, [frame.camera for frame in decoded]))
        return [ValueError('not looked at')] * len(decoded)

    publisher = SimpleNamespace(
        announce=lambda active: events.append(f'announce {active.version}'),
        publish_clouds=lambda: events.append('clouds'),
        expect=lambda header: None,
        wants_features=lambda: False,
    )
    monkeypatch.setattr(module, 'decode', lambda message, limits: np.zeros(message.size, np.uint8))
    worker = worker_of(dict.fromkeys(sizes, publisher), [], SimpleNamespace(process=process))
    worker._active = lambda: now[0]
    monkeypatch.setattr(worker._slots, 'take', take)
    worker._serve()
    assert events == [
        *['announce 1'] * 3,
        'take',
        *['clouds'] * 3,
        *['announce 2'] * 3,
        (2, ['left']),
        (2, ['front', 'rear']),
        'take',
    ]


def test_a_frame_is_expected_decoded_and_timed(monkeypatch):
    """Its clouds may need an earlier depth image, so its header is told before it is decoded."""
    times_s, events = iter([10.5, 10.75]), []
    monkeypatch.setattr(module.time, 'monotonic', lambda: next(times_s))

    def decode(message, limits):
        events.append('decode')
        return np.zeros((4, 4, 3), np.uint8)

    monkeypatch.setattr(module, 'decode', decode)
    publisher = publisher_of(None)
    publisher.expect = events.append
    worker = worker_of({'front': publisher}, [])
    frame = ReceivedFrame('front', SimpleNamespace(header='header'), 0.0, 0.0)
    kept, decoded = worker._decode(frame)
    assert events == ['header', 'decode']
    assert (kept, decoded.camera, decoded.header) == (frame, 'front', 'header')
    assert decoded.decode_ms == 250.0


@pytest.mark.parametrize('heard', [False, True])
@pytest.mark.parametrize('kept', [False, True])
def test_features_are_kept_for_subscribers_and_for_services(monkeypatch, heard, kept):
    monkeypatch.setattr(module, 'decode', lambda message, limits: np.zeros((4, 4, 3), np.uint8))
    publisher = publisher_of(None)
    publisher.wants_features = lambda: heard
    worker = worker_of({'front': publisher}, [], seen=object() if kept else None)
    frame = ReceivedFrame('front', SimpleNamespace(header=None), 0.0, 0.0)
    assert worker._decode(frame)[1].with_features == (heard or kept)


def test_services_get_a_frame_with_its_time_of_arrival():
    kept = []
    worker = worker_of(
        {'front': None},
        [],
        SimpleNamespace(
            process=lambda frames, active: ['outputs'], errors=SimpleNamespace(refuse=print)
        ),
        seen=SimpleNamespace(put=lambda outputs, arrived_s: kept.append((outputs, arrived_s))),
    )
    worker._process([(ReceivedFrame('front', None, arrived_s=3.0, taken_s=4.0), None)], None)
    assert kept == [('outputs', 3.0)]


def test_a_frame_that_cannot_be_decoded_costs_no_other(monkeypatch):
    def decode(message, limits):
        if message.damaged:
            raise ValueError('cut off')
        return np.zeros((4, 4, 3), np.uint8)

    def process(decoded, active):
        processed.extend(frame.camera for frame in decoded)
        return [ValueError('not looked at')]

    told, processed = [], []
    cameras = {'front': True, 'rear': False}
    frames = [
        ReceivedFrame(name, SimpleNamespace(header=None, damaged=damaged), 0.0, 0.0)
        for name, damaged in cameras.items()
    ]
    turns = iter([frames, None])
    monkeypatch.setattr(module, 'decode', decode)
    publisher = publisher_of(lambda active: None)
    worker = worker_of(
        dict.fromkeys(cameras, publisher),
        told,
        SimpleNamespace(process=process),
        lambda: active_of(1),
    )
    monkeypatch.setattr(worker._slots, 'take', lambda max_rates: next(turns))
    worker._serve()
    assert processed == ['rear']
    assert told[0] == 'front: frame dropped (1 so far): ValueError: cut off'
    assert worker._slots.count('front').rejected == 1


def test_a_model_that_hangs_is_noticed(monkeypatch):
    told, goes_on = queue.Queue(), threading.Event()

    def process(decoded, active):
        goes_on.wait(60.0)
        return [ValueError('not looked at')]

    monkeypatch.setattr(module, 'decode', lambda message, limits: np.zeros((4, 4, 3), np.uint8))
    worker = worker_of(
        {'front': publisher_of(lambda active: None)},
        SimpleNamespace(append=told.put),
        SimpleNamespace(process=process),
        lambda: active_of(1),
        limits=Limits(inference_timeout_s=0.01),
    )
    worker.start()
    worker._slots.put('front', SimpleNamespace(header=None))
    reason = told.get(timeout=60.0)
    assert reason == 'the model did not return within 0.01 s (inference_timeout_s)'
    goes_on.set()
    assert worker.stop(60.0)


def test_the_watchdog_ends_with_the_worker():
    worker = worker_of({}, [], active=lambda: active_of(1), limits=Limits(inference_timeout_s=60.0))
    worker.start()
    assert worker.stop(60.0)
    assert not worker._watchdog._thread.is_alive()


def test_to_stop_is_to_wait_for_the_frame_in_work(monkeypatch):
    began, goes_on = threading.Event(), threading.Event()

    def process(decoded, active):
        began.set()
        goes_on.wait(60.0)
        return [ValueError('not looked at')]

    monkeypatch.setattr(module, 'decode', lambda message, limits: np.zeros((4, 4, 3), np.uint8))
    publishers = {'front': publisher_of(lambda active: None)}
    worker = worker_of(publishers, [], SimpleNamespace(process=process), lambda: active_of(1))
    worker.start()
    worker._slots.put('front', SimpleNamespace(header=None))
    assert began.wait(60.0)
    assert not worker.stop(0.0)
    goes_on.set()
    assert worker.stop(60.0)  # though no frame comes any more


def test_what_a_vocabulary_message_has_is_announced_once():
    told = []
    publisher = SimpleNamespace(announce=told.append)
    worker = worker_of({'front': publisher}, [])
    states = [active_of(1), active_of(1), active_of(1, 0.5), active_of(2, 0.5)]
    for active in states:
        worker._announce(active)
    assert told == [states[0], states[2], states[3]]
