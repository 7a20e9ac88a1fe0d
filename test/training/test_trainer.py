# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Training from the first image to the file of heads, also when it is killed on the way."""

import copy
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from colour_teacher import ColourTeacher, small_recipe, write_images

from clip_dinoiser_ros import Segmenter
from clip_dinoiser_ros.core.weights import load_heads
from clip_dinoiser_ros.training import Running, train
from clip_dinoiser_ros.training.checkpoint import Checkpoint, TrainingError
from clip_dinoiser_ros.training.image_sources import FolderImages, TrainingImage
from clip_dinoiser_ros.training.losses import fresh_heads
from clip_dinoiser_ros.training.record import curve

CPU = Running(device='cpu', checkpoint_every=3)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp('source') / 'images')


@pytest.fixture(scope='module')
def finished(small_clip, folder, tmp_path_factory):
    """A training that nobody interrupted: its folder and its heads."""
    out = tmp_path_factory.mktemp('finished')
    images = FolderImages(folder)
    about = {'model': 'small'}
    heads = train(small_clip[0], images, ColourTeacher(), out, small_recipe(), CPU, about=about)
    return out, heads


def differences(first, second):
    assert first.keys() == second.keys()
    return [name for name in first if not torch.equal(first[name], second[name])]


@pytest.mark.long
def test_a_killed_training_goes_on_to_the_same_bits(
    small_clip, small_files, folder, finished, tmp_path
):
    out, ready = tmp_path / 'out', tmp_path / 'ready'
    script = Path(__file__).with_name('colour_teacher.py')
    arguments = [*small_files, folder, out, 10, 3, 8, ready]
    process = subprocess.Popen(
        [sys.executable, script, *map(str, arguments)],
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)},
        stderr=subprocess.PIPE,
    )
    try:
        until = time.monotonic() + 240
        while not ready.exists() and process.poll() is None and time.monotonic() < until:
            time.sleep(0.05)
        assert ready.exists(), process.communicate(timeout=5)[1].decode()[-2000:]
    finally:
        process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert [path.name for path in out.iterdir()] == ['checkpoint.pt']

    images = FolderImages(folder)
    with pytest.raises(TrainingError, match='has an unfinished training; resume it, or force'):
        train(small_clip[0], images, ColourTeacher(), out, small_recipe(), CPU)
    seen = []

    class Counting(ColourTeacher):
        def __call__(self, batch, grid):
            seen.append(grid)
            return super().__call__(batch, grid)

    again = Running(device='cpu', checkpoint_every=3, resume=True)
    resumed = train(small_clip[0], images, Counting(), out, small_recipe(), again)
    assert len(seen) == 10 - 6  # killed in the ninth, after the checkpoint of the sixth
    assert differences(resumed, finished[1]) == []
    record = json.loads((out / 'training.json').read_text())
    whole = json.loads((finished[0] / 'training.json').read_text())
    assert record['losses'] == whole['losses']
    assert len(record['started']) == 2
    assert sorted(path.name for path in out.iterdir()) == ['heads.safetensors', 'training.json']


def test_the_seed_decides_the_result(small_clip, folder, finished, tmp_path):
    recipe = small_recipe()
    other = replace(recipe, sampling=replace(recipe.sampling, seed=4))
    images = FolderImages(folder)
    same = train(small_clip[0], images, ColourTeacher(), tmp_path / 'a', recipe, CPU)
    assert differences(same, finished[1]) == []
    heads = train(small_clip[0], images, ColourTeacher(), tmp_path / 'b', other, CPU)
    assert len(differences(heads, finished[1])) == 4


def test_the_workers_do_not_change_the_result(small_clip, folder, finished, tmp_path):
    running = Running(device='cpu', checkpoint_every=7, workers=5)
    heads = train(
        small_clip[0], FolderImages(folder), ColourTeacher(), tmp_path, small_recipe(), running
    )
    assert differences(heads, finished[1]) == []


def test_both_losses_fall(small_clip, folder, tmp_path):
    recipe = small_recipe(iterations=30, lr_drop_after=30)
    train(small_clip[0], FolderImages(folder), ColourTeacher(), tmp_path, recipe, CPU)
    losses = json.loads((tmp_path / 'training.json').read_text())['losses']
    assert len(losses) == 30
    for name in ('affinity', 'foreground'):
        first = np.mean([point[name] for point in losses[:6]])
        last = np.mean([point[name] for point in losses[-6:]])
        assert last < 0.9 * first, (name, first, last)


def test_the_heads_load_into_a_segmenter(small_clip, finished):
    out, heads = finished
    loaded = load_heads(out / 'heads.safetensors')
    assert differences(loaded, heads) == []
    start = fresh_heads(64, 16, seed=3)
    assert len(differences(loaded, start)) == 4  # every tensor was trained
    clip, tokenizer = small_clip
    clip = copy.deepcopy(clip)  # a segmenter takes it over
    segmenter = Segmenter(clip, loaded, tokenizer, short_side=64)
    image = np.zeros((64, 80, 3), np.uint8)
    result = segmenter.segment(image, segmenter.encode(['red', 'blue'], templates='none'))
    assert result.labels.shape == (64, 80)


