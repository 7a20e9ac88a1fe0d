# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Find a text in a frame: as segmenting again would, and in scenes with the truth."""

import numpy as np
import pytest
import torch
from finding_rates import contrasts_of, rates, right, seen
from golden_data import golden, most_shown_first

from clip_dinoiser_ros import Segmenter
from clip_dinoiser_ros.core.objects import find_objects
from clip_dinoiser_ros.frames.boxes import Box, complete
from clip_dinoiser_ros.frames.cloud_messages import Measured
from clip_dinoiser_ros.frames.finding import MIN_CONFIDENCE, find_in, with_general
from clip_dinoiser_ros.frames.intrinsics import Intrinsics
from clip_dinoiser_ros.world.classes import CLASSES
from clip_dinoiser_ros.world.drives import PROMPTS_BEFORE, THINGS, demo_drive
from clip_dinoiser_ros.world.scenes import scene

EVERY = 5  # frames of a drive of 20 s at 1 Hz, from its part with the barrel


@pytest.fixture(scope='module')
def demo():
    return Segmenter.load('demo', device='cpu', precision='fp32')


def test_without_the_image_tower_as_with_it(golden_segmenter, golden_prompts, monkeypatch):
    """The reference segments the image again and looks at every pixel."""
    image = golden('image_160x208_plain')['image']
    frame = seen(golden_segmenter, image, golden_prompts)
    vocabulary = golden_segmenter.encode(most_shown_first(golden_segmenter, image), None)
    again = golden_segmenter.segment(image, vocabulary)

    def fails(*_):
        raise AssertionError('the image tower ran')

    monkeypatch.setattr(golden_segmenter, '_run', fails)
    sights = find_in(golden_segmenter, frame, vocabulary, 0.0, 0.01)
    new = golden_segmenter.compare(frame.features, vocabulary).enlarge(image.shape[:2])
    np.testing.assert_allclose(new.confidence, again.confidence, atol=2e-3)
    assert (new.labels == again.labels).mean() > 0.999
    expected = find_objects(new.labels, new.confidence, [0], 0.01)
    assert len(sights) == len(expected.found) >= 1
    scores = [sight.found.score for sight in sights]
    assert scores == sorted(scores, reverse=True)
    for sight in sights:
        number = expected.found.index(sight.found) + 1
        pixels = np.argwhere(expected.instances == number)
        assert sight.centroid == pytest.approx(pixels.mean(axis=0)[::-1])
        assert sight.place is None
    best = find_in(golden_segmenter, frame, vocabulary, max(scores), 0.01)
    assert [sight.found for sight in best] == [sights[0].found]
    assert not find_in(golden_segmenter, frame, vocabulary, 1.0, 0.01)


def test_outside_of_the_region_nothing_is_found(golden_segmenter, golden_prompts):
    image = golden('image_160x208_plain')['image']
    vocabulary = golden_segmenter.encode(most_shown_first(golden_segmenter, image), None)
    left = (0.0, 0.0, 0.5, 0.0, 0.5, 1.0, 0.0, 1.0)
    whole = find_in(golden_segmenter, seen(golden_segmenter, image, ['a']), vocabulary, 0, 0)
    half = find_in(golden_segmenter, seen(golden_segmenter, image, ['a'], left), vocabulary, 0, 0)
    assert max(s.found.box[0] + s.found.box[2] for s in whole) > 104
    assert half
    assert max(s.found.box[0] + s.found.box[2] for s in half) <= 104


def test_complete_by_hand():
    camera = Intrinsics(200, 100, 100.0, 100.0, 99.5, 49.5)
    # columns 80 to 119 at 2 m are 0.8 m wide
    whole = complete(Box((0.0, 0.1, 2.0), (0.7, 0.5, 0.0), 50), (80, 40, 40, 20), camera)
    assert whole.centre == pytest.approx((0.0, 0.12, 2.4))
    assert whole.size == pytest.approx((0.8, 0.5, 0.8))
    # to the right: along the ray, that is further to the right
    aside = complete(Box((1.0, 0.1, 2.0), (0.3, 0.5, 0.0), 50), (140, 40, 20, 20), camera)
    assert aside.centre == pytest.approx((1.1, 0.11, 2.2))
    # cut by the left border: 0.2 m are seen, and 0.3 m in depth are half of a round thing
    cut = complete(Box((-1.0, 0.0, 2.15), (0.2, 0.5, 0.3), 50), (0, 40, 10, 20), camera)
    assert cut.size == pytest.approx((0.6, 0.5, 0.6))
    assert cut.centre[2] == pytest.approx(2.3)
    assert (cut.centre[0] + 0.3 * 2.3 / 2.0) == pytest.approx((9.5 - 99.5) * 2.3 / 100, abs=0.01)
    right = complete(Box((1.0, 0.0, 2.15), (0.2, 0.5, 0.3), 50), (190, 40, 10, 20), camera)
    assert right.centre[0] == pytest.approx(-cut.centre[0])


def places_of(truth, name):
    """Where the whole things of a class are, in the optical frame."""
    return [
        truth.pose.rotation()
        @ (np.array([thing.x, thing.y, thing.height / 2]) - truth.pose.position())
        for thing in truth.things
        if thing.name == name
    ]


def test_the_demo_drive(demo):
    """Every frame with 1 % of the barrel finds it at its place; what is not there is absent."""
    barrel, missing = 'blue barrel', 'red cone'
    assert missing not in THINGS
    prompts = [prompt for prompt in PROMPTS_BEFORE if prompt != barrel]
    errors, absent, looked = [], 0, 0
    with torch.inference_mode():
        for truth in demo_drive(rate_hz=1.0):
            share = (truth.labels == CLASSES.index(barrel)).mean()
            if share < 0.01 and looked >= EVERY:
                continue
            frame = seen(demo, truth.image, PROMPTS_BEFORE)
            measured = Measured(truth.depth, truth.intrinsics)
            if share >= 0.01:
                vocabulary = demo.encode(with_general([barrel, *prompts]), None)
                best, *_ = find_in(demo, frame, vocabulary, MIN_CONFIDENCE, 0.001, measured)
                wrong = [best.place.centre - place for place in places_of(truth, barrel)]
                errors.append(min(np.linalg.norm(wrong, axis=1)))
            if looked < EVERY:
                looked += 1
                vocabulary = demo.encode(with_general([missing, *PROMPTS_BEFORE]), None)
                absent += not find_in(demo, frame, vocabulary, MIN_CONFIDENCE, 0.001)
    assert len(errors) >= 4
    assert np.median(errors) < 0.1
    assert np.quantile(errors, 0.95) < 0.3
    assert absent >= 0.9 * looked


def test_found_where_it_is_and_absent_where_not(demo):
    """Whatever the contrasts are; the scenes are not those on which the default was chosen."""
    contrasts = contrasts_of(['red barrel', 'white door', 'person'])
    counts = rates(demo, (scene(seed, held_out=False) for seed in range(9000, 9008)), contrasts)
    for called in contrasts:
        (found, visible), (absent, missing) = (
            right(counts, called, there) for there in (True, False)
        )
        assert visible >= 15
        assert found >= 0.95 * visible, called
        assert absent >= 0.9 * missing, called


def test_with_general_prompts():
    assert with_general(['red ball', 'wall']) == ['red ball', 'wall', 'thing', 'background']
    assert with_general(['Thing|object', 'background']) == ['Thing|object', 'background']
