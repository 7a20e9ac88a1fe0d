# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from clip_dinoiser_ros.core.templates import find_sentences
from clip_dinoiser_ros.core.text_tower import TextTower, share_beginnings


@given(st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=6), min_size=1, max_size=12))
def test_sentences_share_a_place_exactly_where_they_begin_alike(sentences):
    length = max(map(len, sentences))
    tokens = torch.tensor([s + [0] * (length - len(s)) for s in sentences])
    ends = torch.tensor([len(s) - 1 for s in sentences])
    index, first = share_beginnings(tokens, ends)
    place_of = {}
    for row, sentence in zip(index.tolist(), sentences, strict=True):
        for end in range(len(sentence)):
            beginning = tuple(sentence[: end + 1])
            assert place_of.setdefault(beginning, row[end]) == row[end]
            found = int(first[row[end]])
            assert tokens[found // length, : found % length + 1].tolist() == list(beginning)
    assert len(set(place_of.values())) == len(place_of)
    assert len(first) == int(index.max()) + 1


@pytest.fixture
def tokens(golden_clip):
    words = ('dog', 'open door', 'cyclist')
    sentences = find_sentences('imagenet')
    return golden_clip[1]([text for word in words for text in sentences.of(word)])


def test_equals_openclips_own_tower(golden_clip, tokens):
    clip, tokenizer = golden_clip
    with torch.inference_mode():
        expected = F.normalize(clip.encode_text(tokens), dim=1)
        found = TextTower(clip, tokenizer.eot_token_id)(tokens)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    """A stand-in: the arithmetic of a GPU, in float16, on a CPU."""
    monkeypatch.setattr(TextTower, '_ready', lambda self, part: part)


@pytest.mark.parametrize('arithmetic', ['on a CPU', 'on a GPU'])
def test_half_precision_agrees_with_float32(golden_clip, tokens, caplog, request, arithmetic):
    if arithmetic == 'on a GPU':
        request.getfixturevalue('as_on_a_gpu')
    clip, tokenizer = copy.deepcopy(golden_clip[0]), golden_clip[1]
    tower = TextTower(clip, tokenizer.eot_token_id)
    with torch.inference_mode():
        expected = tower(tokens)
        tower.halve()
        found = tower(tokens)
    kept = {n: p.dtype for n, p in clip.named_parameters()}
    assert {d for n, d in kept.items() if n.startswith('visual.')} == {torch.float32}
    assert {d for n, d in kept.items() if not n.startswith('visual.')} == {torch.float16}
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.norm(dim=1), torch.ones(len(found)), atol=1e-6, rtol=0)
    assert 0 < (found - expected).norm(dim=1).max() < 2e-3
    assert not caplog.records


def test_on_a_cpu_only_the_weights_are_float16(golden_clip, tokens):
    clip, tokenizer = copy.deepcopy(golden_clip[0]), golden_clip[1]
    rounded = copy.deepcopy(clip)
    for parameter in rounded.parameters():
        parameter.data = parameter.data.half().float()
    tower = TextTower(clip, tokenizer.eot_token_id)
    tower.halve()
    with torch.inference_mode():
        found, expected = tower(tokens), TextTower(rounded, tokenizer.eot_token_id)(tokens)
    assert torch.equal(found, expected)


@pytest.mark.usefixtures('as_on_a_gpu')
def test_numbers_too_large_for_float16_cost_one_warning(golden_clip, tokens, caplog):
    clip, tokenizer = copy.deepcopy(golden_clip[0]), golden_clip[1]
    clip.transformer.resblocks[0].mlp.c_fc.bias.data.fill_(4e4)
    tower = TextTower(clip, tokenizer.eot_token_id)
    with torch.inference_mode():
        expected = tower(tokens)
        tower.halve()
        for _ in range(2):
            torch.testing.assert_close(tower(tokens), expected, atol=5e-3, rtol=0)
    assert len(caplog.records) == 1
    assert 'float32 from now on' in caplog.text


def test_less_than_half_of_the_tokens_remain(golden_clip, tokens, monkeypatch):
    clip, tokenizer = golden_clip
    rows = []
    linear = F.linear
    monkeypatch.setattr(
        'clip_dinoiser_ros.core.text_tower.F.linear',
        lambda x, *args: rows.append(len(x)) or linear(x, *args),
    )
    with torch.inference_mode():
        TextTower(clip, tokenizer.eot_token_id)(tokens)
    assert max(rows) < 0.5 * int((tokens != 0).sum())


def test_other_towers_go_their_own_way(golden_clip, tokens):
    class Other(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))

        def encode_text(self, tokens):
            return tokens.float()[:, :5] * self.weight

    found = TextTower(Other(), golden_clip[1].eot_token_id)(tokens)
    torch.testing.assert_close(found, F.normalize(tokens.float()[:, :5], dim=1))
