# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

import threading

from hypothesis import given
from hypothesis import strategies as st

from clip_dinoiser_ros.node.frames import FrameSlots


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def test_the_newest_frame_of_every_camera_is_taken_once():
    clock = Clock()
    slots = FrameSlots(['front', 'rear'], clock)
    slots.put('front', 'old')
    clock.now += 1
    slots.put('front', 'new')
    slots.put('rear', 'only')
    clock.now += 1
    frames = slots.take()
    assert [(f.camera, f.message, f.arrived_s, f.taken_s) for f in frames] == [
        ('front', 'new', 101.0, 102.0),
        ('rear', 'only', 101.0, 102.0),
    ]
    slots.wake()
    assert slots.take() == []
    counts = slots.count('front', segmented=1)
    assert (counts.received, counts.segmented, counts.replaced, counts.rejected) == (2, 1, 1, 0)
    assert slots.count('rear', rejected=1).rejected == 1


def test_take_waits_for_a_frame_and_ends_when_closed():
    slots = FrameSlots(['camera'])
    taken = []
    thread = threading.Thread(
        target=lambda: taken.extend([slots.take(), slots.take({'camera': 1e-3}), slots.take()])
    )
    thread.start()
    slots.put('camera', 1)
    while not taken and thread.is_alive() and slots._slots['camera'].message is not None:
        pass
    slots.put('camera', 2)
    slots.close()
    thread.join(10)
    assert not thread.is_alive()
    assert [f.message for f in taken[0]] == [1]
    assert taken[-1] is None


@given(
    st.lists(st.floats(0.001, 0.3), min_size=1, max_size=200),
    st.sampled_from([1.0, 4.0, 10.0, 30.0]),
)
def test_max_rate_is_kept_and_reached(intervals, rate):
    """The worker asks whenever a frame comes; a frame that is not due stays, the newest wins."""
    clock = Clock()
    slots = FrameSlots(['camera'], clock)
    taken = []
    for index, interval in enumerate(intervals):
        clock.now += interval
        slots.put('camera', index)
        slots.wake()  # return at once when nothing is due
        for frame in slots.take({'camera': rate}):
            taken.append(clock.now)
            assert frame.message == index
    for first in range(len(taken)):
        for last in range(first + 1, len(taken)):
            assert last - first <= (taken[last] - taken[first]) * rate + 1 + 1e-6
    counts = slots.count('camera')
    waiting = slots._slots['camera'].message is not None
    assert counts.received == len(intervals) == len(taken) + counts.replaced + waiting
    if max(intervals) * rate < 0.5:  # a fast camera: the mean rate comes close to the limit
        assert len(taken) >= (sum(intervals) - intervals[0]) * rate * 0.6


def test_a_lower_limit_does_not_bind_after_it_was_lifted():
    clock = Clock()
    slots = FrameSlots(['camera'], clock)
    slots.put('camera', 1)
    assert slots.take({'camera': 0.001})
    clock.now += 1
    slots.put('camera', 2)
    slots.wake()
    assert slots.take({'camera': 0.001}) == []
    assert [f.message for f in slots.take({'camera': 10.0})] == [2]


def test_a_camera_that_floods_takes_one_place_a_turn():
    slots = FrameSlots(['flood', 'calm', 'quiet'], Clock())
    for turn in range(20):
        for index in range(100):
            slots.put('flood', index)
        slots.put('calm', turn)
        if turn == 7:
            slots.put('quiet', turn)
        taken = {frame.camera: frame.message for frame in slots.take()}
        assert taken == {'flood': 99, 'calm': turn} | ({'quiet': 7} if turn == 7 else {})
    assert slots.count('flood').replaced == 20 * 99
    assert slots.count('calm').replaced == 0


def test_a_limit_holds_up_no_other_camera():
    clock = Clock()
    slots = FrameSlots(['slow', 'fast'], clock)
    taken = []
    for index in range(20):
        clock.now += 0.125
        slots.put('slow', index)
        slots.put('fast', index)
        taken += [(f.camera, f.message) for f in slots.take({'slow': 1.0, 'fast': 0.0})]
    assert [m for c, m in taken if c == 'fast'] == list(range(20))
    assert [m for c, m in taken if c == 'slow'] == [0, 8, 16]


def test_frames_and_other_work_take_turns():
    """Both want every turn."""
    slots, turns = FrameSlots(['camera']), []

    def encode():
        for _ in range(50):
            with slots.between_frames():
                turns.append('other')

    thread = threading.Thread(target=encode)
    slots.put('camera', 'first')
    slots.take()
    thread.start()
    while thread.is_alive():
        while thread.is_alive() and not slots._others_wait:
            pass  # so that it does want its turn
        slots.put('camera', 'next')
        turns += [frame.message for frame in slots.take()]
    thread.join()
    assert turns[:99] == ['other', 'next'] * 49 + ['other']


def test_several_others_enter_one_at_a_time_in_their_order():
    slots, entered, inside = FrameSlots(['camera']), [], []

    def work(name):
        with slots.between_frames():
            inside.append(name)
            entered.append((name, len(inside)))
            inside.remove(name)

    threads = []
    with slots.between_frames():
        for name in range(5):
            threads.append(threading.Thread(target=work, args=(name,)))
            threads[-1].start()
            while len(slots._others_wait) <= name:
                pass
        assert not entered
    for thread in threads:
        thread.join(10)
    assert entered == [(name, 1) for name in range(5)]


def test_other_work_waits_for_no_frame_that_is_not_due():
    clock = Clock()
    slots = FrameSlots(['camera'], clock)
    slots.put('camera', 1)
    assert [frame.message for frame in slots.take({'camera': 1.0})] == [1]
    slots.wake()
    assert slots.take({'camera': 1.0}) == []  # the frame is done
    slots.put('camera', 2)  # due in a second, and the clock stands
    for _ in range(2):
        with slots.between_frames():
            slots.wake()
            assert slots.take({'camera': 1.0}) == []
    clock.now += 1.0
    assert [frame.message for frame in slots.take({'camera': 1.0})] == [2]


def test_no_frame_is_taken_while_other_work_is_done():
    slots = FrameSlots(['camera'])
    with slots.between_frames():
        slots.put('camera', 1)
        slots.wake()  # what needs no model goes on
        assert slots.take() == []
    assert [frame.message for frame in slots.take()] == [1]
    slots.close()
    with slots.between_frames():  # although the frame is still out
        assert slots.take() is None
