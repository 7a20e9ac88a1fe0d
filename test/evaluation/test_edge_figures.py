# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The figures of docs/edges.md: what is measured, and the filters to compare with."""

import cv2
import numpy as np
import pytest
import torch

from clip_dinoiser_ros import Segmenter
from clip_dinoiser_ros.cli import main
from clip_dinoiser_ros.core.edges import STEPS, refine
from clip_dinoiser_ros.evaluation import edge_figures
from clip_dinoiser_ros.evaluation.boundaries import edge_distance
from clip_dinoiser_ros.evaluation.demo_model import IGNORED, true_indices
from clip_dinoiser_ros.evaluation.edge_figures import (
    CONDITIONS,
    OTHER_TIME,
    frames_in_pairs,
    measure_edges,
)
from clip_dinoiser_ros.evaluation.edge_filters import FILTERS, RADIUS
from clip_dinoiser_ros.world.drives import PROMPTS_AFTER, demo_drive
from clip_dinoiser_ros.world.scenes import drive, scene


@pytest.fixture(scope='module')
def segmenter():
    return Segmenter.load('demo', device='cpu', precision='fp32', short_side=224)


def test_conditions_are_what_they_say():
    image = scene(1, 160, 120).image
    seen = {name: make(image, np.random.default_rng(0)) for name, make in CONDITIONS.items()}
    for name, shown in seen.items():
        assert shown.shape == image.shape
        assert shown.dtype == np.uint8
        again = CONDITIONS[name](image, np.random.default_rng(0))
        np.testing.assert_array_equal(shown, again)
        assert np.array_equal(shown, image) == (name in ('clean', OTHER_TIME))
    steps = {name: np.diff(shown.astype(float), axis=1).std() for name, shown in seen.items()}
    assert steps['noise'] > steps['clean'] > steps['JPEG 50'] > steps['blur']
    assert steps['camera motion'] < steps['clean']
    assert 0.25 < seen['low light'].mean() / image.mean() < 0.35


def test_pairs_are_consecutive_and_lie_over_the_whole_drive():
    assert list(frames_in_pairs(range(200), 3, 200)) == [[0, 1], [99, 100], [198, 199]]
    assert list(frames_in_pairs(range(200), 1, 200)) == [[0, 1]]
    assert len(list(frames_in_pairs(range(200), 100, 200))) == 100


def test_the_figures_are_counted_right(segmenter):
    pair = list(drive(21, seconds=0.2, rate_hz=10.0, width=160, height=120))
    vocabulary = segmenter.encode(PROMPTS_AFTER, None, 'none')
    figures = measure_edges(segmenter, vocabulary, [pair], 'clean', compare=True)
    assert list(figures) == [*STEPS, *FILTERS]
    for mode in STEPS:
        right = near = still = flickered = 0
        last = None
        for shown in pair:
            truth = true_indices(shown.labels, vocabulary.names)
            (patches,) = segmenter.segment_patches([shown.image], vocabulary)
            labels = refine(patches, shown.image, mode).enlarge(truth.shape).labels
            band = (edge_distance(truth) <= 4) & (truth != IGNORED)
            near += band.sum()
            right += (labels == truth)[band].sum()
            if last is not None:
                same = (truth == last[0]) & (truth != IGNORED)
                still += same.sum()
                flickered += (same & (labels != last[1])).sum()
            last = truth, labels
        figure = figures[mode]
        assert (figure.near, figure.near_right) == (near, right)
        assert figure.steadiness.flicker == flickered / still
        assert figure.frames == 2
    text = edge_figures.table({'clean': figures})
    assert text.count('\n') == 1 + len(figures)
    assert edge_figures.share(figures).count('\n') == 1 + len(figures)


def test_points_with_the_depth_of_another_time(segmenter):
    """The labels of one frame are held against what is true in the other one of its pair."""
    pair = list(drive(21, seconds=0.2, rate_hz=10.0, width=160, height=120))
    vocabulary = segmenter.encode(PROMPTS_AFTER, None, 'none')
    figure = measure_edges(segmenter, vocabulary, [pair], OTHER_TIME)['fast']
    near = right = 0
    for shown, other in (pair, pair[::-1]):
        truth = true_indices(other.labels, vocabulary.names)
        (patches,) = segmenter.segment_patches([shown.image], vocabulary)
        labels = refine(patches, shown.image, 'fast').enlarge(truth.shape).labels
        band = (edge_distance(truth) <= 4) & (truth != IGNORED)
        near += band.sum()
        right += (labels == truth)[band].sum()
    assert (figure.near, figure.near_right) == (near, right)
    assert not np.array_equal(pair[0].labels, pair[1].labels)


@pytest.mark.parametrize('name', FILTERS)
def test_a_filter_moves_labels_to_the_edge_and_keeps_what_is_even(name):
    image = np.zeros((32, 32, 3), np.float32)
    image[:, :18, 0] = image[:, 18:, 1] = 0.8
    right = np.tile(np.clip((np.arange(32) - 14) / 4, 0, 1), (32, 1))
    maps = np.stack([1 - right, right], axis=2).astype(np.float32)  # their border is at 16
    found = FILTERS[name](maps, image)
    assert found.shape == maps.shape
    inner = slice(RADIUS, -RADIUS)
    np.testing.assert_array_equal(
        found.argmax(axis=2)[inner, inner], (image[..., 1] > 0)[inner, inner]
    )
    even = np.full((32, 32, 3), 0.3, np.float32)
    np.testing.assert_allclose(FILTERS[name](even, image), even, atol=1e-4)


def test_the_picture_shows_before_and_after(segmenter, tmp_path):
    shown = next(demo_drive())
    vocabulary = segmenter.encode(PROMPTS_AFTER, None, 'none')
    edge_figures.draw_pictures(tmp_path / 'a.png', segmenter, vocabulary, shown)
    picture = cv2.imread(str(tmp_path / 'a.png'))[..., ::-1]
    assert picture.shape == (900, 1600, 3)
    np.testing.assert_array_equal(picture[:300, :400], shown.image[edge_figures.CROP])
    assert not np.array_equal(picture[:300, 400:800], picture[:300, 800:1200])
    np.testing.assert_array_equal(picture[:300, 1200:], picture[300:600, 1200:])  # the truth


def test_nonsense_is_refused(capsys):
    assert main(['evaluate', 'edges', '--pairs', '0']) == 1
    assert '--pairs is 0; must be between 1 and 100' in capsys.readouterr().err
    assert main(['evaluate', 'edges', '--pairs', '1', '--share-of', 'ViT-B-61']) == 1
    assert "'ViT-B-61'" in capsys.readouterr().err


def test_filters_work_on_the_patches_of_a_model(segmenter):
    shown = scene(1, 160, 120)
    vocabulary = segmenter.encode(('background', 'person'), templates='none')
    (patches,) = segmenter.segment_patches([shown.image], vocabulary)
    for name in FILTERS:
        found = edge_figures.refine_by(patches, shown.image, name)
        assert found.probabilities.shape == refine(patches, shown.image, 'fast').probabilities.shape
        assert torch.isfinite(found.probabilities).all()
        assert found.enlarge(shown.labels.shape).labels.shape == shown.labels.shape
