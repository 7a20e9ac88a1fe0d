# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Order and variation of the images: the same for the same seed, truth moved with the image."""

import numpy as np
import pytest
import torch

from clip_dinoiser_ros.training.augment import Augmentation, augment
from clip_dinoiser_ros.training.batches import Batch, Sampling, batches, draw, make_batch
from clip_dinoiser_ros.training.image_sources import TrainingImage
from clip_dinoiser_ros.training.teachers import TeacherError, WorldTeacher

PLAIN = Augmentation(scale=(1.0, 1.0), flip=0.0, brightness=0.0, contrast=0.0, saturation=0.0)


def example(index=0, height=60, width=90):
    rng = np.random.default_rng(index)
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return TrainingImage(image, image[..., :2].copy())


class Some:
    def __init__(self, count=5, truth=True):
        self.names = [str(i) for i in range(count)]
        self.about = {}
        self._truth = truth

    def read(self, index):
        made = example(index)
        return made if self._truth else TrainingImage(made.image)


def test_every_image_comes_once_per_round():
    sampling = Sampling(batch=3, seed=1)
    drawn = [i for iteration in range(10) for i in draw(5, sampling, iteration)]
    rounds = [drawn[start : start + 5] for start in range(0, 30, 5)]
    assert all(sorted(part) == [0, 1, 2, 3, 4] for part in rounds)
    assert len({tuple(part) for part in rounds}) > 1
    assert draw(5, Sampling(batch=3, seed=2), 0) != draw(5, sampling, 0)


def test_a_batch_may_be_larger_than_the_set():
    assert sorted(draw(2, Sampling(batch=6), 0)) == [0, 0, 0, 1, 1, 1]


def test_a_batch_follows_from_seed_and_iteration_alone():
    sampling = Sampling(batch=2, crop=32, seed=7)
    first = make_batch(Some(), sampling, 4)
    again = make_batch(Some(), sampling, 4)
    assert torch.equal(first.images, again.images)
    assert torch.equal(first.truth, again.truth)
    assert first.images.shape == (2, 3, 32, 32)
    assert first.truth.shape == (2, 32, 32, 2)
    for other in (make_batch(Some(), sampling, 5), make_batch(Some(), Sampling(2, 32, 8), 4)):
        assert not torch.equal(first.images, other.images)


def test_a_image_that_comes_again_is_varied_anew():
    sampling = Sampling(batch=2, crop=16)
    made = [make_batch(Some(count=1), sampling, iteration).images for iteration in range(3)]
    seen = {image.numpy().tobytes() for batch in made for image in batch}
    assert len(seen) == 6


@pytest.mark.parametrize('workers', [1, 3, 8])
def test_threads_keep_the_order(workers):
    sampling = Sampling(batch=2, crop=16)
    made = list(batches(Some(), sampling, 3, 8, workers))
    expected = [make_batch(Some(), sampling, iteration) for iteration in range(3, 8)]
    assert len(made) == 5
    for got, wanted in zip(made, expected, strict=True):
        assert torch.equal(got.images, wanted.images)


def test_image_sources_without_truth_make_batches_without():
    assert make_batch(Some(truth=False), Sampling(batch=2, crop=16), 0).truth is None


def test_without_variation_a_square_comes_back_as_it_is():
    square = TrainingImage(example().image[:, :60])
    image, truth = augment(square, 60, PLAIN, np.random.default_rng(0))
    np.testing.assert_allclose(image * 255, square.image, atol=1e-3)
    assert truth is None


def test_truth_moves_with_the_image():
    """The truth is a copy of two channels: without colour jitter and smoothing they stay equal."""
    how = Augmentation(scale=(1.0, 1.0), brightness=0.0, contrast=0.0, saturation=0.0)
    lefts = set()
    for seed in range(20):
        image, truth = augment(example(), 60, how, np.random.default_rng(seed))
        np.testing.assert_allclose(image[..., :2] * 255, truth, atol=1e-3)
        lefts.add(truth.tobytes())
    assert len(lefts) > 10


@pytest.mark.parametrize('flip', [0.0, 0.5, 1.0])
def test_image_sources_are_mirrored_as_often_as_asked(flip):
    how = Augmentation((1.0, 1.0), flip, 0.0, 0.0, 0.0)
    square = TrainingImage(example().image[:, :60])
    mirrored = [
        not np.allclose(augment(square, 60, how, np.random.default_rng(s))[0] * 255, square.image)
        for s in range(60)
    ]
    assert flip - 0.2 <= np.mean(mirrored) <= flip + 0.2


