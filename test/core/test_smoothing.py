# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Averages over time: what they are, and when they start anew."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from clip_dinoiser_ros.core.segmentation import Patches
from clip_dinoiser_ros.core.smoothing import MAX_GAP_NS, Smoothing

WORDS = SimpleNamespace(background=0)


def patches(values, vocabulary=WORDS, extent=(1.0, 2.0)):
    """Two classes in a row of patches: `values` are the probabilities of the first."""
    first = torch.tensor([values], dtype=torch.float32)
    return Patches(torch.stack([first, 1 - first]), first / 2, extent, vocabulary)


def first_class(found):
    return found.probabilities[0, 0].tolist()


def test_the_average_by_hand():
    old, new = patches([0.8, 1.0]), patches([0.6, 0.0])
    mixed = new.average(old, 0.5)
    # in common: min(0.8, 0.6) + min(0.2, 0.4) = 0.8, so s = 0.4; in the other patch nothing
    assert first_class(mixed) == pytest.approx([0.4 * 0.8 + 0.6 * 0.6, 0.0])
    assert mixed.background_confidence[0].tolist() == pytest.approx([0.34, 0.0])
    torch.testing.assert_close(mixed.probabilities.sum(dim=0), torch.ones(1, 2))
    assert first_class(new) == pytest.approx([0.6, 0.0])  # unchanged
    assert mixed.vocabulary is WORDS


def test_without_the_background_filter():
    old, new = (replace(patches(v), background_confidence=None) for v in ([0.5], [0.5]))
    mixed = new.average(old, 0.9)
    assert mixed.background_confidence is None
    assert first_class(mixed) == pytest.approx([0.5])


def test_noise_on_a_scene_that_stands_is_averaged_away():
    noise = np.random.default_rng(0).normal(0.0, 0.1, 400).clip(-0.4, 0.4)
    smoothing = Smoothing()
    shown = [
        first_class(smoothing.smooth('camera', i * 10**8, patches([0.5 + float(n)]), 0.7))[0]
        for i, n in enumerate(noise)
    ]
    assert np.std(shown[20:]) < 0.6 * np.std(noise[20:])
    assert np.mean(shown[20:]) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(
    ('stamp_ns', 'frame'),
    [
        (MAX_GAP_NS + 1, patches([0.6, 0.6])),
        (-1, patches([0.6, 0.6])),
        (5, patches([0.6, 0.6], SimpleNamespace(background=0))),
        (5, patches([0.6, 0.6, 0.6], extent=(1.0, 3.0))),
        (5, patches([0.6, 0.6], extent=(1.0, 1.5))),
    ],
)
def test_it_starts_anew(stamp_ns, frame):
    smoothing = Smoothing()
    smoothing.smooth('camera', 0, patches([0.8, 0.8]), 0.5)
    assert smoothing.smooth('camera', stamp_ns, frame, 0.5) is frame
    after = smoothing.smooth('camera', stamp_ns, frame, 0.5)  # and goes on from there
    assert first_class(after) == pytest.approx(first_class(frame))


@pytest.mark.parametrize('stamp_ns', [0, 1, MAX_GAP_NS])
def test_smoothing_continues(stamp_ns):
    smoothing = Smoothing()
    smoothing.smooth('camera', 0, patches([0.8, 0.8]), 0.5)
    found = smoothing.smooth('camera', stamp_ns, patches([0.6, 0.6]), 0.5)
    assert first_class(found) == pytest.approx([0.68, 0.68])


def test_cameras_are_apart_and_reset_forgets_them():
    smoothing = Smoothing()
    smoothing.smooth('front', 0, patches([0.8]), 0.5)
    rear = patches([0.6])
    assert smoothing.smooth('rear', 0, rear, 0.5) is rear
    smoothing.reset()
    front = patches([0.6])
    assert smoothing.smooth('front', 0, front, 0.5) is front


def test_off_costs_nothing_and_forgets(monkeypatch):
    smoothing = Smoothing()
    smoothing.smooth('camera', 0, patches([0.8]), 0.5)
    monkeypatch.setattr(Patches, 'average', None)  # whoever calls it fails
    frame = patches([0.6])
    assert smoothing.smooth('camera', 1, frame, 0.0) is frame
    assert smoothing.smooth('camera', 2, frame, 0.5) is frame
