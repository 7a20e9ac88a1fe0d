# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Smoothing on the generated drive: less flicker, and labels that are as good."""

from itertools import islice

import numpy as np
import pytest

from clip_dinoiser_ros import Segmenter
from clip_dinoiser_ros.cli import main
from clip_dinoiser_ros.evaluation.demo_model import Confusion
from clip_dinoiser_ros.evaluation.flicker import Steadiness, measure_smoothing
from clip_dinoiser_ros.world.drives import PROMPTS_BEFORE, demo_drive


def test_flicker_is_a_label_that_changes_although_the_truth_does_not():
    row = Steadiness(0.0, Confusion(('a', 'b')))
    row.add(np.array([[0, 0, 1, 255]]), np.array([[0, 0, 1, 0]]))
    row.add(np.array([[0, 0, 0, 255]]), np.array([[1, 0, 0, 1]]))
    assert (row.flickered, row.still) == (1, 2)
    assert row.flicker == 0.5
    assert row.confusion.counts.sum() == 6  # what is not among the prompts does not count


@pytest.mark.long
def test_smoothing_lowers_flicker_and_keeps_the_labels():
    segmenter = Segmenter.load('demo', device='cpu', precision='fp32')
    vocabulary = segmenter.encode(PROMPTS_BEFORE, templates='none')
    scenes = islice(demo_drive(), 60, 72)
    off, on = measure_smoothing(segmenter, vocabulary, scenes, (0.0, 0.5))
    assert 0 < on.flicker < 0.95 * off.flicker
    assert on.confusion.miou() > off.confusion.miou() - 0.01 > 0.5


@pytest.mark.parametrize(
    ('option', 'said'),
    [('--frames=1', 'between 2 and 200'), ('--weights=1.0', 'between 0 and 0.99')],
)
def test_the_command_refuses_nonsense(option, said, capsys):
    assert main(['evaluate', 'smoothing', option]) == 1
    assert said in capsys.readouterr().err
