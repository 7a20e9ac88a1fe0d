# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The generated world is true: the same from one seed, and its depth and masks fit its geometry."""

from itertools import pairwise

import cv2
import numpy as np
import pytest

from clip_dinoiser_ros.frames.intrinsics import Intrinsics
from clip_dinoiser_ros.training.demo_model.samples import FULL, NEAR, WIDE, make_sample
from clip_dinoiser_ros.world.camera import Pose, cast_rays
from clip_dinoiser_ros.world.classes import (
    CLASSES,
    COLOURS,
    HELD_OUT,
    OBJECTS,
    SEEN_CLASSES,
    STUFF,
    split_name,
)
from clip_dinoiser_ros.world.render import _cut
from clip_dinoiser_ros.world.scenes import drive, glimpse, scene
from clip_dinoiser_ros.world.surroundings import _sample
from clip_dinoiser_ros.world.textures import SIZE, textures

SMALL = {'width': 320, 'height': 240}


def seen_things(picture, kind, min_pixels=400):
    for number, thing in enumerate(picture.things, start=1):
        mask = picture.instances == number
        if thing.kind == kind and mask.sum() >= min_pixels:
            yield thing, mask


def test_a_seed_decides_everything():
    first, again, other = scene(3, **SMALL), scene(3, **SMALL), scene(4, **SMALL)
    for name in ('image', 'labels', 'instances', 'depth'):
        assert np.array_equal(getattr(first, name), getattr(again, name)), name
    assert first.things == again.things
    assert not np.array_equal(first.image, other.image)


def test_a_seed_decides_a_drive():
    first = list(drive(5, seconds=1, rate_hz=3, **SMALL))
    again = list(drive(5, seconds=1, rate_hz=3, **SMALL))
    assert len(first) == 3
    assert [frame.stamp_s for frame in first] == pytest.approx([0, 1 / 3, 2 / 3])
    for one, two in zip(first, again, strict=True):
        assert np.array_equal(one.image, two.image)
        assert np.array_equal(one.labels, two.labels)
    assert not np.array_equal(first[0].labels, first[-1].labels)


def test_types_and_shapes():
    picture = scene(0, width=200, height=120)
    assert picture.image.shape == (120, 200, 3)
    assert picture.image.dtype == np.uint8
    assert picture.labels.shape == picture.instances.shape == picture.depth.shape == (120, 200)
    assert picture.labels.dtype == picture.instances.dtype == np.uint8
    assert picture.depth.dtype == np.float32
    assert picture.intrinsics.matrix()[0, 2] == pytest.approx(99.5)


def test_masks_and_class_names_agree():
    for seed in range(12):
        picture = scene(seed, held_out=None, **SMALL)
        is_stuff = picture.labels < len(STUFF)
        assert np.array_equal(picture.instances == 0, is_stuff)
        for number, thing in enumerate(picture.things, start=1):
            labels = picture.labels[picture.instances == number]
            assert (labels == CLASSES.index(thing.name)).all()
        assert set(picture.names()) == {CLASSES[label] for label in np.unique(picture.labels)}


def test_depth_is_finite_but_in_the_sky():
    for seed in range(12):
        picture = scene(seed, **SMALL)
        assert np.array_equal(np.isinf(picture.depth), picture.labels == CLASSES.index('sky'))
        assert picture.depth.min() > 0


def test_a_ball_is_as_far_as_it_stands():
    found = 0
    for seed in range(30):
        picture = scene(seed, **SMALL)
        for thing, mask in seen_things(picture, 'ball'):
            centre = [thing.x, thing.y, thing.height / 2]
            pixel, depth = picture.pose.project(np.array([centre]), picture.intrinsics)
            column, row = np.round(pixel[0]).astype(int)
            if 0 <= row < 240 and 0 <= column < 320 and mask[row, column]:
                # Seen along its own middle, the surface is one radius nearer than the centre.
                ray = np.linalg.norm([(pixel[0] - 159.5)[0], (pixel[0] - 119.5)[1]])
                cos = 1 / np.hypot(1, ray / picture.intrinsics.fx)
                expected = depth[0] - thing.height / 2 * cos
                assert picture.depth[row, column] == pytest.approx(expected, abs=0.01)
                found += 1
    assert found >= 5


def points(picture):
    """Every pixel's point in the world by depth and intrinsics, (H, W, 3)."""
    k = picture.intrinsics.matrix()
    v, u = np.indices(picture.depth.shape)
    local = np.stack([(u - k[0, 2]) / k[0, 0], (v - k[1, 2]) / k[1, 1], np.ones(u.shape)], axis=-1)
    local = local * np.where(np.isfinite(picture.depth), picture.depth, 0)[..., None]
    return local @ picture.pose.rotation() + picture.pose.position()