def test_scale_shows_a_smaller_part():
    ramp = np.tile(np.arange(120, dtype=np.uint8)[None, :, None], (120, 1, 3))
    how = Augmentation((2.0, 2.0), 0.0, 0.0, 0.0, 0.0)
    image, _ = augment(TrainingImage(ramp), 60, how, np.random.default_rng(0))
    assert np.ptp(image) * 255 == pytest.approx(59, abs=1)


def test_colours_are_varied_within_bounds():
    grey = TrainingImage(np.full((32, 32, 3), 100, np.uint8))
    how = Augmentation((1.0, 1.0), 0.0, 0.5, 0.0, 0.0)
    means = [augment(grey, 32, how, np.random.default_rng(s))[0].mean() * 255 for s in range(200)]
    assert 49 < min(means) < 60
    assert 140 < max(means) < 151
    how = Augmentation((1.0, 1.0), 0.0, 0.0, 0.0, 1.0)
    colour = TrainingImage(np.tile(np.array([150, 100, 80], np.uint8), (32, 32, 1)))
    spread = [np.ptp(augment(colour, 32, how, np.random.default_rng(s))[0]) for s in range(200)]
    assert min(spread) * 255 < 10
    assert 120 < max(spread) * 255 <= 140.1
    how = Augmentation((1.0, 1.0), 0.0, 0.0, 0.9, 0.0)
    halves = np.zeros((32, 32, 3), np.uint8)
    halves[:16], halves[16:] = 100, 150
    spread = [
        np.ptp(augment(TrainingImage(halves), 32, how, np.random.default_rng(s))[0])
        for s in range(200)
    ]
    assert min(spread) * 255 < 10
    assert 90 < max(spread) * 255 <= 95.1
    bright = augment(
        example(), 32, Augmentation((1.0, 1.5), 0.5, 1.0, 1.0, 1.0), np.random.default_rng(1)
    )
    assert bright[0].dtype == np.float32
    assert 0.0 <= bright[0].min() <= bright[0].max() <= 1.0


@pytest.mark.parametrize('size', [(1, 1), (7, 300), (500, 20)])
def test_any_size_gives_the_crop(size):
    image, truth = augment(example(0, *size), 32, Augmentation(), np.random.default_rng(0))
    assert image.shape == (32, 32, 3)
    assert truth.shape == (32, 32, 2)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'scale': (0.5, 1.0)}, 'scale is 0.5'),
        ({'scale': (2.0, 1.0)}, 'scale'),
        ({'flip': 2}, 'flip'),
    ],
)
def test_strengths_out_of_range_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        Augmentation(**changes)


def world_truth():
    """Two rows of three patches of 4 pixels: floor, ball 1, ball 2 above floor, wall, ball 1."""
    labels = np.array([[0, 9, 9], [0, 3, 9]]).repeat(4, 0).repeat(4, 1)
    instances = np.array([[0, 1, 2], [0, 0, 1]]).repeat(4, 0).repeat(4, 1)
    labels[0, 0], instances[0, 0] = 9, 1  # one pixel of 16 does not decide
    return Batch(torch.zeros(1, 3, 8, 12), torch.from_numpy(np.dstack([labels, instances]))[None])


@pytest.mark.parametrize(
    ('together', 'groups'), [('class', 'a b b a c b'), ('instance', 'a b d a c b')]
)
def test_the_world_teacher_reads_masks(together, groups):
    targets = WorldTeacher(together)(world_truth(), (2, 3))
    names = np.array(groups.split())
    np.testing.assert_array_equal(targets.affinity[0].numpy(), names[:, None] == names)
    np.testing.assert_array_equal(targets.foreground[0, 0].numpy(), [[0, 1, 1], [0, 0, 1]])


def test_the_world_teacher_needs_masks():
    with pytest.raises(TeacherError, match='use the dino teacher'):
        WorldTeacher()(Batch(torch.zeros(1, 3, 8, 12)), (2, 3))


def test_generated_scenes_come_with_their_masks():
    world = pytest.importorskip('clip_dinoiser_ros.world.scenes')
    from clip_dinoiser_ros.training.world_images import WorldImages

    images = WorldImages(count=2, seed=1, width=160, height=128)
    for _ in range(2):  # drawn, then kept
        read = images.read(1)
        scene = world.scene(int(images.names[1].split()[1]), 160, 128)
        np.testing.assert_array_equal(read.image, scene.image)
        np.testing.assert_array_equal(read.truth[..., 0], scene.labels)
        np.testing.assert_array_equal(read.truth[..., 1], scene.instances)
    batch = make_batch(images, Sampling(batch=2, crop=64), 0)
    targets = WorldTeacher()(batch, (4, 4))
    assert targets.affinity.diagonal(dim1=1, dim2=2).all()
