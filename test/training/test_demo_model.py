# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The trainer is the code that made the shipped files: it runs, learns, and writes what loads."""

import json
import os
from dataclasses import replace

import numpy as np
import open_clip
import pytest
import torch

from clip_dinoiser_ros import Segmenter
from clip_dinoiser_ros.core.backbone import Backbone
from clip_dinoiser_ros.core.weights import demo_files
from clip_dinoiser_ros.training.demo_model import objectives
from clip_dinoiser_ros.training.demo_model.batches import STAGES, collate, plan_views
from clip_dinoiser_ros.training.demo_model.embeddings import (
    encode_texts,
    encode_whole,
    trainable_backbone,
    unit_features,
)
from clip_dinoiser_ros.training.demo_model.samples import FULL, WIDE, Sample, draw_image, stream
from clip_dinoiser_ros.training.demo_model.train import new_model, train
from clip_dinoiser_ros.world.classes import HELD_OUT, SEEN_CLASSES


@pytest.fixture(scope='module')
def clip():
    torch.manual_seed(1)
    return new_model().eval()


def test_the_backbone_can_be_trained(clip):
    """The dense path of inference, with gradients at a grid that is resized, step after step."""
    images = torch.randn(2, 3, 96, 160)
    expected = Backbone(clip.visual)(images)
    backbone = trainable_backbone(clip.visual)
    for _ in range(2):
        dense = backbone(images)
        torch.testing.assert_close(dense.maskclip, expected.maskclip)
        unit_features(dense).square()[..., :7].sum().backward()
    assert clip.visual.positional_embedding.grad.abs().sum() > 0
    assert all(p.grad is not None for p in clip.visual.transformer.resblocks[-1].mlp.parameters())
    unit = unit_features(dense)
    assert unit.shape == (2, 60, 128)
    torch.testing.assert_close(unit.norm(dim=-1), torch.ones(2, 60))


def test_the_whole_is_embedded_as_by_open_clip(clip):
    images = torch.randn(3, 3, 224, 224)
    with torch.no_grad():
        whole = encode_whole(clip.visual, images)
        expected = clip.encode_image(images, normalize=True)
    torch.testing.assert_close(whole, expected, atol=1e-5, rtol=1e-4)


def test_texts_are_encoded_as_by_open_clip(clip):
    tokens = open_clip.SimpleTokenizer()(['a red ball', 'a photo of a person in a yard.'])
    with torch.no_grad():
        expected = clip.encode_text(tokens, normalize=True)
        torch.testing.assert_close(encode_texts(clip, tokens), expected, atol=1e-5, rtol=1e-4)


def test_no_phrase_names_a_held_out_pair():
    rng = np.random.default_rng(0)
    for _ in range(30):
        phrases = objectives.draw_phrases(rng)
        assert len(phrases) == objectives.BACKGROUND_ROW + 1
        assert not [p for p in phrases for pair in HELD_OUT if f' {pair}' in f' {p}']


def test_targets_follow_a_mirrored_image():
    shares = np.zeros((2, 14, 19), np.float32)
    shares[0, :, :9], shares[1, :, 9:] = 1, 1
    image = np.zeros((224, 304, 3), np.uint8)
    image[:, : 9 * 16] = 255
    sample = Sample(image, np.array([3, 7]), shares)
    images, target = collate([sample] * 8, np.random.default_rng(0))
    assert target.shape == (8, 14 * 19, len(SEEN_CLASSES))
    bright = images.mean(dim=1).reshape(8, 14, 16, 19, 16).mean(dim=(2, 4)).flatten(1) > 0
    assert torch.equal(bright, target[..., 3] > 0.5)
    assert 0 < (target[:, 0, 3] > 0.5).sum() < 8  # some are mirrored, some are not


def test_the_affinity_loss_wants_the_threshold_kept():
    target = torch.zeros(1, 8, len(SEEN_CLASSES))
    target[0, :6, 0], target[0, 6:, 9] = 1, 1
    together = target @ target.transpose(1, 2)
    good, leaky = 2 * together - 1, torch.full((1, 8, 8), 0.5)
    alone = torch.eye(8)[None]
    losses = [float(objectives.affinity_loss(a, target)) for a in (good, leaky, alone)]
    assert losses[0] < 0.05 < min(losses[1:])


def test_small_images_come_first():
    views = plan_views(replace(STAGES[0], schedule=200), np.random.default_rng(0))
    assert FULL not in views[:100]
    assert views[120:].count(FULL) > 40


@pytest.mark.long
def test_one_call_makes_a_model_that_loads(tmp_path):
    small = {'steps': 1, 'schedule': 2, 'warmup': 1, 'batch': 4, 'fresh': 2, 'pooled_from': 0}
    stages = [replace(stage, **small, full_share=0.0) for stage in STAGES]
    lines = []
    train(tmp_path, 3, stages, lines.append)
    assert any(line.startswith('stage 2/2, step 1/1') for line in lines)
    assert json.loads((tmp_path / 'training.json').read_text())['seed'] == 3
    segmenter = Segmenter.load(**demo_files(tmp_path), device='cpu', short_side=64)
    found = segmenter.segment(
        np.zeros((64, 96, 3), np.uint8), segmenter.encode(['floor', 'sky'], templates='none')
    )
    assert found.labels.shape == (64, 96)
    assert (WIDE.width, WIDE.height) == (304, 224)


def _die(seed, view):
    os._exit(7)


@pytest.mark.long
def test_a_drawing_process_that_dies_is_named_at_once():
    with pytest.raises(RuntimeError, match='ended with code 7'):
        next(stream([(seed, WIDE) for seed in range(100)], _die))


def test_images_of_the_side_process_come_in_order():
    """The plan is long enough for a process of its own; each is what is drawn here."""
    plan = [(seed, WIDE) for seed in range(70)]
    drawn = list(stream(plan, draw_image, ahead=4))
    assert len(drawn) == len(plan)
    for index in (0, 69):
        for theirs, ours in zip(drawn[index], draw_image(*plan[index]), strict=True):
            np.testing.assert_array_equal(theirs, ours)
