# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""States and figures of cameras and stages, by a clock of the test's own."""

import pytest

from clip_dinoiser_ros.node.frames import Counts
from clip_dinoiser_ros.node.health import (
    RATE_WINDOW_S,
    STAGE_WINDOW,
    STAGES,
    CameraHealth,
    Health,
    Level,
    Rates,
    Source,
    StageTimes,
)

TOPIC = '/camera/image_raw'
STALE_AFTER_S = 5.0


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class Camera:
    """A camera's health with everything that it is asked with."""

    def __init__(self):
        self.elapsed, self.steady = Clock(), Clock()
        self.health = CameraHealth(self.elapsed, self.steady)
        self.counts = {'received': 0, 'segmented': 0, 'replaced': 0, 'rejected': 0}

    def pass_time(self, seconds):
        self.elapsed.now += seconds
        self.steady.now += seconds

    def frame(self, stamp_s=1.0, outcome='segmented'):
        self.counts['received'] += 1
        self.health.arrived(stamp_s)
        if outcome == 'segmented':
            self.health.segmented()
        elif outcome == 'rejected':
            self.health.rejected('width is 0')
        if outcome:
            self.counts[outcome] += 1

    def status(self, source=Source(TOPIC, 1), now_s=1.0, max_rate_hz=0.0, others=()):  # noqa: B008
        counts = Counts(**self.counts)
        return self.health.status(now_s, counts, source, STALE_AFTER_S, max_rate_hz, others)

    def state(self, **kwargs):
        status = self.status(**kwargs)
        return status.values['state'], status.level


@pytest.mark.parametrize(
    ('source', 'level', 'reason'),
    [
        (Source(TOPIC, 0), Level.WARN, f'no publisher on {TOPIC}'),
        (Source(TOPIC, 2), Level.WARN, f'{TOPIC} has 2 publisher(s), but no frame came'),
        (Source(TOPIC, 1, 'QoS does not match'), Level.ERROR, 'QoS does not match'),
    ],
)
def test_waiting_says_what_for(source, level, reason):
    camera = Camera()
    camera.pass_time(1000.0)  # however long: nothing came that could be stale
    status = camera.status(source)
    assert (status.level, status.message) == (level, f'waiting: {reason}')
    assert status.values['age_of_newest_frame_s'] == 'unknown'


@pytest.mark.parametrize(
    ('outcome', 'state', 'level'),
    [
        (None, 'waiting', Level.WARN),
        ('segmented', 'active', Level.WARN),
        ('rejected', 'rejected', Level.ERROR),
    ],
)
def test_depth_of_another_type_is_part_of_every_state(outcome, state, level):
    camera = Camera()
    if outcome:
        camera.frame(outcome=outcome)
    status = camera.status(others=[Source('/depth', 1, 'another type'), Source('/info', 0)])
    assert (status.values['state'], status.level) == (state, level)
    assert status.message.endswith('another type')
    assert status.message.startswith(f'{state}: ')


def test_active_until_no_frame_comes_and_again_when_one_does():
    camera = Camera()
    camera.frame()
    assert camera.state() == ('active', Level.OK)
    camera.pass_time(STALE_AFTER_S)
    assert camera.state() == ('active', Level.OK)
    camera.pass_time(0.1)
    assert camera.state() == ('stale', Level.STALE)
    assert camera.status().message == 'stale: no frame for 5.1 s'
    gone = camera.status(Source(TOPIC, 0))
    assert gone.message == f'stale: no frame for 5.1 s, no publisher on {TOPIC}'
    camera.frame(outcome=None)
    assert camera.state() == ('active', Level.OK)


def test_rejected_while_the_newest_frame_was():
    camera = Camera()
    camera.frame(outcome='rejected')
    status = camera.status()
    assert (status.level, status.message) == (Level.ERROR, 'rejected: width is 0')
    assert status.values['frames_rejected'] == '1'
    camera.pass_time(1.0)
    camera.frame()
    assert camera.state() == ('active', Level.WARN)  # one of the last two
    assert camera.status().message == 'active: some frames are rejected: width is 0'
    for _ in range(8):
        camera.pass_time(1.0)
        camera.frame()
        camera.status()
    assert camera.state() == ('active', Level.OK)
    assert camera.status().values['last_reject_reason'] == 'width is 0'


