# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The parameters feature_dim and feature_pca: shorter features and texts, and what is refused."""

import numpy as np
import pytest
from clip_dinoiser_ros.msg import DenseFeatures
from feature_maps import encode, probabilities, vectors_of
from golden_data import golden
from harness import NodeProcess, Peer

from clip_dinoiser_ros import Segmenter
from clip_dinoiser_ros.core.feature_space import save_components
from clip_dinoiser_ros.training.feature_pca import learn_components

IMAGES = ('image_160x208_background', 'image_170x215_background')


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
def test_unusable_feature_pca_is_told_at_configure(parameters, pca, tmp_path, values, said):
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
