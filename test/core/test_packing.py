# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Packed weights give what the plain ones give, and nothing needs the functions that pack."""

import copy

import pytest
import torch
import torch.nn.functional as F
from golden_data import golden

from clip_dinoiser_ros import Segmenter
from clip_dinoiser_ros.core import packing


@pytest.fixture
def fresh():
    """What works is asked once in a process: ask again, now and after the test."""
    packing._works.cache_clear()
    yield
    packing._works.cache_clear()


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
@pytest.mark.parametrize('shape', [(1, 785, 64, 96), (2, 1, 96, 32), (3, 50, 768, 100)])
def test_a_packed_product_is_the_plain_one(dtype, shape):
    b, n, inputs, outputs = shape
    torch.manual_seed(0)
    x, weight, bias = torch.randn(b, n, inputs), torch.randn(outputs, inputs), torch.randn(outputs)
    expected = F.linear(x, weight, bias)
    found = packing.linear(x.to(dtype), packing.pack(weight.to(dtype)), bias.to(dtype))
    assert found.dtype == dtype
    error = (found.float() - expected).abs().max() / expected.abs().max()
    assert error < (1e-6 if dtype == torch.float32 else 0.01)


def segment_in_both_ways(golden_clip, golden_heads, golden_prompts, precision):
    clip, tokenizer = golden_clip
    image = golden('image_224x224_plain')['image']
    for pack in (True, False):
        segmenter = Segmenter(
            copy.deepcopy(clip), golden_heads, tokenizer, precision=precision, pack=pack
        )
        packed = segmenter.pipeline.backbone.visual.transformer.resblocks[0].mlp.c_fc.weight
        yield packed.is_mkldnn, segmenter.segment(image, segmenter.encode(golden_prompts))


@pytest.mark.parametrize('precision', ['fp32', 'bf16'])
def test_labels_are_those_of_the_plain_tower(golden_clip, golden_heads, golden_prompts, precision):
    (packed, first), (plain, second) = segment_in_both_ways(
        golden_clip, golden_heads, golden_prompts, precision
    )
    assert not plain
    assert packed == packing._works({'fp32': torch.float32, 'bf16': torch.bfloat16}[precision])
    assert (first.labels == second.labels).mean() >= (0.9999 if precision == 'fp32' else 0.99)


def refuse(*args):
    raise RuntimeError('not on this processor')


@pytest.mark.parametrize('broken', [refuse, lambda x, packed, bias: F.linear(x, -x[0], bias)])
def test_weights_stay_unpacked_without_working_functions(
    fresh, monkeypatch, golden_clip, golden_heads, golden_prompts, broken
):
    monkeypatch.setattr(packing, '_multiply', broken)
    (packed, first), (plain, second) = segment_in_both_ways(
        golden_clip, golden_heads, golden_prompts, 'fp32'
    )
    assert not packed
    assert not plain
    assert (first.labels == second.labels).all()


def test_other_types_stay_as_they_are():
    weight = torch.zeros(4, 4, dtype=torch.float16)
    assert packing.pack(weight) is weight
