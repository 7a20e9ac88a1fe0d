# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

import cv2
import numpy as np
import pytest

from clip_dinoiser_ros.frames.overlay import OPACITY, colour, draw_overlay


def test_colours_are_stable_and_told_apart():
    colours = np.array([colour(class_id) for class_id in range(64)], dtype=float)
    distance = np.linalg.norm(colours[:, None] - colours[None], axis=2) + 1e9 * np.eye(64)
    assert distance[:16, :16].min() > 40
    assert distance.min() > 5
    assert colour(0) == (0, 114, 178)
    assert colour(70000) == colour(70000)


# Machado, Oliveira and Fernandes 2009, severity 1: what is seen, in linear RGB
SIGHTS = {
    'normal': np.eye(3),
    'protanopia': [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    'deuteranopia': [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
}


@pytest.mark.parametrize(
    ('sight', 'least'), [('normal', 20), ('protanopia', 15), ('deuteranopia', 10)]
)
def test_sixteen_classes_are_told_apart_by_colour_blind_people(sight, least):
    """A distance of 2 in CIELAB can just be seen side by side; a legend needs more."""
    colours = np.array([colour(class_id) for class_id in range(16)]) / 255
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.transpose(SIGHTS[sight]), 0, 1)
    srgb = np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055)
    lab = cv2.cvtColor(srgb[None].astype(np.float32), cv2.COLOR_RGB2LAB)[0]
    distance = np.linalg.norm(lab[:, None] - lab[None], axis=2) + 1e9 * np.eye(16)
    assert distance.min() > least


def test_tint_follows_the_id_not_the_index():
    image = np.full((400, 400, 3), 100, np.uint8)
    labels = np.zeros((400, 400), np.uint8)
    labels[200:] = 1
    overlay = draw_overlay(image, labels, ['person', 'car'], [9, 4])
    for row, class_id in [(150, 9), (390, 4)]:
        expected = (1 - OPACITY) * 100 + OPACITY * np.array(colour(class_id))
        np.testing.assert_allclose(overlay[row, 390], expected, atol=1)
    assert (image == 100).all()  # the input is left alone


def test_unlabelled_pixels_are_left_as_they_are():
    image = np.random.default_rng(0).integers(0, 255, (300, 300, 3), dtype=np.uint8)
    labels = np.zeros((300, 300), np.uint8)
    labelled = np.zeros((300, 300), bool)
    labelled[150:] = True
    overlay = draw_overlay(image, labels, ['floor'], [0], labelled)
    np.testing.assert_array_equal(overlay[100:150, 200:], image[100:150, 200:])
    assert (overlay[150:, 200:] != image[150:, 200:]).any(axis=2).mean() > 0.9


def test_the_background_is_darkened_not_tinted():
    image = np.full((400, 400, 3), 100, np.uint8)
    labels = np.zeros((400, 400), np.uint8)
    labels[200:] = 1
    overlay = draw_overlay(image, labels, ['person', 'background'], [0, 1], None, 1)
    np.testing.assert_allclose(overlay[390, 390], 50, atol=1)
    expected = 50 + OPACITY * np.array(colour(0))
    np.testing.assert_allclose(overlay[150, 390], expected, atol=1)


def test_the_legend_names_what_is_there_and_only_that():
    """Classes that are not in the image change nothing."""
    image = np.full((480, 640, 3), 90, np.uint8)
    labels = np.zeros((480, 640), np.uint8)
    one = draw_overlay(image, labels, ['person'], [0])
    three = draw_overlay(image, labels, ['person', 'car', 'dog'], [0, 1, 2])
    np.testing.assert_array_equal(one, three)
    other = draw_overlay(image, labels, ['forklift'], [0])
    changed = (one != other).any(axis=2)
    assert changed[:60, :300].any()
    assert not changed[60:].any()


def test_the_legend_tells_share_and_mean_confidence(monkeypatch):
    written = []
    put = cv2.putText
    monkeypatch.setattr(cv2, 'putText', lambda *a: (written.append((a[1], a[2])), put(*a))[1])
    image = np.full((400, 400, 3), 90, np.uint8)
    labels = np.zeros((400, 400), np.uint8)
    labels[300:] = 1
    labels[399, :400] = 2  # 400 of 160000 pixels
    confidence = np.where(labels == 1, 0.5, 0.9).astype(np.float32)
    confidence[:100] = 0.3
    labelled = confidence > 0.4  # what is unlabelled counts for no class
    names = ['person', 'car', 'dog']
    draw_overlay(image, labels, names, [0, 1, 2], labelled, None, confidence)
    texts = [text for text, _ in written]
    assert texts == ['person', '50%', '0.90', 'car', '25%', '0.50', 'dog', '<1%', '0.90']
    written.clear()
    draw_overlay(image, labels, names, [0, 1, 2], labelled)
    assert [text for text, _ in written] == ['person', '50%', 'car', '25%', 'dog', '<1%']


@pytest.mark.parametrize('size', [(16, 16), (40, 2000), (1080, 1920)])
@pytest.mark.parametrize('name', ['person', '\u732b', '\U0001f600' * 30, 'x' * 500])
def test_any_name_fits_any_size(size, name):
    image = np.zeros((*size, 3), np.uint8)
    overlay = draw_overlay(image, np.zeros(size, np.uint8), [name] * 20, list(range(20)))
    assert overlay.shape == image.shape
    assert overlay.dtype == np.uint8
