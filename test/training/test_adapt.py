# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Templates chosen on a recording: by entropy, against a slow reference; the command."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from clip_dinoiser_ros import Segmenter
from clip_dinoiser_ros.cli import main
from clip_dinoiser_ros.core.segmentation import Patches
from clip_dinoiser_ros.core.templates import common_templates, find_sentences
from clip_dinoiser_ros.training.adapt_command import DAMAGED
from clip_dinoiser_ros.training.feature_pca import learn_components, measure_agreement
from clip_dinoiser_ros.training.template_choice import Entropies, as_templates, measure_entropies

pytest.importorskip('rosbags', reason='recordings need rosbags')

from rosbags.rosbag2 import Reader

from clip_dinoiser_ros.bag.types import typestore
from clip_dinoiser_ros.demo.record import write_drive
from clip_dinoiser_ros.world.scenes import drive, scene

PROMPTS = ('road', 'grass', 'wall|building', 'sky', 'person')


@pytest.fixture(scope='module')
def segmenter():
    return Segmenter.load('demo', device='cpu', precision='fp32', short_side=128)


@pytest.fixture(scope='module')
def bag(tmp_path_factory):
    path = tmp_path_factory.mktemp('bag') / 'drive.mcap'
    write_drive(path, drive(3, seconds=0.6, rate_hz=10.0, width=160, height=120))
    return path


def command(bag, output, *more):
    return [
        *('adapt', str(bag), '--output', str(output), '--prompts', *PROMPTS),
        *('--model', 'demo', '--device', 'cpu', '--short-side', '128', *more),
    ]


def test_entropies_are_those_of_one_template_after_the_other(segmenter):
    images = [scene(seed, 160, 120).image for seed in (1, 2)]
    templates = ['a photo of a {}.', 'the {}!']
    found = measure_entropies(segmenter, images, PROMPTS, templates)
    for number, template in enumerate(templates):
        prompts = [
            '|'.join(template.replace('{}', word) for word in prompt.split('|'))
            for prompt in PROMPTS
        ]
        vocabulary = segmenter.encode(prompts, None, 'none')
        patches, total = np.zeros(len(PROMPTS)), np.zeros(len(PROMPTS))
        for image in images:
            p = segmenter.patch_probabilities(image, vocabulary).astype(np.float64)
            entropy = -(p * np.log(p.clip(1e-30))).sum(axis=0)
            for k in range(len(PROMPTS)):
                patches[k] += (p.argmax(axis=0) == k).sum()
                total[k] += entropy[p.argmax(axis=0) == k].sum()
        np.testing.assert_array_equal(found.patches[number], patches)
        np.testing.assert_allclose(found.total[number], total, rtol=1e-3, atol=1e-4)
    assert found.patches.sum() == 2 * 2 * np.prod(segmenter.grid(120, 160))


def test_the_surest_of_those_that_find_enough():
    #        sure of few, sure, less sure, unsure; the second class is never seen
    patches = np.array([[10, 0], [100, 0], [120, 0], [100, 0]], float)
    total = np.array([[0.1, 0], [50, 0], [72, 0], [90, 0]])
    found = Entropies(patches, total)
    assert found.mean[0, 0] == 0.01
    assert np.isinf(found.mean[:, 1]).all()
    assert found.choose(2) == [[1, 2], []]
    assert found.choose(9) == [[1, 2, 3], []]


def test_synonyms_share_and_unseen_classes_are_left_out():
    found = as_templates(['wall|building', 'sky'], ['a {}', 'b {}'], [[1, 0], []])
    assert found == {'wall': ['b {}', 'a {}'], 'building': ['b {}', 'a {}']}


def test_the_command_writes_what_prompts_take(bag, segmenter, tmp_path, capsys):
    output = tmp_path / 'yard.json'
    assert main(command(bag, output, '--images', '3', '--keep', '2')) == 0
    content = json.loads(output.read_text())
    assert content['about']['images']['used'] == 3
    assert content['templates']['wall'] == content['templates']['building']
    known = set(common_templates('imagenet'))
    said = capsys.readouterr().out
    for templates in content['templates'].values():
        assert len(templates) == 2
        assert set(templates) <= known
        assert '; '.join(templates) in said
    vocabulary = segmenter.encode(PROMPTS, None, str(output))
    assert vocabulary.templates == str(output)
    road = find_sentences(str(output)).of('road')
    assert road == [text.replace('{}', 'road') for text in content['templates']['road']]

    assert main(command(bag, output)) == 1
    assert '--force replaces it' in capsys.readouterr().err
    out, picture = tmp_path / 'out', tmp_path / 'a.png'
    Image.fromarray(scene(1, 160, 120).image).save(picture)
    options = ('--prompts', *PROMPTS, '--templates', str(output), '--model', 'demo')
    assert main(['image', str(picture), '--output', str(out), *options]) == 0


def test_adapt_needs_an_output_file(bag, capsys):
    words = ('--prompts', *PROMPTS, '--model', 'demo')
    assert main(['adapt', str(bag), *words]) == 1
    assert 'give --output for templates, --pca for features, or both' in capsys.readouterr().err


def test_components_are_the_longest_directions_of_the_features(segmenter):
    images = [scene(seed, 160, 120).image for seed in (1, 2)]
    components = learn_components(segmenter, images)
    rows = []
    for image in images:
        found = segmenter.pooled_features(image)[0].flatten(1).T.double().numpy()
        rows.append(found / np.linalg.norm(found, axis=1, keepdims=True))
    _, lengths, expected = np.linalg.svd(np.concatenate(rows), full_matrices=False)
    np.testing.assert_allclose(components.T @ components, np.eye(128), atol=1e-5)
    apart = lengths[:8] > 1.01 * lengths[1:9]  # the others may stand for each other
    same = np.abs((components[:, :8] * expected[:8].T).sum(axis=0))
    assert apart.sum() > 3
    np.testing.assert_allclose(same[apart][:3], 1.0, atol=1e-3)
    for dimension in (1, 8, 64):
        kept = (np.concatenate(rows) @ components[:, :dimension]) ** 2
        assert kept.sum() == pytest.approx((lengths[:dimension] ** 2).sum(), rel=1e-5)


