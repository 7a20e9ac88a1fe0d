# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Simulated time that stands, loops and lies: the node goes on, and says what happened once."""

import time

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from harness import RELIABLE, NodeProcess, array
from operating import MODEL, Operator, values
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from clip_dinoiser_ros.frames import images

JUMPED = 'the clock jumped back by'


class Simulation(Operator):
    """A peer that is also the clock."""

    def __init__(self):
        super().__init__()
        self._clock = self.node.create_publisher(Clock, '/clock', RELIABLE)

    def set_clock(self, seconds):
        """Set the clock and wait until the node stamps its diagnostics with it."""
        self._clock.publish(Clock(clock=Time(sec=seconds)))

        def there():
            if self.stamps[-1:] != [seconds]:
                self._clock.publish(Clock(clock=Time(sec=seconds)))  # it may have been lost
                return False
            return True

        self.until(there)


@pytest.fixture
def simulated(parameters, tmp_path):
    """An active node under simulated time, and the peer that simulates it."""
    quick = {'use_sim_time': True, 'diagnostics_period': 0.1, 'stale_after': 3.0}
    with NodeProcess({**parameters, **quick}, tmp_path) as node, Simulation() as peer:
        node.wait_for_log('active; waiting')
        yield node, peer
        assert node.end() == 0
        assert 'Traceback' not in node.log


def test_a_clock_that_nobody_publishes_is_named(simulated, image):
    _, peer = simulated
    model = peer.status(MODEL)
    assert values(model)['clock'] == 'simulated, nobody publishes /clock'
    peer.listen()
    peer.send(image, 1)  # images are segmented all the same
    peer.of_frame('labels', 1)
    peer.in_state('camera', 'active')
    peer.set_clock(100)
    peer.status(MODEL, lambda s: values(s)['clock'] == 'simulated')


def test_a_pause_is_no_fault_and_a_silence_is(simulated, image):
    _, peer = simulated
    peer.listen()
    peer.set_clock(100)
    peer.send(image, 99)
    peer.of_frame('labels', 99)
    status = peer.in_state('camera', 'active')
    assert 0.0 < float(values(status)['age_of_newest_frame_s']) < 1.0
    paused = time.monotonic()
    while time.monotonic() - paused < 4.0:  # longer than stale_after, by any other clock
        for statuses in peer.next_arrays(5):
            assert values(statuses['clip_dinoiser: camera'])['state'] == 'active'
    peer.set_clock(102)
    assert values(peer.status('camera'))['state'] == 'active'
    peer.set_clock(104)
    assert peer.in_state('camera', 'stale').message.startswith('stale: no frame for 4.0 s')


def test_a_loop_is_told_once_and_resets_the_cameras(simulated, image):
    node, peer = simulated
    peer.listen()
    peer.set_clock(100)
    peer.send(image, 100)
    peer.of_frame('labels', 100)
    peer.in_state('camera', 'active')
    start = len(peer.arrays)
    peer.set_clock(40)
    node.wait_for_log(f'{JUMPED} 60.0 s')
    after = peer.next_arrays(10)
    told = [a for a in peer.arrays[start:] if JUMPED in a[f'clip_dinoiser: {MODEL}'].message]
    assert len(told) == 1
    assert told[0][f'clip_dinoiser: {MODEL}'].level == b'\x00'
    assert node.log.count(JUMPED) == 1
    for statuses in after:
        assert values(statuses['clip_dinoiser: camera'])['state'] == 'active'
        assert values(statuses[f'clip_dinoiser: {MODEL}'])['clock_jumps_back'] == '1'
    sent = peer.send(image, 40)
    assert peer.of_frame('labels', 40).header == sent.header
    peer.set_clock(44)  # the old time is far away, and the silence is seen
    peer.in_state('camera', 'stale')
    peer.set_clock(43)  # again
    node.wait_for_log(JUMPED, 2)
    peer.in_state('camera', 'active')


@pytest.mark.parametrize('stamp', [Time(), Time(sec=9000)])
def test_stamps_of_zero_and_from_the_future_are_copied(simulated, image, stamp):
    _, peer = simulated
    peer.listen()
    peer.set_clock(100)
    peer.connect()
    sent = images.to_message(image, 'rgb8', Header(stamp=stamp, frame_id='odd'), Image)
    peer.send_message(sent)
    for output in ('labels', 'confidence', 'frame_info'):
        assert peer.wait(output, lambda m: m.header.frame_id == 'odd').header == sent.header
    status = peer.in_state('camera', 'active')
    assert values(status)['age_of_newest_frame_s'] == ('0.000' if stamp.sec else 'unknown')


def test_smoothing_over_dds(simulated, golden_segmenter, golden_prompts, image):
    node, peer = simulated
    other = np.ascontiguousarray(image[::-1] // 2 + image // 2)
    vocabulary = golden_segmenter.encode(golden_prompts)
    size = image.shape[:2]
    (old,), (new,) = (golden_segmenter.segment_patches([i], vocabulary) for i in (image, other))
    plain, mixed = new.enlarge(size).confidence, new.average(old, 0.6).enlarge(size).confidence
    assert np.abs(plain - mixed).max() > 0.05

    def confidence(picture, frame_id):
        header = Header(frame_id=frame_id)  # a stamp of zero, as all of them
        peer.send_message(images.to_message(picture, 'rgb8', header, Image))
        return array(peer.wait('confidence', lambda m: m.header.frame_id == frame_id))

    peer.listen()
    peer.set_clock(100)
    peer.connect()
    assert peer.set(confidence_encoding='32FC1', temporal_smoothing=0.6)[1].successful
    confidence(image, 'first')
    np.testing.assert_allclose(confidence(other, 'averaged'), mixed, atol=1e-4)
    peer.set_clock(50)
    node.wait_for_log(JUMPED)
    np.testing.assert_allclose(confidence(other, 'after the jump'), plain, atol=1e-4)
    confidence(image, 'again')
    assert peer.set(prompts=golden_prompts[::-1])[0].successful
    assert peer.set(prompts=golden_prompts)[0].successful
    np.testing.assert_allclose(confidence(other, 'new words'), plain, atol=1e-4)
    confidence(image, 'once more')
    assert peer.set(temporal_smoothing=0.0)[0].successful
    np.testing.assert_allclose(confidence(other, 'off'), plain, atol=1e-4)
    assert not peer.set(temporal_smoothing=1.0)[0].successful
