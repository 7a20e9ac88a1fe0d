# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Numbers that objects keep from frame to frame."""

import numpy as np
import pytest

from clip_dinoiser_ros.core.objects import find_objects
from clip_dinoiser_ros.core.smoothing import MAX_GAP_NS
from clip_dinoiser_ros.core.tracking import Tracking

FRAME_NS = 10**8
CLASSES = {1: 'ball', 2: 'box'}


def image(*squares, size=(60, 80)):
    """Draw squares: (label, left, top, side)."""
    labels = np.zeros(size, np.uint8)
    for label, left, top, side in squares:
        labels[top : top + side, left : left + side] = label
    return labels


class Camera:
    """Follows the objects of label images; gives {(label, left, top): number}."""

    def __init__(self, name='front', tracking=None):
        self.name, self.tracking, self.stamp_ns = name, tracking or Tracking(), 0

    def see(self, labels, after_ns=FRAME_NS, names=CLASSES):
        self.stamp_ns += after_ns
        found = find_objects(labels, np.ones(labels.shape, np.float32), list(names))
        described = [names[one.label] for one in found.found]
        numbers = self.tracking.follow(self.name, self.stamp_ns, found, described)
        assert len(set(numbers)) == len(numbers)
        return {(one.label, *one.box[:2]): n for one, n in zip(found.found, numbers, strict=True)}


def test_objects_that_move_keep_their_numbers():
    camera = Camera()
    # they start in the order of their size; the second grows past the first
    assert camera.see(image((1, 0, 0, 12), (2, 40, 0, 10))) == {(1, 0, 0): 1, (2, 40, 0): 2}
    for step in range(1, 20):
        seen = camera.see(image((1, 2 * step, 30, 12 - step // 4), (2, 40, step, 10 + step)))
        assert seen[(2, 40, step)] == 2
        if step > 1:  # the ball has jumped in the first step
            assert seen[(1, 2 * step, 30)] == 3


def test_a_number_is_not_used_again():
    camera = Camera()
    camera.see(image((1, 0, 0, 10), (1, 40, 0, 10)))
    assert camera.see(image((1, 0, 0, 10))) == {(1, 0, 0): 1}
    assert camera.see(image((1, 0, 0, 10), (1, 40, 0, 10))) == {(1, 0, 0): 1, (1, 40, 0): 3}


def test_the_class_must_stay_whatever_its_label_is():
    camera = Camera()
    assert camera.see(image((1, 0, 0, 10))) == {(1, 0, 0): 1}
    assert camera.see(image((2, 0, 0, 10))) == {(2, 0, 0): 2}
    assert camera.see(image((1, 0, 0, 10)), names={1: 'box'}) == {(1, 0, 0): 2}


def test_the_larger_overlap_wins():
    """Two parts of what was one object: the number goes to the part that has more of it."""
    camera = Camera()
    camera.see(image((1, 0, 0, 20)))
    parts = image((1, 0, 0, 20))
    parts[:, 12] = 0
    assert camera.see(parts) == {(1, 0, 0): 1, (1, 13, 0): 2}


def test_little_overlap_is_another_object():
    # 10x10 moved by 6 columns: 40 / 160 pixels in common; by 5: 50 / 150
    for move, number in ((5, 1), (6, 2)):
        camera = Camera()
        camera.see(image((1, 0, 0, 10)))
        assert camera.see(image((1, move, 0, 10))) == {(1, move, 0): number}


@pytest.mark.parametrize(
    ('change', 'kept'),
    [
        ({'after_ns': 0}, True),
        ({'after_ns': MAX_GAP_NS}, True),
        ({'after_ns': MAX_GAP_NS + 1}, False),
        ({'after_ns': -1}, False),
        ({'labels': image((1, 0, 0, 10), size=(60, 81))}, False),
    ],
)
def test_changes_that_keep_or_restart_the_ids(change, kept):
    camera = Camera()
    camera.see(image((1, 0, 0, 10)))
    change = {'labels': image((1, 0, 0, 10)), **change}
    assert camera.see(**change) == {(1, 0, 0): 1 if kept else 2}


def test_cameras_are_apart_and_a_reset_forgets():
    tracking = Tracking()
    front, rear = Camera('front', tracking), Camera('rear', tracking)
    front.see(image((1, 0, 0, 10), (1, 40, 0, 10)))
    assert rear.see(image((1, 40, 0, 10))) == {(1, 40, 0): 1}
    assert front.see(image((1, 40, 0, 10))) == {(1, 40, 0): 2}
    tracking.reset()
    assert front.see(image((1, 40, 0, 10))) == {(1, 40, 0): 3}
