# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""What the author of prompts is warned of."""

import pytest
import torch

from clip_dinoiser_ros.core.prompt_advice import advice, is_surface
from clip_dinoiser_ros.core.vocabulary import Vocabulary, parse_prompts


def advise(*prompts, background=None, published=None):
    parsed = parse_prompts(prompts)
    names = [prompt.name for prompt in parsed]
    index = names.index(background) if background else None
    vocabulary = Vocabulary(parsed, torch.zeros(len(parsed), 4), index, 'none')
    return advice(vocabulary, len(parsed) if published is None else published)


@pytest.mark.parametrize(
    'text', ['floor', 'Wooden Floors', 'sky', 'glass wall', 'grass', 'streets']
)
def test_surfaces(text):
    assert is_surface(text)


@pytest.mark.parametrize('text', ['floor lamp', 'road sign', 'glass', 'person', 'skylight', '人'])
def test_object_prompts_need_no_advice(text):
    assert not is_surface(text)


def test_surfaces_with_the_filter_are_named():
    (told,) = advise('background', 'person', 'floor|ground', 'hall|wall', background='background')
    assert "holes in 'floor|ground', 'hall|wall':" in told


def test_surfaces_without_the_filter_are_fine():
    assert advise('person', 'floor', 'background') == []


def test_object_prompts_with_the_filter_need_no_advice():
    assert advise('background', 'person', 'floor lamp', background='background') == []


def test_the_filter_may_have_the_name_of_a_surface():
    assert advise('floor', 'person', background='floor') == []


def test_negative_surfaces_may_have_holes():
    assert advise('background', 'person', 'wall', background='background', published=2) == []


def test_one_class():
    (told,) = advise('person')
    assert told.startswith("'person' is the only class")
    assert advise('person', 'poster', published=1) == []  # a negative one competes


@pytest.mark.parametrize('negative', [(), ('poster',)])
def test_a_list_that_was_written_as_one_text(negative):
    (told,) = advise('cat, red ball', *negative, published=1)
    assert told == (
        "'cat, red ball' is one prompt, commas included; for several prompts give a list: "
        "['cat', 'red ball']"
    )
    assert advise('cat, red ball', 'dog') == []


def test_a_filter_that_is_no_class_that_is_published_makes_holes_too():
    (told,) = advise('road', 'background', background='background', published=1)
    assert "holes in 'road':" in told
