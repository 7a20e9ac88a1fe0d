# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The picture of the outputs: `clip-dinoiser demo picture`."""

import cv2
import numpy as np
import pytest

from clip_dinoiser_ros import cli
from clip_dinoiser_ros.demo.gallery import GROUND, LABEL_SHARE, TILE, draw_points
from clip_dinoiser_ros.frames.overlay import colour
from clip_dinoiser_ros.world.scenes import scene


@pytest.fixture(scope='module')
def drawn():
    """A scene, and its points with all of the left half as class 1, of the right as class 6."""
    seen = scene(7, 160, 120)
    labels = np.ones((120, 160), np.uint8)
    labels[:, 80:] = 6
    return draw_points(seen, labels, np.ones((120, 160), np.float32))


def distance_to(picture, class_id):
    """Most difference of a channel to the colour of a class, less what the camera's can add."""
    own = LABEL_SHARE * np.array(colour(class_id))
    return np.maximum(own - picture, picture - own - (1 - LABEL_SHARE) * 255).max(axis=-1)


def test_points_have_the_colours_of_their_classes_and_no_other(drawn):
    points = drawn[(drawn != GROUND).any(axis=2)].astype(float)
    assert len(points) > 0.2 * drawn[..., 0].size
    of_one, of_six = distance_to(points, 1) <= 1, distance_to(points, 6) <= 1
    assert (of_one | of_six).all()
    assert of_one.mean() > 0.1
    assert of_six.mean() > 0.1


def test_left_stays_left(drawn):
    there = (drawn != GROUND).any(axis=2)
    columns = np.broadcast_to(np.arange(160), there.shape)
    one = there & (distance_to(drawn.astype(float), 1) <= 1)
    six = there & (distance_to(drawn.astype(float), 6) <= 1)
    assert columns[one].mean() < columns[six].mean()


@pytest.mark.long
def test_the_command_writes_a_small_picture(tmp_path):
    path = tmp_path / 'outputs.png'
    assert cli.main(['demo', 'picture', str(path)]) == 0
    assert path.stat().st_size < 300_000
    picture = cv2.imread(str(path))
    assert picture.shape[0] > 2 * TILE[0]
    assert picture.shape[1] > 2 * TILE[1]
