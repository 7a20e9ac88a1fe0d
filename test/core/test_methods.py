# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The methods that CLIP-DINOiser is compared with, against slow computations and live."""

import copy

import numpy as np
import pytest
import torch
from golden_data import golden

from clip_dinoiser_ros import Segmenter
from clip_dinoiser_ros.core import methods
from clip_dinoiser_ros.core.backbone import Backbone, DenseFeatures


@pytest.fixture(scope='module')
def image():
    return golden('image_160x208_plain')['image']


@pytest.fixture(scope='module')
def features():
    generator = torch.Generator().manual_seed(3)

    def draw(*shape):
        return torch.randn(*shape, generator=generator)

    return DenseFeatures(draw(2, 8, 3, 4), draw(2, 6, 3, 4), draw(2, 6, 3, 4)), draw(5, 8)


def slow_probabilities(maskclip, embeddings):
    """Softmax of 100 times the cosine, patch by patch: (N, K)."""
    rows = []
    for patch in maskclip.reshape(len(maskclip), -1).T:
        scores = [100 * patch @ e / np.linalg.norm(patch) for e in embeddings]
        shifted = np.exp(np.array(scores) - max(scores))
        rows.append(shifted / shifted.sum())
    return np.array(rows)


@pytest.mark.parametrize('denoising', [0.0, 0.5])
def test_refinement_by_keys(features, denoising):
    seen, embeddings = features
    # shorter than unit: no patch is so certain that it keeps its probabilities
    embeddings = 0.03 * torch.nn.functional.normalize(embeddings, dim=1)
    found = methods.refined_by_keys(seen.maskclip, seen.keys, embeddings, denoising)
    for index in range(2):
        p = slow_probabilities(seen.maskclip[index].double().numpy(), embeddings.double().numpy())
        if denoising:
            absent = p.max(axis=0) < denoising
            assert 0 < absent.sum() < 4
            p[:, absent] = 0
            p /= p.sum(axis=1, keepdims=True)
        keys = seen.keys[index].double().numpy().reshape(6, -1)
        keys = np.array([channel / np.linalg.norm(channel) for channel in keys])
        expected = np.zeros_like(p)
        for i in range(len(p)):
            for j in range(len(p)):
                expected[i] += (keys[:, i] @ keys[:, j]) * p[j]
        np.testing.assert_allclose(found[index].flatten(1).T, expected, rtol=1e-4, atol=1e-5)


def test_a_patch_that_is_certain_keeps_its_probabilities():
    features = torch.tensor([[[[1.0, 1.0]], [[0.0, 0.0]]]])  # (1, 2, 1, 2)
    embeddings = torch.eye(2)  # cosine 1 and 0: softmax of 100 and 0 is exactly 1 in float32
    found = methods.refined_by_keys(features, torch.ones(1, 3, 1, 2), embeddings)
    assert found.flatten(2)[0].T.tolist() == [[1.0, found[0, 1, 0, 0]]] * 2


def test_keys_are_those_of_the_last_block(golden_clip):
    """By a hook on torch's own attention, whose projection is cut in three."""
    clip, _ = golden_clip
    block = clip.visual.transformer.resblocks[-1]
    caught = []
    hook = block.ln_1.register_forward_hook(lambda *arguments: caught.append(arguments[2]))
    images = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    try:
        with torch.inference_mode():
            plain = Backbone(clip.visual, 'plain')(images)
            projected = Backbone(clip.visual, 'projected')(images)
    finally:
        hook.remove()
    attn, d = block.attn, block.attn.embed_dim
    with torch.inference_mode():
        keys = caught[0][:, 1:] @ attn.in_proj_weight[d : 2 * d].T + attn.in_proj_bias[d : 2 * d]
        behind = keys @ attn.out_proj.weight.T + attn.out_proj.bias
    for found, expected in ((plain, keys), (projected, behind)):
        assert found.keys.shape == (1, d, 4, 6)
        torch.testing.assert_close(found.keys.flatten(2)[0].T, expected[0], rtol=1e-4, atol=1e-4)
        assert torch.equal(found.maskclip, plain.maskclip)
    assert Backbone(clip.visual)(images).keys is None