def test_the_record_says_how_it_was_made(finished, folder):
    record = json.loads((finished[0] / 'training.json').read_text())
    assert record['model'] == 'small'
    assert record['recipe']['sampling']['augmentation']['scale'] == [1.0, 1.5]
    assert record['recipe']['iterations'] == 10
    assert record['teacher'] == {'kind': 'colour'}
    assert record['source']['path'] == str(folder)
    assert record['image_count'] == len(record['images']) == 6
    assert record['precision'] == 'fp32'
    assert record['device'] == 'cpu'
    assert record['versions']['torch'] == torch.__version__.split('+')[0]
    assert record['started'][0] <= record['finished']
    assert [point['iterations'] for point in record['losses']] == list(range(1, 11))


def test_training_starts_from_given_heads(small_clip, folder, tmp_path):
    recipe = small_recipe(iterations=1, lr_affinity=1e-12, lr_foreground=1e-12)
    start = fresh_heads(64, 24, seed=9)
    heads = train(
        small_clip[0], FolderImages(folder), ColourTeacher(), tmp_path, recipe, CPU, start
    )
    for name, value in start.items():
        torch.testing.assert_close(heads[name], value, atol=1e-6, rtol=0)


def test_outputs_are_not_overwritten_unless_forced(small_clip, folder, tmp_path):
    (tmp_path / 'heads.safetensors').write_bytes(b'precious')
    arguments = (small_clip[0], FolderImages(folder), ColourTeacher(), tmp_path)
    with pytest.raises(TrainingError, match=r"heads.safetensors' exists; .* or force"):
        train(*arguments, small_recipe(), CPU)
    with pytest.raises(TrainingError, match=r'no training to resume in .*: it is finished'):
        train(*arguments, small_recipe(), Running(device='cpu', resume=True))
    assert (tmp_path / 'heads.safetensors').read_bytes() == b'precious'
    train(*arguments, small_recipe(iterations=1), Running(device='cpu', force=True))
    load_heads(tmp_path / 'heads.safetensors')


def test_force_forgets_the_unfinished_training(small_clip, folder, tmp_path):
    checkpoint({}).save(tmp_path / 'checkpoint.pt')

    def interrupted(*_):
        raise KeyboardInterrupt

    interrupted.about = {}
    running = Running(device='cpu', force=True)
    with pytest.raises(KeyboardInterrupt):
        train(small_clip[0], FolderImages(folder), interrupted, tmp_path, small_recipe(), running)
    assert list(tmp_path.iterdir()) == []


def checkpoint(settings, iteration=1):
    return Checkpoint(iteration, json.dumps(settings), {}, {}, torch.zeros(2, 2), ['now'])


def test_a_checkpoint_of_another_training_is_refused(tmp_path):
    path = tmp_path / 'checkpoint.pt'
    checkpoint({'recipe': {'seed': 0, 'batch': 2}, 'pictures': 'a'}).save(path)
    with pytest.raises(TrainingError, match=r'recipe\.seed was 0 and is 1; use the same settings'):
        Checkpoint.load(path, json.dumps({'recipe': {'seed': 1, 'batch': 2}, 'pictures': 'a'}))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(TrainingError, match='cannot be read'):
        Checkpoint.load(path, '{}')


def test_a_kill_while_a_checkpoint_is_written_leaves_the_last_one(tmp_path, monkeypatch):
    path = tmp_path / 'checkpoint.pt'
    checkpoint({}, iteration=1).save(path)

    def cut(content, file):
        file.write(b'half of it')
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, 'save', cut)
    with pytest.raises(KeyboardInterrupt):
        checkpoint({}, iteration=2).save(path)
    assert Checkpoint.load(path, '{}').iteration == 1


def test_a_loss_that_is_no_number_stops_the_training(small_clip, folder, tmp_path):
    class Broken(ColourTeacher):
        def __call__(self, batch, grid):
            targets = super().__call__(batch, grid)
            return replace(targets, foreground=targets.foreground * float('nan'))

    with pytest.raises(TrainingError, match='in iteration 1; use lower learning rates'):
        train(small_clip[0], FolderImages(folder), Broken(), tmp_path, small_recipe(), CPU)


def test_half_precision_trains_too(small_clip, folder, finished, tmp_path):
    running = Running(device='cpu', precision='bf16')
    heads = train(
        small_clip[0], FolderImages(folder), ColourTeacher(), tmp_path, small_recipe(), running
    )
    assert {tensor.dtype for tensor in heads.values()} == {torch.float32}
    points = json.loads((tmp_path / 'training.json').read_text())['losses']
    whole = json.loads((finished[0] / 'training.json').read_text())['losses']
    for name in ('affinity', 'foreground'):
        assert points[-1][name] == pytest.approx(whole[-1][name], abs=0.05)
        assert points[-1][name] != whole[-1][name]


def test_a_source_that_breaks_stops_the_training_with_its_reason(small_clip, tmp_path):
    class Breaking:
        names = ('a', 'b')
        about = {'kind': 'breaking'}  # noqa: RUF012

        def read(self, index):
            if index == 1:
                raise OSError('disk gone')
            return TrainingImage(np.zeros((64, 64, 3), np.uint8))

    with pytest.raises(OSError, match='disk gone'):
        train(small_clip[0], Breaking(), ColourTeacher(), tmp_path, small_recipe(), CPU)


def test_the_curve_has_at_most_a_hundred_points():
    losses = torch.arange(1230, dtype=torch.float64)[:, None].repeat(1, 2)
    points = curve(losses)
    assert len(points) <= 100
    assert points[-1]['iterations'] == 1230
    assert points[0] == {'iterations': 13, 'affinity': 6.0, 'foreground': 6.0}
