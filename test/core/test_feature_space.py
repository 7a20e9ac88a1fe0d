# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Features and texts as they are published: what they tell of the classes, whole and shortened."""

import numpy as np
import pytest
import torch
from golden_data import golden
from safetensors.torch import save_file

from clip_dinoiser_ros import Segmenter
from clip_dinoiser_ros.core.edges import refine
from clip_dinoiser_ros.core.feature_space import (
    FeatureSpace,
    FeatureSpaceError,
    save_components,
    shorter_space,
)

PROMPTS = ['background', 'sky', 'grass', 'dog|puppy']


def published(segmenter, image, vocabulary):
    (patches,) = segmenter.segment_patches([image], vocabulary, with_features=True)
    return patches, *patches.features.download()


@pytest.fixture
def segmenter(golden_segmenter):
    """The golden one; afterwards in its own space again."""
    space = golden_segmenter.space
    yield golden_segmenter
    golden_segmenter.space = space


@pytest.fixture(scope='module')
def components():
    rng = np.random.default_rng(0)
    return np.linalg.qr(rng.normal(size=(512, 512)))[0].astype(np.float32)


@pytest.mark.parametrize('name', ['image_160x208_background', 'image_170x215_background'])
def test_features_give_the_probabilities_of_the_patches(segmenter, name):
    image, vocabulary = golden(name)['image'], segmenter.encode(PROMPTS, None)
    patches, vectors, objectness = published(segmenter, image, vocabulary)
    assert vectors.dtype == np.float16
    assert vectors.shape == (*patches.probabilities.shape[1:], 512)
    assert objectness.dtype == np.float32
    assert objectness.shape == vectors.shape[:2]
    np.testing.assert_allclose(np.linalg.norm(vectors.astype(float), axis=-1), 1.0, atol=1e-3)
    scores = 100.0 * vectors.astype(np.float64) @ vocabulary.embeddings.double().numpy().T
    expected = np.exp(scores - scores.max(axis=-1, keepdims=True))
    expected /= expected.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(
        np.moveaxis(patches.probabilities.numpy(), 0, -1), expected, atol=1e-3
    )
    filtered = segmenter.segment_patches([image], segmenter.encode(PROMPTS))[0].probabilities
    is_background = (objectness <= 0.5) & (expected.max(axis=-1) < 0.99)
    assert is_background.any()
    np.testing.assert_array_equal(filtered[0].numpy() == 1.0, is_background)


def test_features_are_returned_only_on_request(segmenter):
    image = golden('image_160x208_plain')['image']
    vocabulary = segmenter.encode(PROMPTS)
    (without,) = segmenter.segment_patches([image], vocabulary)
    assert without.features is None
    (patches,) = segmenter.segment_patches([image], vocabulary, with_features=True)
    torch.testing.assert_close(patches.probabilities, without.probabilities)
    torch.testing.assert_close(patches.background_confidence, without.background_confidence)


def test_neither_smoothing_nor_edges_touch_them(segmenter):
    image = golden('image_160x208_plain')['image']
    vocabulary = segmenter.encode(PROMPTS)
    patches, vectors, _ = published(segmenter, image, vocabulary)
    (earlier,) = segmenter.segment_patches([255 - image], vocabulary, with_features=True)
    changed = refine(patches.average(earlier, 0.5), image, 'fast')
    assert changed.extent != patches.extent
    assert changed.features.extent == patches.extent
    np.testing.assert_array_equal(changed.features.download()[0], vectors)


def test_a_batch_has_the_features_of_each_image(segmenter):
    image, vocabulary = golden('image_160x208_plain')['image'], segmenter.encode(PROMPTS)
    both = segmenter.segment_patches([image, 255 - image], vocabulary, with_features=True)
    for one, given in zip(both, (image, 255 - image), strict=True):
        _, vectors, objectness = published(segmenter, given, vocabulary)
        np.testing.assert_array_equal(one.features.download()[0], vectors)
        np.testing.assert_array_equal(one.features.download()[1], objectness)


def test_all_components_together_only_turn_the_space(segmenter, components, tmp_path):
    file = tmp_path / 'pca.safetensors'
    save_components(file, components, segmenter.probe(), {})
    image, vocabulary = golden('image_160x208_plain')['image'], segmenter.encode(PROMPTS, None)
    texts = vocabulary.embeddings.numpy()
    _, whole, _ = published(segmenter, image, vocabulary)
    segmenter.shorten_features(file, 512)
    _, turned, _ = published(segmenter, image, vocabulary)
    products = turned.astype(np.float32) @ segmenter.space.project(texts).T
    np.testing.assert_allclose(products, whole.astype(np.float32) @ texts.T, atol=1e-3)
    assert np.abs(turned - whole).max() > 0.1


