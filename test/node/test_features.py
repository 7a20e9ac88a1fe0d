# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Features and ~/encode_text together: what a map of them finds is what the node found.

They come over DDS or from a recording; the texts always come from the service of the node.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from clip_dinoiser_ros.msg import DenseFeatures
from clip_dinoiser_ros.srv import EncodeText
from golden_data import golden
from harness import NodeProcess, Peer, numbered_frame
from rclpy.serialization import serialize_message
from sensor_msgs.msg import CameraInfo, Image

from clip_dinoiser_ros import Segmenter, arguments, cli
from clip_dinoiser_ros.core.dinoiser import DELTA
from clip_dinoiser_ros.core.feature_space import save_components
from clip_dinoiser_ros.frames import images
from clip_dinoiser_ros.training.feature_pca import learn_components

MAPS = Path(__file__).parents[2] / 'docs/maps.md'
# the second does not end with a whole patch
IMAGES = ('image_160x208_background', 'image_170x215_background')


def vectors_of(message):
    """Read features as the documentation says: (h, w, d)."""
    vectors = np.frombuffer(bytes(message.features), '<f2').astype(np.float64)
    return vectors.reshape(message.height, message.width, message.dimension)


def encode(peer, texts):
    """Ask the node; return vectors, float64 (K, d), and their digest."""
    answer = peer.call(EncodeText, 'encode_text', EncodeText.Request(texts=texts))
    assert answer.success, answer.message
    vectors = np.array(answer.vectors, np.float64).reshape(len(texts), answer.dimension)
    return vectors, answer.model_digest


def probabilities(message, texts, background):
    """Compute what the documentation says of features and texts: float64 (K, h, w)."""
    scores = DenseFeatures.TEMPERATURE * np.einsum('kd,hwd->khw', texts, vectors_of(message))
    found = np.exp(scores - scores.max(axis=0))
    found /= found.sum(axis=0)
    objectness = np.reshape(message.objectness, (message.height, message.width))
    found[background, (found.max(axis=0) < DELTA) & (objectness <= 0.5)] = 1.0
    return found


def check(message, image, texts, segmenter, prompts):
    """Hold a message against the probabilities of the patches, to 1e-3."""
    words, digest = texts
    assert message.model_digest == digest == segmenter.text_digest
    assert (message.image_height, message.image_width) == image.shape[:2]
    vocabulary = segmenter.encode(prompts)
    expected = segmenter.patch_probabilities(image, vocabulary)
    found = probabilities(message, words, vocabulary.background)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-3)
    p = segmenter.patch_size
    assert (message.cell_height, message.cell_width) == (p, p)  # short_side is 0
    assert (message.height - 1) * p < image.shape[0] <= message.height * p


@pytest.fixture(scope='module')
def listening(node):
    with Peer() as peer:
        peer.listen()
        peer.hear('features', DenseFeatures)
        yield peer


@pytest.mark.parametrize('name', IMAGES)
def test_over_dds(listening, name, golden_segmenter, golden_prompts):
    image = golden(name)['image']
    message, labels = listening.send_until(image, 100 + IMAGES.index(name), 'features', 'labels')
    assert message.header == labels.header
    texts = encode(listening, golden_prompts)
    check(message, image, texts, golden_segmenter, golden_prompts)


def test_from_a_recording(
    listening, monkeypatch, tmp_path, golden_files, golden_segmenter, golden_prompts
):
    pytest.importorskip('rosbags', reason='recordings need rosbags')
    sys.path.insert(0, str(Path(__file__).parents[1] / 'bag'))
    import bags

    sent = {10 + number: golden(name)['image'] for number, name in enumerate(IMAGES)}
    source = bags.write(
        tmp_path / 'sent',
        [
            (
                '/camera/image_raw',
                (1000 + index) * 10**9,
                ('sensor_msgs/msg/Image', serialize_message(numbered_frame(image, index))),
            )
            for index, image in sent.items()
        ],
    )
    monkeypatch.setattr(arguments, 'load_segmenter', lambda args: golden_segmenter)
    out = tmp_path / 'out'
    options = ('--outputs', 'features', '--batch', '1', '--model', golden_files['model'])
    assert cli.main(['bag', str(source), str(out), '--prompts', *golden_prompts, *options]) == 0
    texts = encode(listening, golden_prompts)
    made = {m.header.stamp.sec: m for topic, _, m in bags.read(out) if topic.endswith('/features')}
    assert made.keys() == sent.keys()
    for index, image in sent.items():
        check(made[index], image, texts, golden_segmenter, golden_prompts)


