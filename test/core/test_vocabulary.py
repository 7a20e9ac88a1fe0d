# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

import unicodedata
from types import SimpleNamespace

import fake_cuda
import pytest
import torch
import torch.nn.functional as F
from hypothesis import example, given
from hypothesis import strategies as st

from clip_dinoiser_ros import PromptError
from clip_dinoiser_ros.core import vocabulary as module
from clip_dinoiser_ros.core.templates import find_sentences
from clip_dinoiser_ros.core.vocabulary import TextEncoder, join_prompts, parse_prompts


@pytest.fixture
def encoder(golden_clip):
    return TextEncoder(*golden_clip)


@pytest.mark.parametrize(
    ('prompts', 'reason'),
    [
        ([], 'empty'),
        ('person', 'list of strings'),
        ([''], 'prompt 0.*empty name'),
        (['person', '  \t '], 'prompt 1.*empty name'),
        (['person', '\u200b'], 'prompt 1.*empty name'),
        (['a||b'], 'empty synonym'),
        (['|'], 'empty synonym'),
        (['per\x07son'], r'U\+0007'),
        (['per\nson'], r'U\+000A'),
        (['a\u2028b'], r'U\+2028'),
        (['a\ud800b'], r'U\+D800'),
        (['person', 'car', ' person '], "'person' is given twice"),
        (['person', 'Person'], "'Person' is given as 'person' too"),
        (['traffic cone', 'traffic  cone'], 'traffic cone'),
        (['caf\u00e9', 'cafe\u0301'], 'given twice'),
        (['\uff41', 'a'], 'too'),  # a full-width letter, which CLIP's cleaning narrows
        (['person|human', 'human'], "'human' is given twice"),
        (['a|a'], 'twice'),
        (['x' * 1001], '1001 characters.*1000'),
        ([f'class {i}' for i in range(1001)], '1001 prompts.*1000'),
        (['person', 3], 'prompt 1 must be a string, got int'),
    ],
)
def test_refused_prompts(prompts, reason):
    with pytest.raises(PromptError, match=reason):
        parse_prompts(prompts)


def test_accepted_prompts():
    parsed = parse_prompts([' person | human ', '\u732b', '\U0001f469\u200d\U0001f680', 'C|D'])
    assert [p.name for p in parsed] == ['person', '\u732b', '\U0001f469\u200d\U0001f680', 'C']
    assert parsed[0].text == 'person|human'
    assert parsed[0].synonyms == ('person', 'human')
    assert len(parse_prompts([f'class {i}' for i in range(1000)])) == 1000
    right_to_left = ['\u0642\u0637\u0629', '\u05db\u05dc\u05d1 dog']
    assert [p.text for p in parse_prompts(right_to_left)] == right_to_left


@pytest.mark.parametrize(
    ('prompts', 'negatives', 'reason'),
    [
        (['dog'], ['cat', ''], r"^negative prompts: prompt 1 \(''\) has an empty name"),
        (['dog'], ['cat', 'cat'], "^negative prompts: 'cat' is given twice"),
        (['dog'], ['Dog'], "^positive and negative prompts: 'Dog' is given as 'dog' too"),
        (['dog|hound'], ['hound'], "^positive and negative prompts: 'hound' is given twice"),
        (['dog'] * 2, ['cat'], "^positive and negative prompts: 'dog' is given twice"),
        ([f'a {i}' for i in range(999)], ['b', 'c'], '1001 prompts given; at most 1000'),
    ],
)
def test_negative_prompts_follow_the_same_rules(prompts, negatives, reason):
    with pytest.raises(PromptError, match=reason):
        join_prompts(prompts, negatives)


def test_negative_prompts_come_last():
    assert join_prompts(['dog', 'cat'], ['wall|fence']) == ['dog', 'cat', 'wall|fence']
    assert join_prompts(('dog',), ()) == ['dog']


def is_allowed(prompts):
    """The prompt rules once more, slow and obvious."""
    if not prompts:
        return False
    names = []
    for prompt in prompts:
        text = unicodedata.normalize('NFC', prompt).strip()
        if [c for c in text if unicodedata.category(c) in {'Cc', 'Cs', 'Zl', 'Zp'}]:
            return False
        for part in text.split('|'):
            if not [c for c in part if unicodedata.category(c)[0] in 'LMNPS']:
                return False
            names.append(' '.join(unicodedata.normalize('NFKC', part).casefold().split()))
    return all(names.count(name) == 1 for name in names)


@example(['A\t|b'])  # a tab that is at an end only of a synonym
@given(st.lists(st.text(st.sampled_from('aAb| \u00e9e\u0301\t\x00\u200b\uff41\u732b'), max_size=6)))
def test_prompt_rules_against_a_reference(prompts):
    try:
        parsed = parse_prompts(prompts)
    except PromptError:
        assert not is_allowed(prompts)
    else:
        assert is_allowed(prompts)
        assert len(parsed) == len(prompts)
        assert all(p.name and p.name == p.name.strip() for p in parsed)
        assert parse_prompts([p.text for p in parsed]) == parsed  # what is shown can be typed


