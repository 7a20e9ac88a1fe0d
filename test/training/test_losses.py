# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""One step of the published training, number by number."""

import numpy as np
import pytest
import torch
from golden_data import GOLDEN

from clip_dinoiser_ros.training.batches import Batch, Sampling
from clip_dinoiser_ros.training.losses import fresh_heads, losses
from clip_dinoiser_ros.training.recipe import Recipe
from clip_dinoiser_ros.training.teachers import Targets
from clip_dinoiser_ros.training.trainer import Trainer


@pytest.fixture(scope='module')
def step():
    content = np.load(GOLDEN / 'training_step.npz')
    images = torch.from_numpy(content['images']).permute(0, 3, 1, 2).float() / 255
    targets = Targets(
        torch.from_numpy(content['target_affinity']), torch.from_numpy(content['target_foreground'])
    )
    return Batch(images), targets, content


@pytest.fixture
def trainer(golden_clip, golden_heads):
    return Trainer(golden_clip[0], golden_heads, Recipe(sampling=Sampling(crop=224)))


def test_golden_losses_and_gradients(trainer, step):
    batch, targets, expected = step
    affinity, foreground = losses(trainer.heads, trainer.inner(batch), targets)
    (affinity + foreground).backward()
    assert affinity.item() == pytest.approx(float(expected['affinity_loss']), abs=1e-5)
    assert foreground.item() == pytest.approx(float(expected['foreground_loss']), abs=1e-5)
    for name in ('obj_proj', 'bkg_decoder'):
        gradient = getattr(trainer.heads, name).weight.grad.norm().item()
        assert gradient == pytest.approx(float(expected[f'grad_{name}_norm']), rel=1e-4)


def test_a_step_is_adamw_on_the_heads_alone(trainer, step, golden_clip, golden_heads):
    """The first step of Adam moves every weight by the learning rate, however small its gradient;
    AdamW shrinks it by rate x decay first."""
    batch, targets, expected = step
    visual = golden_clip[0].visual
    before = {name: value.clone() for name, value in visual.state_dict().items()}
    values = trainer.step(batch, lambda *_: targets, iteration=0)
    assert values[0] == pytest.approx(float(expected['affinity_loss']), abs=1e-5)
    for name, rate in (('obj_proj.weight', 5e-5), ('bkg_decoder.weight', 1e-2)):
        old, new = golden_heads[name], trainer.heads.state_dict()[name]
        moved = ((new - old * (1 - rate * 0.01)).abs() / rate).median().item()
        assert moved == pytest.approx(1.0, abs=0.02)
    for name, value in visual.state_dict().items():
        assert torch.equal(value, before[name])
        assert value.grad is None


def test_targets_reach_the_loss_at_the_grid_of_the_tower(trainer, step):
    batch, targets, _ = step
    asked = []

    def teacher(given, grid):
        asked.append((given is batch, grid))
        return targets

    trainer.step(batch, teacher, iteration=0)
    assert asked == [(True, (14, 14))]


def test_learning_rates_drop_after_five_thousand_iterations():
    recipe = Recipe()
    assert recipe.learning_rates(0) == recipe.learning_rates(4999) == (5e-5, 1e-2)
    assert recipe.learning_rates(5000) == pytest.approx((5e-6, 1e-3))
    assert (recipe.iterations, recipe.sampling.batch, recipe.sampling.crop) == (6000, 16, 448)


def test_the_dropped_rate_is_the_one_that_moves(golden_clip, golden_heads, step):
    batch, targets, _ = step
    recipe = Recipe(lr_drop_after=7, sampling=Sampling(crop=224))
    trainer = Trainer(golden_clip[0], golden_heads, recipe)
    trainer.step(batch, lambda *_: targets, iteration=7)
    old, new = golden_heads['bkg_decoder.weight'], trainer.heads.state_dict()['bkg_decoder.weight']
    assert ((new - old).abs() / 1e-3).median().item() == pytest.approx(1.0, abs=0.05)


def test_fresh_heads_follow_from_the_seed_and_leave_the_global_generator():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    heads = fresh_heads(32, 8, seed=1)
    assert torch.equal(torch.rand(3), expected)
    assert {name: tuple(value.shape) for name, value in heads.items()} == {
        'obj_proj.weight': (8, 32, 3, 3),
        'obj_proj.bias': (8,),
        'bkg_decoder.weight': (1, 32, 1, 1),
        'bkg_decoder.bias': (1,),
    }
    again, other = fresh_heads(32, 8, seed=1), fresh_heads(32, 8, seed=2)
    assert all(torch.equal(heads[name], again[name]) for name in heads)
    assert not torch.equal(heads['obj_proj.weight'], other['obj_proj.weight'])


def test_a_crop_that_is_no_multiple_of_the_patch_is_refused(golden_clip, golden_heads):
    with pytest.raises(ValueError, match='crop is 100; must be a multiple of the patch size 16'):
        Trainer(golden_clip[0], golden_heads, Recipe(sampling=Sampling(crop=100)))