def test_the_map_of_the_documentation(listening, image, golden_segmenter, golden_prompts):
    """Run its code: the voxels of a class are those of the patches that show it."""
    (code,) = re.findall('```python\n(total = .*?)```', MAPS.read_text(), re.DOTALL)
    service = SimpleNamespace(call=lambda asked: listening.call(EncodeText, 'encode_text', asked))
    names = {'np': np, 'encode_text': service, 'EncodeText': EncodeText}
    exec(code, names)
    message = listening.send_until(image, 300, 'features')[0]
    height, width = image.shape[:2]
    metres = np.full((height, width), 40.0, np.float32)  # so far that each cell has its voxel
    metres[:, :20] = np.nan
    focal = 97.0
    info = CameraInfo(k=[focal, 0.0, width / 2, 0.0, focal, height / 2, 0.0, 0.0, 1.0])
    depth = images.to_message(metres, '32FC1', message.header, Image)
    names['on_features_and_depth'](message, info, depth)
    vocabulary = golden_segmenter.encode(golden_prompts, None)
    winners = golden_segmenter.patch_probabilities(image, vocabulary).argmax(axis=0)
    classes = np.unique(winners[:, 1:])
    assert len(classes) > 1
    for index in classes:
        rest = [name for name in golden_prompts if name != golden_prompts[index]]
        voxels = names['where_is']([golden_prompts[index], *rest])
        rows, columns = np.nonzero(winners == index)
        middles = np.stack([columns, rows], axis=1)[columns > 0] * 16 + 8
        centre = np.array([width / 2, height / 2])
        expected = np.floor((middles - centre) / focal * 40.0 / 0.1).astype(int)
        assert {voxel[:2] for voxel in voxels} == set(map(tuple, expected.tolist()))


@pytest.fixture(scope='module')
def pca(tmp_path_factory, golden_segmenter):
    file = tmp_path_factory.mktemp('pca') / 'yard.safetensors'
    learned = learn_components(golden_segmenter, [golden(name)['image'] for name in IMAGES])
    save_components(file, learned, golden_segmenter.probe(), {})
    return file, learned


def test_shorter_features_and_texts(parameters, pca, tmp_path, golden_segmenter, golden_prompts):
    file, components = pca
    own = {**parameters, 'feature_pca': str(file), 'feature_dim': 64}
    image, vocabulary = golden(IMAGES[0])['image'], golden_segmenter.encode(golden_prompts)
    with NodeProcess(own, tmp_path) as process, Peer() as peer:
        process.wait_for_log('active; waiting for images')
        peer.listen()
        peer.hear('features', DenseFeatures)
        (message,) = peer.send_until(image, 1, 'features')
        texts, digest = encode(peer, golden_prompts)
        assert process.end() == 0
    assert message.dimension == texts.shape[1] == 64
    assert message.model_digest == digest != golden_segmenter.text_digest
    (patches,) = golden_segmenter.segment_patches([image], vocabulary, with_features=True)
    whole = patches.features.download()[0].astype(np.float64) @ components[:, :64]
    unit = whole / np.linalg.norm(whole, axis=-1, keepdims=True)
    np.testing.assert_allclose(vectors_of(message), unit, atol=1e-3)
    embeddings = vocabulary.embeddings.double().numpy()
    np.testing.assert_allclose(texts, embeddings @ components[:, :64], atol=1e-5)
    # these images alone need few directions
    found = probabilities(message, texts, vocabulary.background)
    expected = golden_segmenter.patch_probabilities(image, vocabulary)
    assert (found.argmax(axis=0) == expected.argmax(axis=0)).mean() > 0.9


@pytest.mark.parametrize(
    ('values', 'said'),
    [
        ({'feature_dim': 128}, 'feature_dim is 128 and feature_pca is empty'),
        ({'feature_dim': 1, 'feature_pca': 'FILE'}, 'feature_dim is 1; must be 64 to 512'),
        ({'feature_dim': 64, 'feature_pca': '/no'}, "feature_pca '/no' cannot be read"),
    ],
)
def test_what_cannot_be_used_is_told_at_configure(parameters, pca, tmp_path, values, said):
    values = {key: str(pca[0]) if value == 'FILE' else value for key, value in values.items()}
    with NodeProcess({**parameters, **values}, tmp_path) as process:
        process.wait_for_log(f'cannot configure: {said}')


def test_a_file_of_another_model_is_refused(parameters, tmp_path):
    demo = Segmenter.load('demo', device='cpu', precision='fp32')
    file = tmp_path / 'demo.safetensors'
    save_components(file, np.eye(128, dtype=np.float32), demo.probe(), {})
    own = {**parameters, 'feature_pca': str(file), 'feature_dim': 64}
    with NodeProcess(own, tmp_path) as process:
        process.wait_for_log('was made with another model')
