# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from clip_dinoiser_ros.core.vocabulary import PromptError, parse_prompts
from clip_dinoiser_ros.frames.class_slugs import MAX_READABLE, class_slug

# the rules of ROS 2 for one token, and no underscore twice or at the end, which is reserved
TOKEN = re.compile('[A-Za-z](_?[A-Za-z0-9])*')


@pytest.mark.parametrize(
    ('name', 'slug'),
    [
        ('person', 'person'),
        ('red ball', 'red_ball'),
        ('STOP sign', 'STOP_sign'),
        ('door 2', 'door_2'),
        ('red_ball', 'red_ball_ebe5d7fc'),
        ('red  ball', 'red_ball_f24cb7a9'),
        ('T-shirt', 'T_shirt_d977e091'),
        ('Gerät', 'Gerat_b32db786'),
        ('3d printer', 'class_3d_printer_dd72a894'),
        ('人', 'class_50f5d65d'),
        ('🐶', 'class_895eb9a2'),
        ('_', 'class_d2e2adf7'),
    ],
)
def test_plain_names_stay_readable(name, slug):
    """Written down: a topic that somebody subscribes to must keep its name in later versions."""
    assert class_slug(name) == slug


@given(st.text() | st.text(alphabet='aZ9_ -人🐶é', max_size=12) | st.text(min_size=1000))
@example('')
@example('\ud800')
@example('x' * 10_000)
@example('人' * 10_000)
@example('a' * MAX_READABLE + ' b')
def test_any_text_becomes_a_token(name):
    slug = class_slug(name)
    assert TOKEN.fullmatch(slug)
    assert len(slug) <= MAX_READABLE + 9


@given(
    st.lists(st.text(max_size=30) | st.text(alphabet='aB0 _-', min_size=1, max_size=6), max_size=30)
)
def test_different_names_have_different_tokens(names):
    assert len({class_slug(name) for name in names}) == len(set(names))


def test_a_name_cannot_pretend_to_be_the_token_of_another():
    taken = class_slug('T-shirt')
    assert class_slug(taken.replace('_', ' ')) != taken
    assert class_slug(taken) != taken


@given(st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=10))
def test_every_vocabulary_has_as_many_tokens_as_classes(prompts):
    try:
        parsed = parse_prompts(prompts)
    except PromptError:
        return
    assert len({class_slug(prompt.name) for prompt in parsed}) == len(parsed)
