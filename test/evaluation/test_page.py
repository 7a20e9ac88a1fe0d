# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The page of pictures: which images are on it, and what their pictures say."""

import base64

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clip_dinoiser_ros.evaluation.items import Item
from clip_dinoiser_ros.evaluation.metric import IGNORED, NO_CLASS
from clip_dinoiser_ros.evaluation.page import GREY, PICTURES, choose, example
from clip_dinoiser_ros.frames.overlay import colour


@given(st.lists(st.integers(0, 100), max_size=60))
def test_the_worst_and_the_middle_are_chosen_and_none_twice(values):
    scores = [(value / 100, number) for number, value in enumerate(values)]
    worst, median = choose(scores)
    assert len(worst) == min(PICTURES, len(scores))
    assert len(median) == min(PICTURES, len(scores) - len(worst))
    assert not set(worst) & set(median)
    order = [number for _, number in sorted(scores)]
    assert worst == order[: len(worst)]
    if len(scores) >= 4 * PICTURES:
        middle = len(order) // 2
        assert median == order[middle - PICTURES // 2 : middle + PICTURES // 2]


def pixels(address):
    kind, content = address.split(';base64,')
    assert kind in ('data:image/png', 'data:image/jpeg')
    image = cv2.imdecode(np.frombuffer(base64.b64decode(content), np.uint8), cv2.IMREAD_COLOR)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def test_the_pictures_show_truth_prediction_and_errors():
    truth = np.repeat(np.array([[0, 1, IGNORED, NO_CLASS]], np.uint16), 16, axis=0).repeat(16, 1)
    labels = np.zeros_like(truth)
    image = np.full((*truth.shape, 3), 200, np.uint8)
    shown = example(Item('a', image, truth), labels, 50.0, ['wall', 'floor', 'sky'])
    by_name = {caption: pixels(address) for caption, address in shown.pictures}
    assert list(by_name) == ['image', 'truth', 'prediction', 'errors (red), ignored (grey)']
    painted = by_name['truth'][8, 8::16].tolist()
    assert painted == [list(colour(0)), list(colour(1)), list(GREY), list(GREY)]
    assert (by_name['prediction'] == colour(0)).all()
    right, wrong, ignored, no_class = by_name['errors (red), ignored (grey)'][8, 8::16].astype(int)
    assert np.abs(right - 200).max() < 8
    assert np.abs(ignored - GREY).max() < 8
    for pixel in (wrong, no_class):
        assert pixel[0] > pixel[1] + 50
    # of the pixels that count
    assert [(name, true, found) for _, name, true, found in shown.legend] == [
        ('wall', '33.3%', '100.0%'),
        ('floor', '33.3%', '0.0%'),
    ]


@pytest.mark.parametrize(('width', 'expected'), [(300, 300), (1920, 480)])
def test_large_pictures_are_made_smaller(width, expected):
    size = (90, width)
    item = Item('a', np.zeros((*size, 3), np.uint8), np.zeros(size, np.uint16))
    shown = example(item, np.zeros(size, np.uint16), 100.0, ['wall'])
    for _, address in shown.pictures:
        assert pixels(address).shape[1] == expected