def test_shortened_features_have_unit_length_and_texts_what_is_left(
    segmenter, components, tmp_path
):
    file = tmp_path / 'pca.safetensors'
    save_components(file, components, segmenter.probe(), {})
    digest = segmenter.space.digest
    image, vocabulary = golden('image_160x208_plain')['image'], segmenter.encode(PROMPTS, None)
    _, whole, _ = published(segmenter, image, vocabulary)
    digests = {digest}
    for dimension in (64, 200):
        segmenter.shorten_features(file, dimension)
        digests.add(segmenter.space.digest)
        _, vectors, _ = published(segmenter, image, vocabulary)
        expected = whole.astype(np.float64) @ components[:, :dimension]
        expected /= np.linalg.norm(expected, axis=-1, keepdims=True)
        np.testing.assert_allclose(vectors, expected, atol=1e-3)
        texts = segmenter.space.project(vocabulary.embeddings.numpy())
        assert texts.shape == (len(PROMPTS), dimension)
        assert (np.linalg.norm(texts, axis=1) < 0.9).all()
    assert len(digests) == 3
    segmenter.shorten_features(file, 64)  # the same file gives the same space
    assert segmenter.space.digest in digests
    assert segmenter.text_digest == digest


def test_full_dimension_without_a_file(segmenter):
    space = segmenter.space
    for dimension in (0, 512):
        segmenter.shorten_features('', dimension)
        assert segmenter.space.digest == space.digest
        assert segmenter.space.components is None


@pytest.mark.parametrize(
    ('dimension', 'change', 'said'),
    [
        (128, 'no file', 'feature_dim is 128 and feature_pca is empty'),
        (0, None, 'feature_dim is 0; must be 64 to 512 for this model, or 0 without feature_pca'),
        (63, None, 'feature_dim is 63; must be 64 to 512'),
        (513, None, 'feature_dim is 513; must be 64 to 512'),
        (64, 'not there', 'cannot be read'),
        (64, 'damaged', 'cannot be read'),
        (64, 'other tensors', 'has the tensors weight; it must have components, probe'),
        (64, 'other width', 'was made with another model'),
        (64, 'other model', 'was made with another model'),
    ],
)
def test_unusable_feature_files_are_refused(dimension, change, said, components, tmp_path):
    file = tmp_path / 'pca.safetensors'
    probe = torch.nn.functional.normalize(torch.arange(1.0, 513.0), dim=0)
    save_components(file, components, probe, {})
    if change == 'damaged':
        file.write_bytes(file.read_bytes()[:1000])
    elif change == 'not there':
        file.unlink()
    elif change == 'other tensors':
        save_file({'weight': torch.zeros(3)}, file)
    elif change == 'other width':
        save_components(file, components[:256, :256], probe[:256], {})
    elif change == 'other model':
        probe = probe.flip(0)
    with pytest.raises(FeatureSpaceError, match='feature_') as error:
        shorter_space('ab', probe, '' if change == 'no file' else file, dimension)
    assert said in str(error.value)


def test_another_precision_reads_the_same_file(components, tmp_path):
    """A file of a workstation with a GPU is used on a robot without one."""
    file = tmp_path / 'pca.safetensors'
    probe = torch.nn.functional.normalize(torch.arange(1.0, 513.0), dim=0)
    save_components(file, components, probe.half().float(), {})
    assert shorter_space('ab', probe, file, 64).components.shape == (512, 64)


def test_a_file_of_the_demo_model_is_not_of_another(segmenter, tmp_path):
    demo = Segmenter.load('demo', device='cpu', precision='fp32')
    file = tmp_path / 'pca.safetensors'
    save_components(file, np.eye(128, dtype=np.float32), demo.probe(), {})
    with pytest.raises(FeatureSpaceError, match='was made with another model'):
        segmenter.shorten_features(file, 64)
    demo.shorten_features(file, 64)
    assert demo.space.components.shape == (128, 64)


def test_a_space_without_components_leaves_vectors_alone():
    vectors = np.ones((2, 3), np.float32)
    space = FeatureSpace('ab')
    assert space.project(vectors) is vectors
    assert space.project_features(vectors) is vectors
