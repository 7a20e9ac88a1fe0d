# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The tower trained by captions alone: its training sees no masks, and guided pooling helps it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch

from clip_dinoiser_ros.cli import main
from clip_dinoiser_ros.core.weights import demo_files, load_clip
from clip_dinoiser_ros.evaluation.captions_tower import losses
from clip_dinoiser_ros.evaluation.captions_tower import train as train_captions
from clip_dinoiser_ros.evaluation.captions_tower.captioned_crops import (
    CaptionedImage,
    CropShape,
    captioned,
    crop,
)
from clip_dinoiser_ros.evaluation.captions_tower.tower import load_captions_clip, new_tower
from clip_dinoiser_ros.evaluation.demo_model import Bench, measure
from clip_dinoiser_ros.training.demo_model import objectives, train
from clip_dinoiser_ros.training.demo_model.embeddings import encode_whole
from clip_dinoiser_ros.training.demo_model.files import CAPTIONS_TRAINING, FOLDER
from clip_dinoiser_ros.world.classes import CLASSES, HELD_OUT, SEEN_CLASSES
from clip_dinoiser_ros.world.scenes import scene

CAPTIONS = Path(__file__).parent / 'captions_tower'
MARGIN = 0.01  # mean IoU; on the scenes of this test pooling gains 0.02


@pytest.fixture(scope='module')
def images():
    """Images and masks of a few scenes."""
    drawn = [scene(seed, 128, 96) for seed in range(6)]
    return [(image.image, image.labels) for image in drawn]


def showing(*names, small=()):
    shown = np.array([name in names for name in SEEN_CLASSES])
    possible = np.array([name in (*names, *small) for name in SEEN_CLASSES])
    return CaptionedImage(np.zeros((16, 16, 3), np.uint8), shown, possible)


def loss_of(seen):
    torch.manual_seed(0)
    files = demo_files()
    clip, _ = load_clip(files['model'], files['pretrained'])
    tower = new_tower()
    loss = train_captions.batch_loss(
        tower,
        clip,
        open_clip.SimpleTokenizer(),
        seen,
        torch.tensor(3.0),
        np.random.default_rng(5),
    )
    loss.backward()
    return loss.item(), tower.conv1.weight.grad.clone()


def test_masks_do_not_reach_the_loss(images):
    """Scramble where everything is: the captions stay the same, and with them loss and gradient."""
    rng = np.random.default_rng(0)
    scrambled = [
        captioned(image, rng.permutation(labels.ravel()).reshape(labels.shape))
        for image, labels in images
    ]
    loss, gradient = loss_of([captioned(*image) for image in images])
    again, same = loss_of(scrambled)
    assert again == loss
    assert torch.equal(same, gradient)
    other, _ = loss_of([captioned(image, images[0][1]) for image, _ in images])
    assert other != loss


def test_a_caption_names_what_a_crop_shows(images):
    rng = np.random.default_rng(0)
    image = np.zeros((96, 128, 3), np.uint8)
    labels = np.full((96, 128), CLASSES.index('grass'), np.uint8)
    labels[:, :64], image[:, :64] = CLASSES.index('red ball'), 255
    labels[0, 127] = CLASSES.index('sky')
    whole = captioned(image, labels)
    assert [SEEN_CLASSES[i] for i in np.flatnonzero(whole.shown)] == ['grass', 'red ball']
    assert np.array_equal(whole.shown, whole.possible)  # one pixel of sky is nothing
    bright, dark = set(), set()
    for _ in range(40):
        part = crop(image, labels, CropShape(2, 2, 1, (0.8, 1.2)), rng)
        assert part.image.shape == (32, 32, 3)
        shown = {SEEN_CLASSES[i] for i in np.flatnonzero(part.shown)}
        if part.image.min() == 255:
            bright |= shown
        if part.image.max() == 0:
            dark |= shown
    assert (bright, dark) == ({'red ball'}, {'grass'})


def test_a_sentence_is_judged_by_all_that_it_names():
    seen = [showing('red ball', 'floor', small=['blue box']), showing('wall', 'blue ball')]
    said = [['red ball'], ['ball'], ['ball', 'floor'], ['blue box'], ['red ball', 'wall']]
    true, false = losses.judge(seen, said)
    assert true.tolist() == [[1, 1, 1, 0, 0], [0, 1, 0, 0, 0]]
    assert false.tolist() == [[0, 0, 0, 0, 1], [1, 0, 1, 1, 1]]


