# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Clouds of the generated world: every point where the truth has it, with what the pixel shows."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clip_dinoiser_ros.frames.cloud import make_cloud, point_type, sample_nearest
from clip_dinoiser_ros.frames.intrinsics import Intrinsics
from clip_dinoiser_ros.world.classes import CLASSES
from clip_dinoiser_ros.world.scenes import scene

GROUND = [CLASSES.index(name) for name in ('floor', 'road', 'grass')]


@cache
def picture(width=320, height=240):
    return scene(5, width, height)


def cloud_of(shown, compact=False, labels=None, depth=None):
    """The cloud of a scene, with a confidence that tells every pixel from its neighbours."""
    labels = shown.labels if labels is None else labels
    depth = np.where(np.isfinite(shown.depth), shown.depth, np.nan) if depth is None else depth
    confidence = np.linspace(0, 1, labels.size, dtype=np.float32).reshape(labels.shape)
    points = make_cloud(shown.image, labels, confidence, depth, shown.intrinsics, compact)
    return points, confidence


def assert_seen_from(points, camera, rows, columns, tolerance):
    """Points, projected by the pinhole camera, fall on the pixels at rows and columns."""
    u = camera.fx * points['x'] / points['z'] + camera.cx
    v = camera.fy * points['y'] / points['z'] + camera.cy
    assert np.abs(u - columns).max() < tolerance
    assert np.abs(v - rows).max() < tolerance


def colours(points):
    return np.stack([points['rgb'] >> shift & 255 for shift in (16, 8, 0)], axis=-1)


def test_every_point_is_where_its_pixel_looks():
    shown = picture()
    points, confidence = cloud_of(shown)
    assert points.shape == (240, 320)
    measured = np.isfinite(shown.depth)
    assert 0.3 < measured.mean() < 1.0, 'the scene should have a sky'
    for axis in 'xyz':
        np.testing.assert_array_equal(np.isfinite(points[axis]), measured)
    np.testing.assert_array_equal(points['z'][measured], shown.depth[measured])
    assert_seen_from(points[measured], shown.intrinsics, *np.nonzero(measured), 1e-3)
    # and what it shows is that of the pixel, also where there is no depth
    np.testing.assert_array_equal(points['label'], shown.labels)
    np.testing.assert_array_equal(points['confidence'], confidence)
    np.testing.assert_array_equal(colours(points), shown.image)
    assert np.isfinite(points['rgb'].view(np.float32)).all()  # or readers would take it for NaN


def test_points_lead_into_the_world():
    """The optical frame: z forward, x right, y down. The ground is where the world has it."""
    shown = picture()
    points, _ = cloud_of(shown, compact=True)
    ground = points[np.isin(points['label'], GROUND)]
    local = np.stack([ground[axis] for axis in 'xyz'], axis=-1)
    world = local @ shown.pose.rotation() + shown.pose.position()
    assert len(world) > 5000
    assert np.abs(world[:, 2]).max() < 0.05


def test_compact_leaves_out_what_was_not_measured():
    shown = picture()
    organised, _ = cloud_of(shown)
    compact, _ = cloud_of(shown, compact=True)
    measured = np.isfinite(shown.depth)
    assert compact.shape == (measured.sum(),)
    assert (compact == organised[measured]).all()


@pytest.mark.parametrize('compact', [False, True])
def test_cloud_without_any_depth(compact):
    shown = picture()
    points, _ = cloud_of(shown, compact, depth=np.full((240, 320), np.nan, np.float32))
    assert points.shape == ((0,) if compact else (240, 320))
    assert np.isnan(points['x']).all()


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_labels_keep_their_type(dtype):
    labels = picture().labels.astype(dtype)
    if dtype == np.uint16:
        labels = labels + dtype(60000)
    points, _ = cloud_of(picture(), labels=labels)
    assert points.dtype == point_type(dtype)
    assert points.dtype.itemsize == 24
    assert points['label'].dtype == dtype
    np.testing.assert_array_equal(points['label'], labels)


@pytest.mark.parametrize('size', [(120, 160), (480, 640), (60, 80)])
def test_depth_of_another_size(size):
    """The camera of half or double the depth image; depth is that of the nearest pixel."""
    shown, other = picture(), picture(size[1], size[0])
    points, _ = cloud_of(shown, depth=np.where(np.isfinite(other.depth), other.depth, np.nan))
    assert points.shape == (240, 320)
    scale = size[0] / 240
    rows = np.floor((np.arange(240) + 0.5) * scale).astype(int)
    columns = np.floor((np.arange(320) + 0.5) * scale).astype(int)
    nearest = other.depth[rows][:, columns]
    measured = np.isfinite(nearest)
    np.testing.assert_array_equal(points['z'][measured], nearest[measured])
    assert np.isnan(points['z'][~measured]).all()
    assert_seen_from(points[measured], shown.intrinsics, *np.nonzero(measured), 1e-3)


@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 12), st.integers(1, 12))
@settings(max_examples=100, deadline=None)
def test_the_nearest_is_sampled(h, w, height, width):
    pixels = np.arange(h * w, dtype=np.float32).reshape(h, w)
    sampled = sample_nearest(pixels, (height, width))
    assert sampled.shape == (height, width)
    for row in range(height):
        for column in range(width):
            v, u = divmod(int(sampled[row, column]), w)
            # the centre of the pixel falls into the pixel that was taken, edges included
            assert v <= (row + 0.5) / height * h + 1e-9
            assert (row + 0.5) / height * h <= v + 1 + 1e-9
            assert u <= (column + 0.5) / width * w + 1e-9
            assert (column + 0.5) / width * w <= u + 1 + 1e-9


def test_one_pixel():
    camera = Intrinsics(1, 1, 100.0, 100.0, -50.0, 25.0)
    image = np.array([[[1, 2, 3]]], np.uint8)
    label, confidence = np.array([[7]], np.uint8), np.array([[0.5]], np.float32)
    (point,) = make_cloud(image, label, confidence, np.array([[2.0]], np.float32), camera)[0]
    assert point.tolist() == (1.0, -0.5, 2.0, 0x010203, 7, 0.5)
