# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""What is published of a frame: its size, and what is left out of it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clip_dinoiser_ros import Segmentation
from clip_dinoiser_ros.core.segmentation import Patches
from clip_dinoiser_ros.core.vocabulary import Vocabulary, parse_prompts
from clip_dinoiser_ros.frames.outputs import frame_images, leaves_as_mono8, scaled_size, shrink

VOCABULARY = Vocabulary(parse_prompts(['floor', 'wall', 'door']), torch.zeros(3, 4), None, 'none')


@pytest.mark.parametrize(
    ('size', 'scale', 'expected'),
    [
        ((480, 640), 1.0, (480, 640)),
        ((480, 640), 0.5, (240, 320)),
        ((481, 643), 0.25, (120, 161)),
        ((16, 40), 0.01, (1, 1)),
    ],
)
def test_the_size_of_the_labels(size, scale, expected):
    assert scaled_size(size, scale) == expected


def test_shrinking_takes_means():
    image = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    small = shrink(image, (2, 3))  # by three: by two, linear interpolation takes means as well
    means = image.reshape(2, 3, 3, 3, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(small, means, atol=0.5)
    assert shrink(image, (6, 9)) is image


@pytest.mark.parametrize(
    ('table', 'expected', 'encoding'),
    [
        (np.uint8([4, 5, 6]), [[4, 255], [6, 5]], 'mono8'),
        (np.uint16([4, 500, 6]), [[4, 65535], [6, 500]], 'mono16'),
    ],
)
def test_a_pixel_with_the_least_confidence_is_labelled(table, expected, encoding):
    confidence = np.float32([[0.5, 0.25], [0.75, 1.0]])
    result = Segmentation(np.uint8([[0, 1], [2, 1]]), confidence, VOCABULARY)
    shown = frame_images(result, table, min_confidence=0.5, confidence_encoding='32FC1')
    assert shown.labels.tolist() == expected
    assert (shown.labels_encoding, shown.confidence_encoding) == (encoding, '32FC1')


@pytest.mark.parametrize('encoding', ['mono8', '32FC1'])
@pytest.mark.parametrize('min_confidence', [0.0, 0.5])
def test_outside_of_the_region_nothing_is_claimed(encoding, min_confidence):
    confidence = np.float32([[0.2, 0.9], [0.7, 0.8]])
    result = Segmentation(np.uint8([[0, 1], [2, 1]]), confidence, VOCABULARY)
    inside = np.array([[True, True], [True, False]])
    shown = frame_images(result, np.uint8([4, 5, 6]), min_confidence, encoding, inside)
    assert shown.labels.tolist() == [[4 if min_confidence == 0.0 else 255, 5], [6, 255]]
    expected = np.float32([[0.2, 0.9], [0.7, 0.0]])
    np.testing.assert_array_equal(shown.certainty, expected)
    scale = 255 if encoding == 'mono8' else 1
    np.testing.assert_allclose(shown.confidence, expected * scale, atol=0.5 * (scale > 1))
    np.testing.assert_array_equal(shown.labelled, shown.labels != 255)
    np.testing.assert_array_equal(confidence, np.float32([[0.2, 0.9], [0.7, 0.8]]))  # as it was


@pytest.mark.parametrize(
    ('background', 'expected'), [(1, [[255, 5], [6, 5]]), (None, [[255, 255], [6, 5]])]
)
def test_background_is_not_cut_by_min_confidence(background, expected):
    """There the confidence is no probability of a class."""
    vocabulary = replace(VOCABULARY, background=background)
    confidence = np.float32([[0.5, 0.5], [0.7, 0.8]])
    result = Segmentation(np.uint8([[0, 1], [2, 1]]), confidence, vocabulary)
    shown = frame_images(result, np.uint8([4, 5, 6]), min_confidence=0.6)
    assert shown.labels.tolist() == expected
    np.testing.assert_array_equal(shown.labelled, shown.labels != 255)


def test_a_region_and_a_negative_class_cut_the_background_too():
    vocabulary = replace(VOCABULARY, background=1)
    result = Segmentation(np.uint8([[1, 1]]), np.float32([[0.5, 0.5]]), vocabulary)
    inside = np.array([[True, False]])
    shown = frame_images(result, np.uint8([4, 5, 6]), 0.6, inside=inside)
    assert shown.labels.tolist() == [[5, 255]]
    assert frame_images(result, np.uint8([4, 255, 255]), 0.6).labels.tolist() == [[255, 255]]


@pytest.mark.parametrize('inside', [None, np.array([[True, False], [True, True]])])
def test_confidence_rounded_on_the_device_is_published_unchanged(inside):
    """The floats are on a device without memory: reading them would raise."""
    mono8 = np.uint8([[0, 128], [7, 255]])
    labels, floats = np.uint8([[0, 1], [2, 1]]), torch.empty((2, 2), device='meta')
    shown = frame_images(
        Segmentation(labels, floats, VOCABULARY, mono8), np.uint8([4, 5, 6]), inside=inside
    )
    expected = mono8 if inside is None else mono8 * inside
    np.testing.assert_array_equal(shown.confidence, expected)
    assert shown.confidence.dtype == np.uint8
    assert (shown.labels == 255).tolist() == (
        [[False] * 2] * 2 if inside is None else [[False, True], [False] * 2]
    )


@pytest.mark.parametrize(
    ('device', 'encoding', 'min_confidence', 'rounded'),
    [
        ('cuda', 'mono8', 0.0, True),
        ('cuda', '32FC1', 0.0, False),
        ('cuda', 'mono8', 0.4, False),  # compared as float32
        ('cpu', 'mono8', 0.0, False),
    ],
)
def test_when_confidence_is_rounded_on_the_device(device, encoding, min_confidence, rounded):
    assert leaves_as_mono8(device, encoding, min_confidence) == rounded


@given(st.integers(0, 2**32 - 1), st.integers(1, 8))
@settings(max_examples=30, deadline=None)
def test_small_labels_are_what_is_seen_at_their_centres(seed, divisor):
    """Interpolated at the centre of each small pixel: where that of three times the size has it."""
    own = torch.rand(3, 4, 6, generator=torch.Generator().manual_seed(seed)).softmax(0)
    patches = Patches(own, None, (4.0, 6.0), VOCABULARY)
    size = 64 // divisor, 96 // divisor
    small, large = patches.enlarge(size), patches.enlarge((size[0] * 3, size[1] * 3))
    np.testing.assert_allclose(small.confidence, large.confidence[1::3, 1::3], atol=1e-5)
    assert (small.labels == large.labels[1::3, 1::3]).mean() > 0.98