def test_agreement_is_the_share_of_pixels_with_the_same_label(segmenter):
    images = [scene(seed, 160, 120).image for seed in (1, 2)]
    components = learn_components(segmenter, images[:1])
    vocabulary = segmenter.encode(['background', *PROMPTS])
    few, all_of_them = measure_agreement(segmenter, images, vocabulary, components, [2, 128])
    assert all_of_them > 0.999
    same = count = 0
    for image in images:
        expected = segmenter.segment(image, vocabulary).labels
        (patches,) = segmenter.segment_patches([image], vocabulary, with_features=True)
        features = patches.features.vectors.float().numpy()
        short = np.einsum('cd,chw->dhw', components[:, :2], features)
        short /= np.linalg.norm(short, axis=0)
        texts = vocabulary.embeddings.numpy() @ components[:, :2]
        found = torch.from_numpy(100 * np.einsum('kd,dhw->khw', texts, short)).softmax(dim=0)
        objectness = patches.features.objectness
        background = (objectness <= 0.5) & (found.amax(dim=0) < 0.99)
        confidence = torch.where(background, 1 - objectness, found[0])
        found[0][background] = 1.0
        labels = Patches(found, confidence, patches.extent, vocabulary).enlarge((120, 160)).labels
        same += (labels == expected).sum()
        count += expected.size
    assert few == pytest.approx(same / count, abs=2e-3)
    assert few < 0.99


def test_the_command_writes_components_that_bag_and_model_take(bag, segmenter, tmp_path, capsys):
    file = tmp_path / 'yard.safetensors'
    words = ('--prompts', *PROMPTS, '--model', 'demo', '--device', 'cpu', '--short-side', '128')
    assert main(['adapt', str(bag), '--pca', str(file), '--images', '5', *words]) == 0
    said = capsys.readouterr().out
    assert 'learned on the first 4 images; pixels of the last 1 with the label that 128' in said
    with safe_open(file, 'pt') as content:
        about = json.loads(content.metadata()['about'])
    assert (about['learned'], about['measured']) == (4, 1)
    assert about['agreement'].keys() == {'64', '128'}
    for dimension, share in about['agreement'].items():
        assert f'feature_dim {dimension}: {share:.2%}' in said
    assert about['agreement']['128'] > 0.999
    out = tmp_path / 'out'
    options = ('--outputs', 'features', '--feature-pca', str(file), '--feature-dim', '64')
    assert main(['bag', str(bag), str(out), *words, *options]) == 0
    with Reader(out) as reader:
        made = [
            typestore().deserialize_cdr(data, connection.msgtype)
            for connection, _, data in reader.messages()
            if connection.topic.endswith('/features')
        ]
    assert len(made) == 6
    assert {message.dimension for message in made} == {64}
    assert {message.model_digest for message in made} != {segmenter.text_digest}
    refused = (*options[:-1], '65536')
    assert main(['bag', str(bag), str(tmp_path / 'no'), *words, *refused]) == 1
    assert 'feature_dim is 65536; must be 64 to 128' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('options', 'said'),
    [
        (('--prompts', 'road'), 'give all classes'),
        (('--prompts', 'road', 'Road'), 'names must be unique'),
        (('--keep', '0'), '--keep is 0; must be between 1 and 200'),
        (('--images', '0'), '0 images requested; must be at least 1'),
        (('--topic', '/no'), '/no is not an image topic of the bag'),
        (('--gamma', '2'), 'gamma'),
        (('--output', 'a.yaml'), 'the name must end in .json'),
        (('--output', 'no/a.json'), 'no is not a folder'),
        (('--pca', 'a.pt'), '--pca a.pt: the name must end in .safetensors'),
        (('--pca', 'a.safetensors', '--images', '1'), '--pca needs at least 2 images'),
    ],
)
def test_unusable_adapt_arguments_are_refused(options, said, bag, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(command(bag, 'a.json', *options)) == 1
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_bag_is_read_as_far_as_it_is_whole_and_named(tmp_path, capsys):
    cut, output = tmp_path / 'cut.mcap', tmp_path / 'a.json'
    write_drive(cut, drive(3, seconds=2.0, rate_hz=10.0, width=160, height=120))  # some chunks
    content = cut.read_bytes()
    cut.write_bytes(content[: len(content) * 3 // 4])
    assert main(command(cut, output, '--images', '2')) == DAMAGED
    assert 'continuing with what is readable' in capsys.readouterr().err
    assert json.loads(output.read_text())['about']['images']['damage']


def test_a_bag_that_is_not_there(tmp_path, capsys):
    assert main(command(tmp_path / 'no', tmp_path / 'a.json')) == 1
    assert 'does not exist' in capsys.readouterr().err


def test_a_template_file_is_checked_by_every_command(bag, tmp_path, capsys):
    odd = tmp_path / 'odd.json'
    odd.write_text('{}')
    options = ('--prompts', *PROMPTS, '--templates', str(odd), '--model', 'demo')
    with pytest.raises(SystemExit) as end:
        main(['bag', str(bag), str(tmp_path / 'out'), *options])
    assert end.value.code == 2
    assert 'it needs "templates"' in capsys.readouterr().err
