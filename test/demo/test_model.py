# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The shipped demo model: small, loads strictly, and truly segments scenes it has never seen."""

import json
import re
from pathlib import Path

import cv2
import numpy as np
import open_clip
import pytest
import yaml
from safetensors import safe_open
from safetensors.torch import load_file

from clip_dinoiser_ros import Segmenter
from clip_dinoiser_ros.core.weights import demo_files
from clip_dinoiser_ros.evaluation.demo_model import (
    Bench,
    Confusion,
    indices,
    measure,
    unseen_scenes,
)
from clip_dinoiser_ros.training.demo_model.files import (
    CAPTIONS_GAMMA,
    FOLDER,
    GAMMA,
    describe_vocabulary,
)
from clip_dinoiser_ros.world.classes import CLASSES, HELD_OUT
from clip_dinoiser_ros.world.drives import PROMPTS_AFTER, PROMPTS_BEFORE, demo_drive

CAPTIONS = Path(__file__).parents[1] / 'evaluation/captions_tower'
FLOOR_OWN = 0.75
FLOOR_HELD_OUT = 0.60


@pytest.fixture(scope='module')
def segmenter():
    return Segmenter.load('demo', device='cpu', precision='fp32')


def test_the_files_are_small():
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 10_000_000


def test_the_weights_fit_the_config_exactly():
    files = demo_files()
    open_clip.add_model_config(files['model'])
    clip = open_clip.create_model('clip-dinoiser-demo')
    weights = load_file(files['pretrained'])
    assert set(weights) == set(clip.state_dict())
    clip.load_state_dict(weights, strict=True)
    assert all(np.isfinite(tensor.float().numpy()).all() for tensor in weights.values())


def test_the_heads_are_exactly_four_tensors():
    with safe_open(demo_files()['heads'], 'pt') as heads:
        assert sorted(heads.keys()) == [
            'bkg_decoder.bias',
            'bkg_decoder.weight',
            'obj_proj.bias',
            'obj_proj.weight',
        ]


def test_the_vocabulary_file_is_up_to_date(segmenter):
    content = json.loads((FOLDER / 'vocabulary.json').read_text())
    assert content == describe_vocabulary()

    def unknown(*prompts):
        return segmenter.unknown_words(segmenter.encode(prompts, templates='none'))

    for prompts in (CLASSES, PROMPTS_BEFORE, PROMPTS_AFTER, ['person|human']):
        assert unknown(*prompts) == []
    assert unknown('red Ferrari', 'ball') == ['ferrari']
    assert set(HELD_OUT) & set(PROMPTS_AFTER)


def test_the_node_of_the_demo_starts_with_the_same_words():
    config = yaml.safe_load((Path(__file__).parents[2] / 'config/demo.yaml').read_text())
    parameters = config['/**/clip_dinoiser']['ros__parameters']
    assert parameters['prompts'] == list(PROMPTS_BEFORE)
    assert parameters['model'] == 'demo'


def test_the_model_brings_its_gamma(segmenter):
    shown = next(unseen_scenes(1))
    vocabulary = segmenter.encode(['background', *shown.names()])
    found, given, of_the_paper = (
        segmenter.patch_probabilities(shown.image, vocabulary, **options)
        for options in ({}, {'gamma': GAMMA}, {'gamma': 0.2})
    )
    np.testing.assert_array_equal(found, given)
    assert not np.allclose(found, of_the_paper)
    assert segmenter.gamma == GAMMA == 0.7


def test_the_commands_use_it(tmp_path):
    """`clip-dinoiser image --model demo` alone is as with its gamma, and not as with another."""
    from clip_dinoiser_ros.cli import main

    shown = next(unseen_scenes(1))
    picture = tmp_path / 'scene.png'
    cv2.imwrite(str(picture), shown.image[..., ::-1])
    words = ['image', picture, '--force', '--model', 'demo', '--prompts', 'background']
    words = [*map(str, words), *shown.names()]

    def confidence(*options):
        assert main([*words, '--output', str(tmp_path / 'out'), *options]) == 0
        return (tmp_path / 'out/scene_confidence.png').read_bytes()

    assert confidence('--gamma', '0.7') == confidence()
    assert confidence('--gamma', '0.2') != confidence()


def test_the_card_tells_what_it_cannot_do():
    card = (FOLDER / 'README.md').read_text()
    assert 'photograph' in card
    assert re.search(r'0\.\d\d', card)


def miou(segmenter, held_out, count):
    counted = Confusion(CLASSES)
    for shown in unseen_scenes(count, held_out):
        names = shown.names()
        found = segmenter.segment(shown.image, segmenter.encode(names, templates='simple'), GAMMA)
        counted.add(shown.labels, indices(names)[found.labels])
    return counted.miou(HELD_OUT if held_out else ())


def test_model_segments_unseen_scenes(segmenter):
    assert miou(segmenter, False, 8) > FLOOR_OWN


def test_model_segments_unseen_pairs_of_words(segmenter):
    assert miou(segmenter, True, 6) > FLOOR_HELD_OUT


def test_the_background_filter_leaves_the_things(segmenter):
    frame = next(iter(demo_drive(seconds=1, rate_hz=1)))
    asked = segmenter.encode(['background', *(n for n in PROMPTS_BEFORE if n != 'background')])
    found = segmenter.segment(frame.image, asked, GAMMA).labels
    stuff = frame.instances == 0
    assert (found[stuff] == 0).mean() > 0.9
    blue = frame.labels == CLASSES.index('blue barrel')
    assert (found[blue] == asked.names.index('blue barrel')).mean() > 0.7


def test_the_bench_computes_what_the_segmenter_computes(segmenter):
    bench = Bench()
    shown = next(unseen_scenes(1))
    names = ['background', *shown.names()]
    expected = segmenter.segment(shown.image, segmenter.encode(names), GAMMA).labels
    found = bench.labels(bench.look(shown.image), bench.encode(names), shown.labels.shape)
    assert (found == expected).mean() > 0.9999


def test_the_table_has_both_rows():
    rows = measure(Bench(), count=1, templates='none')
    assert [row.pooling for row in rows] == [False, True]
    assert all(0 < row.own <= 1 for row in rows)


@pytest.mark.long
def test_the_command_prints_the_rows(capsys):
    from clip_dinoiser_ros.cli import main

    few = ['evaluate', 'demo', '--scenes', '1']
    both = ['--start', '500000', '600000', '--captions', str(CAPTIONS)]
    assert main([*few, *both]) == 0
    printed = capsys.readouterr().out
    assert printed.count('| MaskCLIP | ') == printed.count('| guided pooling | ') == 4
    assert 'demo tower, 1 scenes from seed 600000, gamma 0.7' in printed
    assert f'captions tower, 1 scenes from seed 500000, gamma {CAPTIONS_GAMMA}' in printed
    one = ['--tower', 'captions', '--gamma', '0.5']
    assert main([*few, *one, '--captions', str(CAPTIONS)]) == 0
    printed = capsys.readouterr().out
    assert printed.count('captions tower, 1 scenes from seed 500000, gamma 0.5') == 1
    assert 'demo tower' not in printed
    assert main([*few]) == 0
    assert 'captions tower' not in capsys.readouterr().out
    for refused, reason in (
        ([*few, *one], '--tower captions needs --captions DIR'),
        ([*few, '--captions', str(FOLDER)], f'{FOLDER}: there is no captions-tower.safetensors'),
        (['evaluate', 'demo', '--scenes', '0'], 'at least 1'),
    ):
        assert main(refused) == 1
        assert reason in capsys.readouterr().err
