# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The image tower in 8-bit integers: made of one's own frames, refused where it is not as good."""

import json
from importlib.util import find_spec

import cv2
import pytest

from clip_dinoiser_ros import Segmenter, cli
from clip_dinoiser_ros.core import WeightsError
from clip_dinoiser_ros.evaluation import quantize_command
from clip_dinoiser_ros.evaluation.demo_model import unseen_scenes
from clip_dinoiser_ros.world.classes import CLASSES

GAMMA = 0.7


@pytest.fixture(scope='module')
def quantized(tmp_path_factory):
    """Return a folder that the command has written of the demo model."""
    pytest.importorskip('nncf', reason='NNCF is not installed: pip install nncf')
    folder = tmp_path_factory.mktemp('quantized') / 'out'
    assert cli.main(['quantize', str(folder), '--model', 'demo', '--world', '--frames', '9']) == 0
    return folder


@pytest.mark.long
def test_quantized_model_labels_as_float32(quantized):
    report = json.loads((quantized / 'quantized.json').read_text())['agreement']
    assert report['frames'] == 3
    assert 0.985 <= report['same'] < 1.0  # and it is another precision
    assert report['least'] <= report['same']
    assert abs(report['miou'] - report['miou_fp32']) < 0.05
    exact = Segmenter.load('demo', device='cpu', precision='fp32', engine='torch')
    small = Segmenter.load('demo', device='cpu', precision='int8', quantized=quantized)
    assert (small.engine, small.precision) == ('openvino', 'int8')
    vocabulary = exact.encode(CLASSES)
    for scene in unseen_scenes(2):
        expected = exact.segment(scene.image, vocabulary, GAMMA).labels
        found = small.segment(scene.image, vocabulary, GAMMA).labels
        assert 0.96 < (found == expected).mean() < 1.0


@pytest.mark.long
def test_weights_that_it_was_not_made_of(quantized, golden_files):
    with pytest.raises(WeightsError, match='made from other weights'):
        Segmenter.load(**golden_files, device='cpu', precision='int8', quantized=quantized)


@pytest.mark.long
@pytest.mark.parametrize('name', ['tower.bin', 'tower.xml'])
def test_a_damaged_file(quantized, name):
    content = (quantized / name).read_bytes()
    (quantized / name).write_bytes(content[:-7] + b'damaged')
    try:
        with pytest.raises(WeightsError, match=f'is damaged: {name}'):
            Segmenter.load('demo', device='cpu', precision='int8', quantized=quantized)
    finally:
        (quantized / name).write_bytes(content)


@pytest.mark.long
def test_model_below_the_agreement_is_not_written(tmp_path, capsys, monkeypatch):
    """A folder of images; a model that never agrees stands in for NNCF's."""
    quantization = pytest.importorskip('clip_dinoiser_ros.evaluation.quantization')
    images = tmp_path / 'images'
    images.mkdir()
    for index, scene in enumerate(unseen_scenes(3)):
        cv2.imwrite(str(images / f'{index}.png'), scene.image[..., ::-1])
    monkeypatch.setattr(quantization, 'quantize', lambda labeller, visual, *frames: visual)
    bad = quantization.Agreement(1, 0.9849, 0.9, None, None)
    monkeypatch.setattr(quantization, 'measure', lambda *arguments: bad)
    out = tmp_path / 'out'
    options = ['--model', 'demo', '--folder', str(images), '--prompts', 'grass', 'tree']
    assert cli.main(['quantize', str(out), *options]) == quantize_command.REFUSED
    told = capsys.readouterr().out
    assert 'int8 and fp32 agree on 98.49% of the pixels' in told
    assert 'nothing written' in told
    assert not out.exists()


def test_int8_needs_its_folder_and_openvino(tmp_path):
    for arguments, what in (
        ({'precision': 'int8'}, 'precision is int8 but quantized is not set'),
        ({'quantized': tmp_path}, 'but precision is auto; it must be int8'),
        (
            {'precision': 'int8', 'quantized': tmp_path, 'engine': 'torch'},
            'precision is int8 and engine is torch',
        ),
    ):
        with pytest.raises(ValueError, match=what):
            Segmenter.load('demo', device='cpu', **arguments)


def test_a_folder_that_was_not_written_by_it(tmp_path):
    pytest.importorskip('openvino')
    with pytest.raises(WeightsError, match=r'cannot be read.*make it by `clip-dinoiser quantize`'):
        Segmenter.load('demo', device='cpu', precision='int8', quantized=tmp_path)


@pytest.mark.parametrize(
    ('options', 'reason'),
    [
        (['--folder', 'images'], '--prompts is missing'),
        (['--world', '--prompts', 'tree'], '--world has its own prompts'),
    ],
)
def test_wrong_use(options, reason, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(quantize_command, 'find_spec', lambda name: object())
    assert cli.main(['quantize', str(tmp_path / 'out'), *options]) == 1
    assert reason in capsys.readouterr().err


def test_existing_folder_is_not_replaced(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(quantize_command, 'find_spec', lambda name: object())
    (tmp_path / 'quantized.json').write_text('{}')
    assert cli.main(['quantize', str(tmp_path), '--world']) == 1
    assert '--force replaces it' in capsys.readouterr().err


def test_without_nncf(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(
        quantize_command, 'find_spec', lambda name: None if name == 'nncf' else find_spec(name)
    )
    assert cli.main(['quantize', str(tmp_path / 'out'), '--world']) == 1
    assert 'pip install nncf' in capsys.readouterr().err
