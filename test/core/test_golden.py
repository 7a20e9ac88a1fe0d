# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The numbers of the authors' implementation, stage by stage."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from golden_data import GOLDEN, golden

from clip_dinoiser_ros.core.backbone import Backbone
from clip_dinoiser_ros.core.dinoiser import Heads, guided_pooling

SIZES = ['160x208', '170x215', '224x224', '320x448']
INNER_SIZES = ['160x208', '170x215']  # those whose files hold the stages between
MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073])[:, None, None]
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711])[:, None, None]


def normalised(image):
    """The golden files' preprocessing: zeros up to multiples of 16, then CLIP's mean and std."""
    height, width = image.shape[:2]
    x = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
    return (F.pad(x, (0, -width % 16, 0, -height % 16)) - MEAN) / STD


@pytest.mark.parametrize('filtered', ['plain', 'background'])
@pytest.mark.parametrize('size', SIZES)
def test_probabilities_and_labels(golden_segmenter, golden_prompts, size, filtered):
    expected = golden(f'image_{size}_{filtered}')
    background = 'background' if filtered == 'background' else None
    vocabulary = golden_segmenter.encode(golden_prompts, background=background)
    probabilities = golden_segmenter.patch_probabilities(expected['image'], vocabulary)
    np.testing.assert_allclose(probabilities, expected['probs'], atol=1e-5)
    result = golden_segmenter.segment(expected['image'], vocabulary)
    assert result.labels.shape == expected['labels'].shape
    assert (result.labels == expected['labels']).mean() >= 0.9999
    if filtered == 'plain':
        np.testing.assert_allclose(result.confidence, expected['confidence'], atol=1e-5)


@pytest.mark.parametrize('size', SIZES)
def test_stages(golden_clip, golden_heads, size):
    expected = golden(f'image_{size}_plain')
    heads = Heads(golden_heads)
    with torch.inference_mode():
        features = Backbone(golden_clip[0].visual)(normalised(expected['image']))
        objectness = heads.objectness(features.inner)[0].numpy()
        affinity = heads.affinity(features.inner)
        before_threshold = affinity[0].numpy().copy()
        pooled = guided_pooling(features.maskclip, affinity)[0].numpy()
    np.testing.assert_allclose(objectness, expected['objectness_logit'], atol=1e-5)
    assert ('affinity' in expected) == (size in INNER_SIZES)
    if size in INNER_SIZES:
        np.testing.assert_allclose(before_threshold, expected['affinity'], atol=1e-5)
        np.testing.assert_allclose(features.maskclip[0].numpy(), expected['maskclip'], atol=1e-5)
        np.testing.assert_allclose(pooled, expected['pooled'], atol=1e-5)


def test_text_embeddings(golden_segmenter, golden_prompts):
    expected = np.load(GOLDEN / 'text.npz')['embeddings']
    embeddings = golden_segmenter.encode(golden_prompts).embeddings.numpy()
    np.testing.assert_allclose(embeddings, expected, atol=1e-6)
