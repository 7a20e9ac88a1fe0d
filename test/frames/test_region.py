# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Regions: what lies inside, by a slow reference; what is refused, and why."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from clip_dinoiser_ros.frames.region import MAX_CORNERS, RegionError, check_region, region_mask

FRACTION = st.floats(0.0, 1.0).map(lambda value: round(value, 3))


@pytest.mark.parametrize('region', [(), (0.0, 0.0, 1.0, 1.0)])
def test_everything(region):
    check_region(region)
    assert region_mask(region, (3, 4)) is None


def test_a_rectangle():
    region = (0.25, 0.5, 0.75, 1.0)
    check_region(region)
    expected = np.zeros((4, 8), bool)
    expected[2:, 2:6] = True
    np.testing.assert_array_equal(region_mask(region, (4, 8)), expected)


def test_a_polygon_around_everything_is_everything():
    assert region_mask((0.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0), (5, 7)).all()


def test_a_triangle_is_half_of_the_image():
    mask = region_mask((0.0, 0.0, 1.0, 1.0, 0.0, 1.0), (100, 100))
    rows, columns = np.indices(mask.shape)
    np.testing.assert_array_equal(mask[rows != columns], (rows > columns)[rows != columns])


def winding(corners, x, y):
    """The angle that the corners of a polygon turn around a point, in turns."""
    angles = [math.atan2(cy - y, cx - x) for cx, cy in corners]
    steps = [b - a for a, b in zip(angles, angles[1:] + angles[:1], strict=True)]
    return round(sum((step + math.pi) % (2 * math.pi) - math.pi for step in steps) / (2 * math.pi))


def on_edge(corners, x, y):
    """Whether a point lies on an edge, where either answer is right."""
    for (ax, ay), (bx, by) in zip(corners, corners[1:] + corners[:1], strict=True):
        cross = (bx - ax) * (y - ay) - (by - ay) * (x - ax)
        if abs(cross) < 1e-9:
            return True
    return False


@given(st.lists(st.tuples(FRACTION, FRACTION), min_size=3, max_size=7))
@settings(max_examples=80, deadline=None)
def test_a_polygon_against_the_angles_around_each_pixel(corners):
    region = tuple(value for corner in corners for value in corner)
    try:
        check_region(region)
    except RegionError:
        assume(False)
    mask = region_mask(region, (7, 9))
    for row in range(7):
        for column in range(9):
            x, y = (column + 0.5) / 9, (row + 0.5) / 7
            if not on_edge(corners, x, y):
                assert mask[row, column] == winding(corners, x, y) % 2


def test_the_mask_is_shared_and_cannot_be_changed():
    region = (0.1, 0.1, 0.9, 0.9)
    mask = region_mask(region, (10, 10))
    assert region_mask(region, (10, 10)) is mask
    with pytest.raises(ValueError, match='read-only'):
        mask[0, 0] = True


@pytest.mark.parametrize(
    ('region', 'words'),
    [
        ((0.1,), '1 numbers; give x0, y0, x1, y1 of a rectangle'),
        ((0.1, 0.2), '2 numbers'),
        ((0.1, 0.2, 0.3, 0.4, 0.5), '5 numbers'),
        ((0.5,) * (2 * MAX_CORNERS + 2), f'3 to {MAX_CORNERS} corners'),
        ((0.0, 0.0, 640.0, 480.0), '[0, 0, 640, 480]: every number is a fraction'),
        ((0.0, 0.0, 0.5, float('nan')), 'nan]: every number is a fraction'),
        ((-0.1, 0.0, 0.5, 0.5), 'must be between 0 and 1'),
        ((0.5, 0.0, 0.2, 1.0), 'upper left corner of a rectangle must come first'),
        ((0.5, 0.0, 0.5, 1.0), 'x0 < x1'),
        ((0.0, 0.0, 0.5, 0.5, 1.0, 1.0), '[0, 0, 0.5, 0.5, 1, 1] has no area'),
    ],
)
def test_unusable_regions_are_refused(region, words):
    with pytest.raises(RegionError) as caught:
        check_region(region)
    assert words in str(caught.value)
