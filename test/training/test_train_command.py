# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""`clip-dinoiser train` as it is typed."""

import functools
import json

import pytest
import timm
import torch
from colour_teacher import write_images
from test_image_sources import large_topic, raw_topic, write_bag
from torch import nn

from clip_dinoiser_ros.cli import main
from clip_dinoiser_ros.core.weights import load_heads
from clip_dinoiser_ros.training.dino import BASE, SMALL

SHORT = ['--iterations', '2', '--batch', '2', '--crop', '32', '--channels', '8', '--device', 'cpu']


@pytest.fixture
def model(small_files):
    return ['--model', small_files[0], '--pretrained', small_files[1]]


@pytest.fixture
def teacher(tmp_path, monkeypatch):
    """The arguments of the dino teacher, by files; its towers have one block only."""
    monkeypatch.setattr(timm, 'create_model', functools.partial(timm.create_model, depth=1))
    torch.save(timm.create_model(BASE, num_classes=0).state_dict(), tmp_path / 'base.pth')
    torch.save(timm.create_model(SMALL, num_classes=0).state_dict(), tmp_path / 'small.pth')
    torch.save({'decoder': nn.Conv2d(384, 1, 1).state_dict()}, tmp_path / 'found.pt')
    files = [tmp_path / name for name in ('base.pth', 'small.pth', 'found.pt')]
    names = ('--dino-base', '--dino-small', '--found')
    return [str(word) for pair in zip(names, files, strict=True) for word in pair]


def test_from_a_recording_to_heads(model, teacher, tmp_path, capsys):
    bag = write_bag(tmp_path / 'bag', {'/camera/image_raw': raw_topic()})
    out = tmp_path / 'out'
    source = ['--bag', str(bag), '--topic', '/camera/image_raw', '--images', '5']
    assert main(['train', str(out), *source, *teacher, *model, *SHORT]) == 0
    heads = load_heads(out / 'heads.safetensors', width=64)
    assert heads['obj_proj.weight'].shape == (8, 64, 3, 3)
    record = json.loads((out / 'training.json').read_text())
    assert record['source']['topics'] == ['/camera/image_raw']
    assert record['image_count'] == 5
    assert record['teacher']['kind'] == 'dino'
    assert record['teacher']['gamma'] == 0.2
    assert record['pretrained'] == model[3]
    printed = capsys.readouterr()
    assert printed.out.strip() == str(out / 'heads.safetensors')
    assert 'affinity 0.' in printed.err
    assert '2/2' in printed.err


def test_a_cut_recording_is_trained_on_up_to_the_cut(model, teacher, tmp_path, capsys):
    bag = write_bag(tmp_path / 'bag', {'/camera/image_raw': large_topic()})
    file = next(bag.glob('*.mcap'))
    file.write_bytes(file.read_bytes()[: 5 * 480 * 640 * 3])
    out = tmp_path / 'out'
    assert main(['train', str(out), '--bag', str(bag), *teacher, *model, *SHORT]) == 3
    record = json.loads((out / 'training.json').read_text())
    assert record['image_count'] >= 2
    assert 'is cut off' in ' '.join(record['source']['damage'])
    assert 'bag.mcap is cut off' in capsys.readouterr().err


def test_on_from_given_heads_with_every_number_given(model, teacher, tmp_path):
    folder = write_images(tmp_path / 'images')
    arguments = ['--folder', str(folder), *teacher, *model, *SHORT]
    assert main(['train', str(tmp_path / 'a'), *arguments]) == 0
    numbers = (
        '--seed 3 --lr-affinity 1e-4 --lr-foreground 1e-3 --lr-drop-after 1 --gamma 0.3 --flip 0 '
        '--scale 1 1 --jitter 0.1 0.2 0.3 --precision fp32 --workers 1 --checkpoint-every 1'
    )
    start = ['--heads', str(tmp_path / 'a' / 'heads.safetensors')]
    assert main(['train', str(tmp_path / 'b'), *arguments, *start, *numbers.split()]) == 0
    record = json.loads((tmp_path / 'b' / 'training.json').read_text())
    assert record['start_heads'] == start[1]
    assert record['teacher']['gamma'] == 0.3
    assert record['recipe'] == {
        'iterations': 2,
        'lr_affinity': 1e-4,
        'lr_foreground': 1e-3,
        'lr_drop_after': 1,
        'channels': 8,
        'sampling': {
            'batch': 2,
            'crop': 32,
            'seed': 3,
            'augmentation': {
                'scale': [1.0, 1.0],
                'flip': 0.0,
                'brightness': 0.1,
                'contrast': 0.2,
                'saturation': 0.3,
            },
        },
    }


def test_from_generated_scenes(model, tmp_path):
    pytest.importorskip('clip_dinoiser_ros.world.scenes')
    out = tmp_path / 'out'
    assert main(['train', str(out), '--world', '--images', '2', *model, *SHORT]) == 0
    record = json.loads((out / 'training.json').read_text())
    assert record['teacher'] == {'kind': 'world', 'together': 'class'}
    assert record['source']['kind'] == 'world'


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--folder', 'nowhere'], '--found FILE is missing'),
        (['--folder', 'nowhere', '--found', 'lost.pt'], "'lost.pt' is not a file"),
        (['--folder', 'nowhere', '--teacher', 'world'], 'needs the masks of generated scenes'),
        (['--folder', 'nowhere', '--found', 'HERE'], "image folder 'nowhere' does not exist"),
        (['--folder', 'EMPTY', '--found', 'HERE'], 'its subfolders contain no .jpg'),
        (['--bag', 'nowhere', '--found', 'HERE'], "bag 'nowhere' does not exist"),
        (['--bag', 'EMPTY', '--found', 'HERE'], 'is not a bag'),
        (['--world', '--images', '0'], '0 images requested; must be at least 1'),
        (['--folder', 'EMPTY', '--images', '-1', '--found', 'HERE'], '-1 images requested'),
        (['--bag', 'EMPTY', '--images', '0', '--found', 'HERE'], '0 images requested'),
        (['--world', '--iterations', '0'], 'iterations is 0; must be at least 1'),
        (['--world', '--batch', '0'], 'batch is 0; must be at least 1'),
        (['--world', '--lr-affinity', 'nan'], 'lr_affinity is nan; must be positive'),
        (['--world', '--workers', '0'], 'workers is 0; must be at least 1'),
        (['--world', '--device', 'tpu'], "device 'tpu'"),
        (['--world', '--resume'], 'no training to resume'),
        (['--world', '--resume', '--force'], 'resume and force cannot be used together'),
    ],
)
def test_unusable_training_arguments_are_refused_at_once(
    tmp_path, monkeypatch, capsys, arguments, message
):
    """Before a model is looked for: there is none of this name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'here.pt').touch()
    words = [{'HERE': 'here.pt', 'EMPTY': 'empty'}.get(word, word) for word in arguments]
    assert main(['train', 'out', *words, '--model', 'no-such-model']) == 1
    printed = capsys.readouterr().err
    assert printed.startswith('clip-dinoiser train: ')
    assert message in printed
    assert 'no-such-model' not in printed
    assert not (tmp_path / 'out').exists()


def test_one_source_has_to_be_named(capsys):
    for sources in ([], ['--world', '--folder', 'x']):
        with pytest.raises(SystemExit) as stopped:
            main(['train', 'out', *sources])
        assert stopped.value.code == 2