def test_every_image_gets_a_sentence_and_one_that_is_not_quite_true():
    seen = showing('red ball', 'floor', small=['blue ball'])
    rng = np.random.default_rng(0)
    wrong_words = set()
    for _ in range(60):
        right, wrong = losses.describe(seen, rng)
        true, false = losses.judge([seen], [right, wrong])
        assert true.tolist() == [[True, False]]
        assert false.tolist() == [[False, True]]
        assert len(right) == len(wrong)
        (place,) = [i for i, (a, b) in enumerate(zip(right, wrong, strict=True)) if a != b]
        if right[place] == 'red ball':
            wrong_words.add(wrong[place])
    assert {'green ball', 'red box'} <= wrong_words  # the colour is wrong, or the kind
    assert not wrong_words & {'blue ball', *HELD_OUT}
    assert all(set(word.split()) & {'red', 'ball'} for word in wrong_words)


def test_the_loss_wants_true_pairs_closer_than_false_ones():
    images, texts = torch.eye(3), torch.eye(3)
    true = torch.eye(3, dtype=torch.bool)
    good = losses.caption_loss(images, texts, true, ~true, 20.0)
    bad = losses.caption_loss(images, texts.roll(1, 0), true, ~true, 20.0)
    assert good < 0.01 < 10 < bad
    unsure = losses.caption_loss(images, texts.roll(1, 0), true, torch.zeros(3, 3) > 0, 20.0)
    assert unsure < 0.01  # nothing is known to be false, so nothing competes


def test_a_whole_is_the_mean_over_its_patches():
    torch.manual_seed(0)
    tower = new_tower().eval()
    tower.pool_type = 'avg'  # how OpenCLIP calls it
    images = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        expected = torch.nn.functional.normalize(tower(images), dim=-1)
        torch.testing.assert_close(
            encode_whole(tower, images, 'mean'), expected, atol=1e-5, rtol=1e-4
        )


@pytest.mark.long
def test_one_command_makes_everything(tmp_path, monkeypatch):
    tiny = {'steps': 1, 'schedule': 2, 'warmup': 1, 'batch': 4, 'fresh': 2, 'pooled_from': 0}
    monkeypatch.setattr(
        train, 'STAGES', [replace(stage, **tiny, full_share=0.0) for stage in train.STAGES]
    )
    frames = (CropShape(3, 4, 6, (1.0, 2.0)),)
    stages = [
        replace(stage, steps=2, frames=frames, shares=(1.0,), keep=20)
        for stage in train_captions.CAPTION_STAGES[:2]
    ]
    monkeypatch.setattr(train_captions, 'CAPTION_STAGES', stages)
    recipe = replace(train_captions.HEADS, scenes=2, steps=2, batch=2, channels=4)
    monkeypatch.setattr(train_captions, 'HEADS', recipe)
    assert main(['demo', 'train', str(tmp_path), '--seed', '3', '--device', 'cpu']) == 0
    made = json.loads((tmp_path / CAPTIONS_TRAINING).read_text())
    assert made['tower']['seed'] == made['heads']['seed'] == 3
    assert len(made['tower']['stages']) == 2
    shipped = {path.name for folder in (FOLDER, CAPTIONS) for path in folder.iterdir()}
    assert {path.name for path in tmp_path.iterdir()} == shipped - {'README.md'}
    for captions in (None, tmp_path):
        rows = measure(Bench(tmp_path, 64, captions), 1, templates='none')
        assert all(0 <= row.own < 0.5 for row in rows)


def test_pooling_is_judged_by_what_it_mixes_in_and_what_it_misses():
    same = torch.zeros(1, 1, 8)
    same[..., :4] = 1
    good, leaky, narrow = same.clone(), torch.ones(1, 1, 8), torch.eye(8)[None, :1]
    losses = [
        [float(loss) for loss in objectives.pooling_losses(affinity, same, 0.3)]
        for affinity in (good, leaky, narrow)
    ]
    assert max(losses[0]) < 0.01
    assert losses[1] == pytest.approx([np.log(2), 0], abs=0.01)
    assert losses[2] == pytest.approx([0, np.log(4)], abs=0.02)


def test_the_text_tower_is_shared():
    files = demo_files()
    shipped, _ = load_clip(files['model'], files['pretrained'])
    clip, _ = load_captions_clip(CAPTIONS)
    mine = {k: v for k, v in clip.state_dict().items() if not k.startswith('visual.')}
    theirs = {k: v for k, v in shipped.state_dict().items() if not k.startswith('visual.')}
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[key], theirs[key]) for key in mine)
    assert clip.visual.conv1.weight.shape != shipped.visual.conv1.weight.shape


@pytest.mark.long
def test_guided_pooling_helps_the_tower_trained_by_captions():
    plain, pooled = measure(Bench(captions=CAPTIONS), 12)
    assert pooled.own > plain.own + MARGIN
    assert pooled.every > plain.every + MARGIN