def test_long_prompt_is_refused_not_cut(encoder):
    fits = ' '.join(['dog'] * 75)
    assert len(encoder.encode([fits], templates='none')) == 1
    with pytest.raises(PromptError, match='more than 75 tokens with its template; at most 75'):
        encoder.encode([f'{fits} dog'], templates='none')
    with pytest.raises(PromptError, match='with its template'):
        encoder.encode([fits], templates='imagenet')


def test_clips_own_marks_are_refused(encoder):
    with pytest.raises(PromptError, match='special tokens'):
        encoder.encode(['a dog <end_of_text> a cat'])


@pytest.mark.parametrize('custom_text', [False, True])
def test_stopping_at_the_last_end_mark_is_exact(golden_clip, custom_text):
    """Against OpenCLIP's own text tower over all 77 tokens."""
    from test_backbone import make_clip

    tokenizer = golden_clip[1]
    clip = make_clip(custom_text) if custom_text else golden_clip[0]
    texts = ['dog', 'a person in a hi-vis vest', ' '.join(['word'] * 75)]
    with torch.inference_mode():
        expected = F.normalize(clip.encode_text(tokenizer(texts)), dim=1)
    found = TextEncoder(clip, tokenizer).encode(texts, templates='none').embeddings
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_synonyms_are_averaged(encoder):
    both = encoder.encode(['person|human'], templates='simple').embeddings[0]
    single = encoder.encode(['person', 'human'], templates='simple').embeddings
    torch.testing.assert_close(both, F.normalize(single.mean(dim=0), dim=0))
    assert not torch.allclose(both, single[0], atol=1e-3)


def test_templates(encoder):
    import open_clip

    assert find_sentences('none').of('dog') == ['dog']
    assert len(find_sentences('simple').of('dog')) == 7
    assert find_sentences('imagenet').of('dog') == [
        template('dog') for template in open_clip.OPENAI_IMAGENET_TEMPLATES
    ]
    with pytest.raises(PromptError, match=r"'photo'.*imagenet, simple, none"):
        encoder.encode(['dog'], templates='photo')


@pytest.mark.parametrize(
    ('background', 'index'), [('sky', 1), (' sky', 1), (None, None), ('', None), ('sea', None)]
)
def test_background_is_found_by_name(encoder, background, index):
    assert encoder.encode(['person', 'sky|heaven'], background, 'none').background == index


def test_a_known_prompt_costs_nothing(encoder, monkeypatch):
    encoded = []
    tower = encoder._tower
    monkeypatch.setattr(
        encoder, '_tower', lambda tokens: encoded.append(len(tokens)) or tower(tokens)
    )
    first = encoder.encode(['dog', 'cat'])
    assert encoded == [160]
    again = encoder.encode(['cat', 'dog'])
    assert encoded == [160]
    assert torch.equal(again.embeddings[0], first.embeddings[1])
    encoder.encode(['cat', 'cow'])
    assert encoded == [160, 80]
    encoder.encode(['cat'], templates='simple')
    assert encoded == [160, 80, 7]


def test_number_of_prompts_to_encode_is_known_beforehand(encoder):
    encoder.encode(['dog', 'cat|kitten'])
    prompts = ['kitten|puppy', 'dog', ' cow']
    assert encoder.missing(prompts, 'imagenet') == ['puppy', 'cow']
    assert encoder.missing(['dog'], 'none') == ['dog']
    for part in encoder.missing(prompts, 'imagenet'):
        encoder.encode([part])
    assert encoder.missing(prompts, 'imagenet') == []
    with pytest.raises(PromptError, match='twice'):
        encoder.missing(['dog', 'dog'], 'imagenet')


def test_the_cache_is_bounded(encoder, monkeypatch):
    monkeypatch.setattr(module, 'MAX_CACHED_PROMPTS', 3)
    for index in range(8):
        encoder.encode([f'class {index}', 'dog'], templates='none')
        assert len(encoder._known) <= 3


def test_embeddings_on_a_gpu_are_there_before_another_thread_reads_them(encoder, monkeypatch):
    """The threads may use streams of their own; `torch.cuda` is a stand-in."""
    cuda = fake_cuda.install(monkeypatch, module)
    device = torch.device('cuda', 1)
    embeddings = SimpleNamespace(device=device)
    assert module._settled(embeddings) is embeddings
    assert cuda.synchronized == [(device, 0)]
    monkeypatch.setattr(module, '_settled', lambda computed: (computed,))
    assert isinstance(encoder.encode(['dog'], templates='none').embeddings, tuple)
