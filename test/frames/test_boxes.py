# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Boxes of objects from depth: against a slow reference, by hand, and in scenes with the truth."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from clip_dinoiser_ros import Segmenter
from clip_dinoiser_ros.core.objects import Objects, find_objects
from clip_dinoiser_ros.frames import boxes
from clip_dinoiser_ros.frames.boxes import Box, measure_objects
from clip_dinoiser_ros.frames.intrinsics import Intrinsics
from clip_dinoiser_ros.world.classes import CLASSES
from clip_dinoiser_ros.world.scenes import scene

TURNED = np.array([[0, 0, 1, 5], [-1, 0, 0, 6], [0, -1, 0, 7], [0, 0, 0, 1]], np.float64)
ROUND = ('ball', 'barrel', 'cone')


def quantile(values, share):
    """Interpolate between the two nearest of sorted values."""
    values = sorted(values)
    place = share * (len(values) - 1)
    below = int(place)
    above = min(below + 1, len(values) - 1)
    return values[below] + (place - below) * (values[above] - values[below])


def reference(instances, depth, camera, transform):
    """Measure objects pixel by pixel: [(centre, size, points) or None]."""
    height, width = instances.shape
    edge = boxes.EDGE
    made = []
    for number in range(1, int(instances.max()) + 1):
        known, inner = [], []
        for v, u in np.argwhere(instances == number).tolist():
            if not np.isfinite(depth[v, u]):
                continue
            z = float(depth[v, u])
            point = (u - camera.cx) / camera.fx * z, (v - camera.cy) / camera.fy * z, z
            known.append(point)
            if all(
                instances[y, x] == number
                for y in range(max(0, v - edge), min(height, v + edge + 1))
                for x in range(max(0, u - edge), min(width, u + edge + 1))
            ):
                inner.append(point)
        points = inner if len(inner) >= boxes.MIN_POINTS else known
        if len(points) < boxes.MIN_POINTS:
            made.append(None)
            continue
        points.sort(key=lambda point: point[2])
        first = last = len(points) // 2

        def near(index, points=points):
            low, high = points[index][2], points[index + 1][2]
            return high - low <= max(boxes.MIN_GAP_M, boxes.GAP * low)

        while first > 0 and near(first - 1):
            first -= 1
        while last + 1 < len(points) and near(last):
            last += 1
        moved = [transform[:3] @ [*point, 1] for point in points[first : last + 1]]
        axes = list(zip(*moved, strict=True))
        low = [quantile(axis, boxes.TRIM) for axis in axes]
        high = [quantile(axis, 1 - boxes.TRIM) for axis in axes]
        centre = [(a + b) / 2 for a, b in zip(low, high, strict=True)]
        made.append((centre, [b - a for a, b in zip(low, high, strict=True)], len(points)))
    return made


images = arrays.array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=14).flatmap(
    lambda shape: st.tuples(
        arrays.arrays(np.uint8, shape, elements=st.sampled_from([0, 1, 1, 1, 2])),
        arrays.arrays(
            np.float32,
            shape,
            elements=st.sampled_from([0.5, 0.58, 2.0, 2.1, 2.25, 9.0, np.nan, np.inf]),
        ),
    )
)


