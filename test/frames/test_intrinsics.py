# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""A CameraInfo scaled: where a point is seen, with region of interest and binning."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clip_dinoiser_ros.frames.intrinsics import (
    CameraInfoError,
    Intrinsics,
    matrices,
    same_proportions,
)

K = np.array([[600.0, 0.0, 321.5], [0.0, 610.0, 233.0], [0.0, 0.0, 1.0]])
P = np.array([[580.0, 0.0, 318.0, -40.0], [0.0, 585.0, 236.5, 3.0], [0.0, 0.0, 1.0, 0.0]])


def camera_info(size=(480, 640), k=K, p=P, roi=(0, 0, 0, 0), binning=(0, 0)):
    """What a message has; `roi` is (y, x, height, width), `binning` (y, x)."""
    return SimpleNamespace(
        height=size[0],
        width=size[1],
        k=np.ravel(k),
        p=np.ravel(p),
        roi=SimpleNamespace(y_offset=roi[0], x_offset=roi[1], height=roi[2], width=roi[3]),
        binning_y=binning[0],
        binning_x=binning[1],
    )


def project(matrix, point):
    """The pixel (u, v) of a point in space."""
    u, v, w = matrix @ (point if matrix.shape[1] == 3 else [*point, 1.0])
    return np.array([u / w, v / w])


def test_the_same_size_changes_nothing():
    found = matrices(camera_info(), (480, 640))
    np.testing.assert_allclose(found.k, K)
    np.testing.assert_allclose(found.p, P)


@given(st.integers(1, 4), st.floats(-1, 1), st.floats(-1, 1), st.floats(0.5, 20))
@settings(max_examples=50, deadline=None)
def test_a_point_is_seen_at_the_same_place_of_the_image(divisor, x, y, z):
    """A fraction of the way from edge to edge; the edges are half a pixel outside the centres."""
    small = matrices(camera_info(), (480 // divisor, 640 // divisor))
    for before, after in ((K, small.k), (P, small.p)):
        place = (project(before, (x, y, z)) + 0.5) / (640, 480)
        np.testing.assert_allclose((project(after, (x, y, z)) + 0.5) / small.size[::-1], place)


def test_each_side_has_its_own_scale():
    """A third of 640 is no whole number of pixels."""
    found = matrices(camera_info(), (160, 213)).rectified()
    assert found == Intrinsics(
        width=213,
        height=160,
        fx=pytest.approx(580 * 213 / 640),
        fy=pytest.approx(585 / 3),
        cx=pytest.approx(318.5 * 213 / 640 - 0.5),
        cy=pytest.approx(237 / 3 - 0.5),
    )


def test_region_of_interest_and_binning():
    """Rows 100..340 and columns 50..370 are read, two by two: an image of 160x120."""
    point = (0.13, -0.07, 2.0)
    u, v = project(P, point)
    found = matrices(camera_info(roi=(100, 50, 240, 320), binning=(2, 2)), (120, 160))
    # sensor pixels 50 and 51 are column 0: its centre is at 50.5
    expected = ((u - 50.5) / 2, (v - 100.5) / 2)
    np.testing.assert_allclose(project(found.p, point), expected)


def test_binning_leaves_the_odd_pixel_over():
    found = matrices(camera_info(size=(481, 641), binning=(2, 2)), (240, 320))
    np.testing.assert_allclose(project(found.k, (0, 0, 1)), ((321.5 - 0.5) / 2, (233 - 0.5) / 2))


@pytest.mark.parametrize('p', [np.zeros((3, 4)), np.full((3, 4), np.nan)])
def test_without_p_the_image_is_taken_as_the_lens_makes_it(p):
    found = matrices(camera_info(p=p), (480, 640))
    np.testing.assert_allclose(found.p, np.hstack([K, np.zeros((3, 1))]))
    assert found.rectified() == Intrinsics(640, 480, 600.0, 610.0, 321.5, 233.0)


@pytest.mark.parametrize('k', [np.zeros((3, 3)), -K, K * np.nan])
def test_p_alone_is_enough(k):
    """As of a driver of rectified images."""
    found = matrices(camera_info(k=k), (240, 320))
    np.testing.assert_allclose(found.p, matrices(camera_info(), (240, 320)).p)
    np.testing.assert_allclose(found.k, found.p[:, :3])


@pytest.mark.parametrize('k', [np.zeros((3, 3)), -K, K * np.nan])
def test_an_uncalibrated_camera_is_refused(k):
    with pytest.raises(CameraInfoError, match=r'not calibrated: .* in k, 0 and 0 in p'):
        matrices(camera_info(k=k, p=np.zeros((3, 4))), (480, 640))


@pytest.mark.parametrize('size', [(480, 480), (720, 1280), (640, 480)])
def test_other_proportions_are_refused(size):
    height, width = size
    with pytest.raises(CameraInfoError, match=f'640x480, but the image is {width}x{height}'):
        matrices(camera_info(), size)


@pytest.mark.parametrize('scale', [1, 2, 3])
@pytest.mark.parametrize('binning', [0, 2])
@pytest.mark.parametrize('filled', [(0, 0), (480, 0), (0, 640)])
def test_a_size_that_is_not_filled_in_is_that_of_the_image(scale, binning, filled):
    """Not that of the labels, which `output_scale` makes smaller."""
    image = [side // max(1, binning) for side in (480, 640)]
    labels = image[0] // scale, image[1] // scale
    found = matrices(camera_info(filled, binning=(binning, binning)), labels, image)
    expected = matrices(camera_info(binning=(binning, binning)), labels)
    np.testing.assert_allclose(found.k, expected.k)
    np.testing.assert_allclose(found.p, expected.p)


def test_without_a_size_the_image_has_that_of_the_labels():
    np.testing.assert_allclose(matrices(camera_info((0, 0)), (480, 640)).p, P)
    region = camera_info((0, 0), roi=(100, 50, 240, 320))
    np.testing.assert_allclose(matrices(region, (240, 320)).k[:2, 2], (271.5, 133))


@given(st.integers(16, 4000), st.integers(16, 4000), st.floats(0.01, 1.0))
@settings(max_examples=200, deadline=None)
def test_a_rounded_size_keeps_its_proportions(height, width, scale):
    small = max(1, round(height * scale)), max(1, round(width * scale))
    assert same_proportions((height, width), small)
    assert same_proportions(small, (height, width))