def test_packing_keeps_the_keys(golden_clip):
    clip = copy.deepcopy(golden_clip[0])
    images = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        backbone = Backbone(clip.visual, 'projected')
        before = backbone(images).keys
        backbone.pack()
        torch.testing.assert_close(backbone(images).keys, before, rtol=1e-4, atol=1e-4)


def segmenter_of(golden_clip, golden_heads, method):
    clip, tokenizer = golden_clip
    return Segmenter(copy.deepcopy(clip), golden_heads, tokenizer, method=method)


def test_maskclip_is_the_method_without_pooling(golden_clip, golden_heads, golden_prompts, image):
    segmenter = segmenter_of(golden_clip, golden_heads, 'maskclip')
    vocabulary = segmenter.encode(golden_prompts, background=None)
    found = segmenter.patch_probabilities(image, vocabulary)
    maskclip = golden('image_160x208_plain')['maskclip']  # the authors' features
    expected = slow_probabilities(
        maskclip.astype(np.float64), vocabulary.embeddings.double().numpy()
    )
    np.testing.assert_allclose(found.reshape(len(found), -1).T, expected, atol=1e-4)
    pooled = golden('image_160x208_plain')['probs']
    assert np.abs(found - pooled).max() > 0.1  # and not what CLIP-DINOiser says


def test_live_refinement_gives_distributions(golden_clip, golden_heads, golden_prompts, image):
    segmenter = segmenter_of(golden_clip, golden_heads, 'maskclip-keys')
    vocabulary = segmenter.encode(golden_prompts, background=None)
    (patches,) = segmenter.segment_patches([image], vocabulary)
    assert patches.probabilities.min() >= 0
    torch.testing.assert_close(patches.probabilities.sum(dim=0), torch.ones(10, 13))
    batch = segmenter.pipeline.preprocess(torch.from_numpy(image)[None])
    seen = segmenter.pipeline.backbone(batch)
    raw = methods.refined_by_keys(seen.maskclip, seen.keys, vocabulary.embeddings)
    assert torch.equal(patches.probabilities.argmax(dim=0), raw[0].argmax(dim=0))
    result = segmenter.segment(image, vocabulary)
    assert result.labels.shape == image.shape[:2]
    assert 0 <= result.confidence.min() <= result.confidence.max() <= 1


@pytest.mark.parametrize('method', ['maskclip', 'maskclip-keys'])
def test_the_background_filter_works_with_every_method(
    golden_clip, golden_heads, golden_prompts, image, method
):
    segmenter = segmenter_of(golden_clip, golden_heads, method)
    vocabulary = segmenter.encode(golden_prompts, background=golden_prompts[0])
    (patches,) = segmenter.segment_patches([image], vocabulary, delta=1.0)
    objectness = golden('image_160x208_plain')['objectness_logit']
    assert (patches.probabilities[0].numpy()[objectness < -1e-4] == 1.0).all()


def test_loading_takes_a_method(golden_files):
    segmenter = Segmenter.load(**golden_files, device='cpu', precision='fp32', method='maskclip')
    assert segmenter.pipeline.method == 'maskclip'


def test_an_unknown_method_is_refused_before_anything_is_loaded():
    with pytest.raises(ValueError, match="method is 'sam'; allowed: dinoiser, maskclip, maskclip-"):
        Segmenter.load('no such model', method='sam')


def test_the_default_is_the_papers(golden_clip, golden_heads, golden_prompts):
    expected = golden('image_160x208_plain')
    segmenter = segmenter_of(golden_clip, golden_heads, 'dinoiser')
    vocabulary = segmenter.encode(golden_prompts, background=None)
    found = segmenter.patch_probabilities(expected['image'], vocabulary)
    np.testing.assert_allclose(found, expected['probs'], atol=1e-5)


def test_keys_come_from_torch_alone():
    with pytest.raises(ValueError, match="method is 'maskclip-keys'; it needs engine torch"):
        Segmenter.load('no such model', device='cpu', engine='openvino', method='maskclip-keys')