def test_stale_when_frames_come_and_none_comes_out():
    camera = Camera()
    for _ in range(7):
        camera.frame(outcome=None)
        camera.pass_time(1.0)
    assert camera.state() == ('stale', Level.STALE)
    assert 'none was segmented for 7.0 s' in camera.status().message
    assert camera.state(max_rate_hz=0.25) == ('active', Level.OK)  # it is not its turn yet
    camera.health.segmented()
    assert camera.state() == ('active', Level.OK)
    camera.pass_time(100.0)
    camera.frame(outcome=None)  # after a silence: the next one has had no time yet
    assert camera.state() == ('active', Level.OK)


def test_a_paused_simulation_ages_nothing():
    camera = Camera()
    camera.frame(stamp_s=40.0)
    camera.steady.now += 3600.0
    assert camera.state() == ('active', Level.OK)
    assert camera.status(now_s=40.0).values['age_of_newest_frame_s'] == '0.000'


def test_a_clock_that_jumps_back_is_no_stall_and_hides_none():
    camera = Camera()
    camera.frame(stamp_s=100.0)
    camera.elapsed.now -= 60.0
    camera.health.reset()
    assert camera.state() == ('active', Level.OK)
    assert camera.status(now_s=40.0).values['age_of_newest_frame_s'] == 'unknown'
    camera.pass_time(STALE_AFTER_S + 1)
    assert camera.state() == ('stale', Level.STALE)  # not only when the old time is reached again


def test_a_reset_leaves_a_camera_waiting_that_waits():
    camera = Camera()
    camera.health.reset()
    assert camera.state() == ('waiting', Level.WARN)


@pytest.mark.parametrize(
    ('stamp_s', 'now_s', 'age'),
    [(39.5, 40.0, '0.500'), (50.0, 40.0, '0.000'), (0.0, 40.0, 'unknown')],
)
def test_the_age_is_never_negative_and_unknown_without_a_stamp(stamp_s, now_s, age):
    camera = Camera()
    camera.frame(stamp_s)
    assert camera.status(now_s=now_s).values['age_of_newest_frame_s'] == age
    assert camera.state(now_s=now_s) == ('active', Level.OK)  # stamps decide over nothing


def test_rates_of_the_last_seconds():
    camera = Camera()
    for _ in range(100):
        camera.frame()
        camera.frame(outcome='replaced')
        camera.pass_time(0.1)
        values = camera.status().values
    assert (values['rate_in_hz'], values['rate_out_hz']) == ('20.00', '10.00')
    camera.pass_time(RATE_WINDOW_S)
    camera.status()
    camera.pass_time(RATE_WINDOW_S)
    assert camera.status().values['rate_in_hz'] == '0.00'


def test_rates_are_bounded_in_memory_and_begin_anew():
    rates = Rates(0.0, [0])
    for second in range(1, 1000):
        assert rates.per_second(second, [3 * second]) == pytest.approx([3.0])
    assert len(rates._samples) <= RATE_WINDOW_S + 2
    rates.reset()
    assert rates.per_second(999.0, [2997]) == [0.0]
    assert rates.per_second(1001.0, [2997 + 20]) == [10.0]


def test_stage_times_of_the_last_frames():
    stages = StageTimes()
    assert stages.values() == {}
    for frame in range(1, 1001):
        stages.add((1.0, 2.0, float(frame), 3.0, 4.0))
    values = stages.values()
    assert list(values) == [f'{s}_ms_{n}' for s in STAGES for n in ('median', 'p95')]
    window = range(1001 - STAGE_WINDOW, 1001)
    assert float(values['segment_ms_median']) == pytest.approx(sum(window) / len(window))
    assert float(values['segment_ms_p95']) == pytest.approx(1000 - 0.05 * STAGE_WINDOW, abs=0.1)
    assert values['wait_ms_p95'] == '1.0'


def test_all_cameras_are_reset():
    clock = Clock()
    health = Health(['front', 'rear'], clock)
    health.cameras['front'].arrived(3.0)
    clock.now -= 50.0
    health.reset()
    clock.now += STALE_AFTER_S - 1
    source = Source(TOPIC, 1)
    states = [c.status(0.0, Counts(), source, STALE_AFTER_S) for c in health.cameras.values()]
    assert [status.values['state'] for status in states] == ['active', 'waiting']
    assert states[0].values['age_of_newest_frame_s'] == 'unknown'  # of the time before
