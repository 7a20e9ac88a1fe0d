# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Which depth image belongs to a frame, in whatever order they come, and how many are held."""

import itertools
import random
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clip_dinoiser_ros.frames.images import stamp_ns
from clip_dinoiser_ros.node.depth import MAX_EXPECTED, RING_LENGTH, DepthRing

MS = 10**6


def depth(stamp_ms):
    seconds, milliseconds = divmod(stamp_ms, 1000)
    stamp = SimpleNamespace(sec=seconds, nanosec=milliseconds * MS)
    return SimpleNamespace(header=SimpleNamespace(stamp=stamp))


def ring_of(*stamps_ms, **kwargs):
    ring = DepthRing(**kwargs)
    for stamp_ms in stamps_ms:
        ring.put(depth(stamp_ms))
    return ring


def nearest_ms(ring, stamp_ms):
    """The stamp of the depth nearest to a frame, and the gap between them."""
    found = ring.nearest(stamp_ms * MS)
    return None if found is None else (stamp_ns(found[0].header) // MS, found[1] // MS)


def test_without_depth_there_is_none():
    assert nearest_ms(DepthRing(), 5) is None


@given(st.lists(st.integers(5000, 5900), min_size=1, max_size=16, unique=True), st.data())
@settings(max_examples=60, deadline=None)
def test_the_nearest_is_found_in_any_order(stamps, data):
    wanted = data.draw(st.integers(5000, 5900))
    ring = ring_of(*stamps)
    found, gap = nearest_ms(ring, wanted)
    assert gap == abs(found - wanted) == min(abs(stamp - wanted) for stamp in stamps)
    assert ring.is_settled(wanted * MS) == (max(stamps) >= wanted)


def test_a_frame_keeps_its_partner_however_long_the_model_takes():
    """The depth comes 7 ms after its frame was taken, then a hundred others."""
    ring = ring_of(967)
    ring.expect(1000 * MS)
    assert nearest_ms(ring, 1000) == (967, 33)
    for stamp_ms in range(1000, 4300, 33):
        ring.put(depth(stamp_ms))
    assert nearest_ms(ring, 1000) == (1000, 0)
    assert nearest_ms(ring, 1040) == (1000, 40)  # not expected, so its own has gone


def test_number_of_kept_depth_images_is_bounded():
    ring = DepthRing()
    order = random.Random(1)
    stamps = list(range(0, 300_000, 33))
    for start in range(0, len(stamps), 8):  # out of order within a quarter of a second
        chunk = stamps[start : start + 8]
        order.shuffle(chunk)
        for stamp_ms in chunk:
            ring.put(depth(stamp_ms))
        ring.expect((chunk[0] - 5) * MS)
        assert len(ring) <= RING_LENGTH + MAX_EXPECTED
    assert len(ring) >= RING_LENGTH


def test_a_clock_set_back_clears_what_came_before():
    ring = ring_of(50_000, 50_033)
    ring.expect(50_010 * MS)
    ring.put(depth(49_500))  # late, within a second
    assert len(ring) == 3
    ring.put(depth(100))
    assert len(ring) == 1
    assert nearest_ms(ring, 50_010) == (100, 49_910)
    assert not ring.is_settled(200 * MS)
    ring.put(depth(80_000))  # forward is no fault
    assert len(ring) == 2


def test_clear_forgets_all_depth():
    ring = ring_of(1, 2)
    ring.expect(1)
    ring.clear()
    assert len(ring) == 0
    assert not ring.is_settled(0)


@pytest.mark.parametrize('order', list(itertools.permutations([900, 1000, 1100])))
def test_the_order_of_depth_around_a_frame_does_not_matter(order):
    ring = DepthRing(length=1)
    ring.expect(1004 * MS)
    for stamp_ms in order:
        ring.put(depth(stamp_ms))
    assert nearest_ms(ring, 1004) == (1000, 4)
