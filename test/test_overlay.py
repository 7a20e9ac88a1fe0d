import numpy as np
import pytest

from clip_dinoiser_ros.overlay import OPACITY, colour, draw_overlay


def test_colours_are_stable_and_told_apart():
    colours = np.array([colour(class_id) for class_id in range(64)], dtype=float)
    distance = np.linalg.norm(colours[:, None] - colours[None], axis=2) + 1e9 * np.eye(64)
    assert distance[:16, :16].min() > 40
    assert distance.min() > 5
    assert colour(0) == (0, 114, 178)
    assert colour(70000) == colour(70000)


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


@pytest.mark.parametrize('size', [(16, 16), (40, 2000), (1080, 1920)])
@pytest.mark.parametrize('name', ['person', '\u732b', '\U0001f600' * 30, 'x' * 500])
def test_any_name_fits_any_size(size, name):
    image = np.zeros((*size, 3), np.uint8)
    overlay = draw_overlay(image, np.zeros(size, np.uint8), [name] * 20, list(range(20)))
    assert overlay.shape == image.shape
    assert overlay.dtype == np.uint8