def test_depth_leads_back_into_the_world():
    for seed in range(8):
        picture = scene(seed, **SMALL)
        world = points(picture)
        ground = np.isin(picture.labels, [CLASSES.index(n) for n in ('floor', 'road', 'grass')])
        assert np.abs(world[ground][:, 2]).max() < 0.05
        for number, thing in enumerate(picture.things, start=1):
            inside = world[picture.instances == number]
            if thing.kind == 'person' or not len(inside):
                continue
            reach = np.hypot(thing.length, thing.width) / 2 + 0.02
            assert np.hypot(inside[:, 0] - thing.x, inside[:, 1] - thing.y).max() < reach
            assert inside[:, 2].min() > -0.02
            assert inside[:, 2].max() < thing.height + 0.02


def test_a_drive_keeps_its_geometry():
    """A point on a standing thing lands on that thing again in the next frame, or is hidden."""
    frames = list(drive(8, seconds=4, rate_hz=1, moving=False, **SMALL))
    for one, two in pairwise(frames):
        assert one.things == two.things
        rows, columns = np.nonzero(one.instances)
        chosen = slice(None, None, 7)
        rows, columns = rows[chosen], columns[chosen]
        pixels, depth = two.pose.project(points(one)[rows, columns], two.intrinsics)
        u, v = np.round(pixels).astype(int).T
        inside = (depth > 0.3) & (u >= 0) & (u < 320) & (v >= 0) & (v < 240)
        visible = two.depth[v[inside], u[inside]] > depth[inside] - 0.1
        same = (two.instances[v[inside], u[inside]] == one.instances[rows, columns][inside])[
            visible
        ]
        assert same.mean() > 0.93


def test_things_move_only_when_asked():
    names = ['red ball', 'person']
    start, *_, end = drive(1, seconds=2, rate_hz=2, names=names, **SMALL)
    moved = [a.name for a, b in zip(start.things, end.things, strict=True) if a.x != b.x]
    assert set(moved) == {'red ball', 'person'}
    start, *_, end = drive(1, seconds=2, rate_hz=2, names=names, moving=False, **SMALL)
    assert start.things == end.things


def test_a_drive_shows_what_is_asked_for():
    names = ['red ball', 'blue barrel', 'green door']
    for frame in drive(2, seconds=1, rate_hz=1, names=names, **SMALL):
        assert {thing.name for thing in frame.things} == set(names)


def test_held_out_pairs_are_never_drawn_for_training():
    for seed in range(30):
        for view in (WIDE, NEAR):
            sample = make_sample(seed, view)
            assert sample.shares.shape[1:] == (14, 19)
            assert sample.shares.sum(axis=0) == pytest.approx(1.0, abs=1e-5)
            assert max(sample.classes) < len(SEEN_CLASSES)
        things = (*scene(seed, 64, 48).things, *glimpse(seed, 64, 48).things)
        assert not {thing.name for thing in things} & set(HELD_OUT)
    assert make_sample(0, FULL).shares.shape[1:] == (28, 37)


def test_held_out_scenes_hold_them():
    names = [{t.name for t in scene(seed, 64, 48, held_out=True).things} for seed in range(20)]
    assert all(found & set(HELD_OUT) for found in names)
    assert set.union(*names) >= set(HELD_OUT) - {'red door'}


def test_the_words_are_a_full_grid():
    assert len(CLASSES) == len(STUFF) + len(COLOURS) * len(OBJECTS) + 1
    assert set(HELD_OUT) < set(CLASSES)
    assert {split_name(name)[0] for name in HELD_OUT} == set(COLOURS)
    assert {split_name(name)[1] for name in HELD_OUT} == set(OBJECTS)
    for colour in COLOURS:
        assert any(name.startswith(colour) for name in SEEN_CLASSES)


def test_a_texture_repeats_without_a_seam():
    rng = np.random.default_rng(0)
    x, y = rng.uniform(-3000, 3000, (2, 64, 64)).astype(np.float32)
    x[0], y[:, 0] = np.linspace(510, 514, 64), np.linspace(-2, 2, 64)
    expected = cv2.remap(textures()['bricks'], x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    np.testing.assert_allclose(_sample('bricks', x, y, SIZE), expected, atol=2e-5)


def test_a_shadow_is_cut_where_it_passes_the_camera():
    outline = np.array([[1.0, 0.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 0.0, -1.0], [-1.0, 0.0, 1.0]])
    cut = _cut(outline)
    assert cut[:, 2].min() == pytest.approx(0.25)
    assert sorted(map(tuple, cut[:, [0, 2]])) == [(-1, 0.25), (-1, 1), (1, 0.25), (1, 1)]
    assert _cut(outline - [0, 0, 2]).shape == (0, 3)


def test_projection_is_the_inverse_of_the_rays():
    intrinsics = Intrinsics.from_fov(160, 120, 70)
    pose = Pose(1.0, -2.0, 1.2, 0.7, 0.2)
    rays = cast_rays(intrinsics, pose)
    row, column, depth = 31, 140, 4.5
    direction = np.array([rays.x[row, column], rays.y[row, column], rays.z[row, 0]])
    pixel, found = pose.project((rays.origin + depth * direction)[None], intrinsics)
    assert pixel[0] == pytest.approx([column, row], abs=1e-3)
    assert found[0] == pytest.approx(depth, abs=1e-5)
