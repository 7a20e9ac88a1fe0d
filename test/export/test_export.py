# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""An ONNX file that ONNX Runtime, without torch, gets the authors' numbers from."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from golden_data import golden

from clip_dinoiser_ros import cli
from clip_dinoiser_ros.export import command, onnx_file

pytest.importorskip('onnxscript', reason='the export needs onnx and onnxscript')
onnxruntime = pytest.importorskip('onnxruntime')

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope='module')
def files_options(golden_files):
    return [text for name, value in golden_files.items() for text in (f'--{name}', value)]


@pytest.fixture(scope='module')
def exported(tmp_path_factory, files_options, golden_prompts):
    folder = tmp_path_factory.mktemp('exported')
    options = ['--size', '208x160', '--prompts', *golden_prompts]
    assert cli.main(['export', str(folder / 'eyes.onnx'), *options, *files_options]) == 0
    return folder


def session_of(folder):
    return onnxruntime.InferenceSession(folder / 'eyes.onnx', providers=['CPUExecutionProvider'])


def test_golden_numbers_come_out_of_onnx_runtime(exported):
    expected = golden('image_160x208_plain')
    words = np.load(exported / 'eyes.npz')
    np.testing.assert_allclose(
        words['embeddings'], np.load(ROOT / 'test/golden/text.npz')['embeddings'], atol=1e-6
    )
    inputs = {'image': expected['image'][None], 'embeddings': words['embeddings']}
    probabilities, objectness = session_of(exported).run(None, inputs)
    assert probabilities.dtype == objectness.dtype == np.float32
    np.testing.assert_allclose(probabilities[0], expected['probs'], atol=1e-5)
    logits = np.log(objectness[0]) - np.log1p(-objectness[0])
    np.testing.assert_allclose(logits, np.squeeze(expected['objectness_logit']), atol=1e-4)


@pytest.mark.parametrize('count', [1, 2, 5])
def test_any_number_of_classes(exported, golden_segmenter, count):
    image = golden('image_160x208_plain')['image']
    vocabulary = golden_segmenter.encode([f'thing {i}' for i in range(count)])
    inputs = {'image': image[None], 'embeddings': vocabulary.embeddings.numpy()}
    probabilities, _ = session_of(exported).run(None, inputs)
    expected = golden_segmenter.patch_probabilities(image, vocabulary)
    np.testing.assert_allclose(probabilities[0], expected, atol=1e-5)


def test_the_lines_of_the_page_give_the_authors_labels(exported, monkeypatch, golden_prompts):
    expected = golden('image_160x208_background')
    page = (ROOT / 'docs/export.md').read_text()
    code = re.search('```python\n(.*?)```', page, re.DOTALL)[1]
    monkeypatch.chdir(exported)
    names = {'rgb': expected['image']}
    exec(code, names)
    assert (names['labels'] == expected['labels']).mean() >= 0.9999
    assert names['words']['names'].tolist() == golden_prompts
    assert golden_prompts[names['words']['background']] == 'background'


@pytest.mark.long
def test_existing_file_is_kept_unless_forced(tmp_path, files_options, capsys):
    (tmp_path / 'a.onnx').write_text('mine')
    options = ['export', str(tmp_path / 'a.onnx'), '--size', '48x32', '--prompts', 'cat']
    assert cli.main([*options, *files_options]) == 1
    assert 'a.onnx exists; --force replaces it' in capsys.readouterr().err
    assert (tmp_path / 'a.onnx').read_text() == 'mine'
    assert cli.main([*options, *files_options, '--force', '--gamma', '0.5']) == 0
    assert 'images of 48x32' in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {'a.onnx', 'a.npz'}
    assert np.load(tmp_path / 'a.npz')['background'] == -1


@pytest.mark.long
def test_a_file_that_computes_something_else_is_not_kept(
    tmp_path, files_options, monkeypatch, capsys
):
    real = command.write_onnx

    def write_and_lie(*args):
        probabilities, objectness = real(*args)
        return probabilities, objectness + 0.01

    monkeypatch.setattr(command, 'write_onnx', write_and_lie)
    options = ['--size', '48x32', '--prompts', 'cat', 'dog', *files_options]
    assert cli.main(['export', str(tmp_path / 'a.onnx'), *options]) == 1
    assert 'objectness by 0.01; at most 0.001' in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
def test_without_onnx_runtime_it_says_that_nothing_was_checked(
    tmp_path, files_options, monkeypatch, capsys
):
    monkeypatch.setattr(command, 'find_spec', lambda name: None if 'runtime' in name else name)
    options = ['--size', '48x32', '--prompts', 'cat', *files_options]
    assert cli.main(['export', str(tmp_path / 'a.onnx'), *options]) == 0
    assert 'not checked: onnxruntime is not installed' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('output', 'options', 'reason'),
    [
        ('a.onnx', ['--size', '450x448'], '--size is 450x448; both must be multiples of 16'),
        ('a.onnx', ['--size', '65536x1024'], 'at most 16384 patches'),
        ('a.onnx', ['--gamma', '1'], 'gamma is 1.0; must be between 0 and 0.99'),
        ('a.pt', [], 'must end in .onnx'),
        ('none/a.onnx', [], 'none is not a folder'),
        ('folder.onnx', [], 'is a folder'),
        ('link.onnx', [], 'is a link'),
    ],
)
def test_wrong_use(tmp_path, files_options, output, options, reason, capsys):
    (tmp_path / 'folder.onnx').mkdir()
    (tmp_path / 'link.onnx').symlink_to(tmp_path / 'elsewhere')
    words = ['--prompts', 'cat', *files_options]
    assert cli.main(['export', str(tmp_path / output), *options, *words]) == 1
    assert reason in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {'folder.onnx', 'link.onnx'}


def test_missing_packages_are_named(tmp_path, files_options, monkeypatch, capsys):
    monkeypatch.setattr(command, 'find_spec', lambda name: None)
    words = ['--prompts', 'cat', *files_options]
    assert cli.main(['export', str(tmp_path / 'a.onnx'), *words]) == 1
    assert 'needs onnx and onnxscript: pip install onnx onnxscript' in capsys.readouterr().err


def test_numbers_that_are_none_are_no_agreement(exported, golden_segmenter, golden_prompts):
    embeddings = golden_segmenter.encode(golden_prompts).embeddings
    nothing = np.full((1, 7, 10, 13), np.nan, np.float32), np.zeros((1, 10, 13), np.float32)
    with pytest.raises(ValueError, match='differs from torch'):
        onnx_file.check_onnx(
            exported / 'eyes.onnx', (160, 208), torch.tensor(embeddings.numpy()), nothing
        )