@given(images, st.sampled_from([None, TURNED]), st.sampled_from([1, 2]))
def test_boxes_equal_the_reference(image, transform, edge):
    labels, depth = image
    camera = Intrinsics(labels.shape[1], labels.shape[0], 7.0, 8.0, 3.25, 2.5)
    objects = find_objects(labels, np.ones(labels.shape, np.float32), [1, 2], 0.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(boxes, 'MIN_POINTS', 3)
        patch.setattr(boxes, 'EDGE', edge)
        made = measure_objects(objects, depth, camera, transform)
        expected = reference(
            objects.instances, depth, camera, np.eye(4) if transform is None else transform
        )
    assert len(made) == len(expected) == len(objects.found)
    for one, other in zip(made, expected, strict=True):
        if other is None:
            assert one is None
        else:
            assert one.centre == pytest.approx(other[0], abs=1e-6)
            assert one.size == pytest.approx(other[1], abs=1e-6)
            assert one.points == other[2]


def objects_of(instances):
    """Objects of an image of numbers from 1 on, in their order."""
    numbered = instances.astype(np.uint8)
    objects = find_objects(numbered, np.ones(numbered.shape, np.float32), range(1, 256), 0.0)
    order = sorted(range(len(objects.found)), key=lambda index: objects.found[index].label)
    found = tuple(objects.found[index] for index in order)
    table = np.zeros(len(found) + 1, np.uint16)
    table[np.array(order) + 1] = np.arange(1, len(found) + 1)
    return Objects(found, table[objects.instances])


def board(size=(120, 160)):
    """A board of 40 x 30 pixels in front of a wall: camera, objects, depth."""
    camera = Intrinsics(size[1], size[0], 100.0, 100.0, 79.5, 59.5)
    instances = np.zeros(size, np.uint8)
    instances[40:70, 60:100] = 1
    depth = np.full(size, 6.0, np.float32)
    depth[40:70, 60:100] = 2.0
    return camera, objects_of(instances), depth


def test_box_of_a_small_example():
    camera, objects, depth = board()
    (box,) = measure_objects(objects, depth, camera)
    # columns 63 to 96 and rows 43 to 66 without the edge, less 2 % at each end
    assert box.centre == pytest.approx((0.0, -0.1, 2.0), abs=1e-6)
    assert box.size == pytest.approx((0.66, 0.46, 0.0), abs=0.03)
    assert box.points == 34 * 24


def test_depth_of_something_else_does_not_count():
    """A mask that is too large, depth that is shifted against it, and a post in front."""
    camera, objects, depth = board()
    (clean,) = measure_objects(objects, depth, camera)
    stray = np.roll(depth, (3, 5), axis=(0, 1))
    stray[:, 70:75] = 1.0
    (box,) = measure_objects(objects, stray, camera)
    assert box.centre[2] == box.size[2] + 2.0 == 2.0
    assert box.centre == pytest.approx(clean.centre, abs=0.06)
    noisy = depth + np.random.default_rng(1).normal(0, 0.02, depth.shape).astype(np.float32)
    (box,) = measure_objects(objects, noisy, camera)
    assert box.centre == pytest.approx(clean.centre, abs=0.02)
    assert 0.05 < box.size[2] < 0.09  # of the noise: two standard deviations at each end


def test_too_little_depth_is_no_box():
    camera, objects, depth = board()
    depth[40:70, 60:100] = np.nan
    assert measure_objects(objects, depth, camera) == (None,)
    depth[50, 70 : 70 + boxes.MIN_POINTS] = 2.0
    (box,) = measure_objects(objects, depth, camera)
    assert box.points == boxes.MIN_POINTS
    # where only the edge has depth, the edge has to do
    depth[43:67, 63:97] = np.nan
    depth[40, 60:100] = 2.0
    (box,) = measure_objects(objects, depth, camera)
    assert box.points == 40


def test_thin_things_have_boxes():
    camera, _, depth = board()
    instances = np.zeros(depth.shape, np.uint8)
    instances[20:100, 80:83] = 1
    depth[20:100, 80:83] = 3.0
    (box,) = measure_objects(objects_of(instances), depth, camera)
    assert box.centre == pytest.approx((0.045, 0.0, 3.0), abs=0.01)


def test_depth_of_another_size():
    camera, objects, depth = board()
    (whole,) = measure_objects(objects, depth, camera)
    (half,) = measure_objects(objects, depth[::2, ::2], camera)
    (twice,) = measure_objects(objects, depth.repeat(2, 0).repeat(2, 1), camera)
    assert half == twice == whole


def test_many_points_tell_no_more():
    truth = scene(7)
    labels = truth.labels
    objects = find_objects(labels, np.ones(labels.shape, np.float32), range(len(CLASSES)))
    made = measure_objects(objects, truth.depth, truth.intrinsics)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(boxes, 'MAX_POINTS', labels.size)
        every = measure_objects(objects, truth.depth, truth.intrinsics)
    compared = 0
    for one, other in zip(made, every, strict=True):
        if one is not None and one.points > boxes.MAX_POINTS and other.centre[2] < 6:
            compared += 1
            assert one.centre == pytest.approx(other.centre, rel=0.08, abs=0.05)
            assert one.size == pytest.approx(other.size, rel=0.1, abs=0.05)
    assert compared >= 3


def test_hidden_depth_is_taken_from_the_width():
    seen = Box((1.0, 2.0, 5.0), (0.6, 0.9, 0.2), 100)
    assert seen.as_deep_as_wide() == Box((1.0, 2.0, pytest.approx(5.2)), (0.6, 0.9, 0.6), 100)
    deep = Box((1.0, 2.0, 5.0), (0.6, 0.9, 2.0), 100)
    assert deep.as_deep_as_wide() == deep


def true_box(truth, number):
    """The extent of all visible points of a thing: centre and size."""
    v, u = np.nonzero(truth.instances == number)
    z = truth.depth[v, u].astype(np.float64)
    camera = truth.intrinsics
    points = np.stack([(u - camera.cx) / camera.fx * z, (v - camera.cy) / camera.fy * z, z])
    low, high = points.min(axis=1), points.max(axis=1)
    return (low + high) / 2, high - low


def errors(seeds, objects_of_scene):
    """Errors in metres of what covers 1 % of a scene.

    Returns (things, 3): of the centre of the visible side, of its size, and of the centre of the
    whole thing, which is NaN for things that are not round.
    """
    rows = []
    for seed in seeds:
        truth = scene(seed)
        objects = objects_of_scene(truth)
        made = measure_objects(objects, truth.depth, truth.intrinsics)
        for number in np.unique(truth.instances)[1:]:
            mask = truth.instances == number
            if mask.mean() < 0.01:
                continue
            overlaps = [
                (mask & (objects.instances == n)).sum() / (mask | (objects.instances == n)).sum()
                for n in range(1, len(made) + 1)
            ]
            box = made[int(np.argmax(overlaps))]
            if max(overlaps) < 0.5:
                continue  # another object, not a wrong place
            assert box is not None
            thing = truth.things[number - 1]
            centre, size = true_box(truth, number)
            whole = truth.pose.rotation() @ (
                np.array([thing.x, thing.y, thing.height / 2]) - truth.pose.position()
            )
            rows.append(
                (
                    np.linalg.norm(box.centre - centre),
                    np.abs(box.size - size).max(),
                    np.linalg.norm(box.as_deep_as_wide().centre - whole)
                    if thing.kind in ROUND
                    else np.nan,
                )
            )
    assert len(rows) >= 30
    return np.array(rows)


def test_true_masks_give_true_places():
    found = errors(range(900, 910), lambda truth: objects_of(truth.instances))
    seen, _, whole = np.nanmedian(found, axis=0)
    assert seen < 0.12
    assert whole < 0.12
    assert np.quantile(found[:, 0], 0.95) < 0.3


def test_masks_that_are_too_large_do_no_harm():
    """Three pixels too many on every side, which show what is beside and behind."""

    def grown(truth):
        return objects_of(cv2.dilate(truth.instances, np.ones((7, 7), np.uint8)))

    found = errors(range(900, 910), grown)
    assert np.median(found[:, 0]) < 0.1
    assert np.quantile(found[:, 0], 0.95) < 0.3
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(boxes, 'EDGE', 0)
        patch.setattr(boxes, 'GAP', 100.0)
        naive = errors(range(900, 910), grown)
    assert np.median(naive[:, 0]) > 3 * np.median(found[:, 0])


def test_the_demo_model_finds_the_true_places():
    segmenter = Segmenter.load('demo', device='cpu', precision='fp32')

    def predicted(truth):
        names = truth.names(round(0.002 * truth.labels.size))
        result = segmenter.segment(truth.image, segmenter.encode(names, background=None))
        labels = np.array([CLASSES.index(name) for name in names], np.uint8)[result.labels]
        return find_objects(labels, result.confidence, range(len(CLASSES)))

    found = errors(range(900, 908), predicted)
    assert np.median(found[:, 0]) < 0.15
    assert np.quantile(found[:, 0], 0.95) < 0.4
    assert np.nanmedian(found[:, 2]) < 0.15
