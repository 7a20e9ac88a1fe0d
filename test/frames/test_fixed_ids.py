# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

import pytest

from clip_dinoiser_ros.core.vocabulary import PromptError
from clip_dinoiser_ros.frames.fixed_ids import FixedIdError, parse_fixed_ids


def test_fixed_ids():
    texts = ['person|human: 1', ' floor :7', 'sign: no entry:0', 'far away:300']
    assert parse_fixed_ids(texts) == {'person': 1, 'floor': 7, 'sign: no entry': 0, 'far away': 300}
    assert parse_fixed_ids([]) == {}


@pytest.mark.parametrize(
    ('texts', 'reason'),
    [
        (['person'], "'person' is not 'NAME:ID', such as 'person:1'"),
        ([':1'], "':1' is not"),
        (['person:'], "'person:' is not"),
        (['person:one'], "'person:one' is not"),
        (['person:-1'], "'person:-1' is not"),
        (['person:1.0'], "'person:1.0' is not"),
        (['person:\u0661'], 'is not'),  # a digit of another script
        (['person:255'], '255 means unlabelled'),
        (['person:301'], 'ids go from 0 to 300 (max_class_id)'),
        (['person:1', 'person:2'], "'person' has the id 1 already"),
        (['person:1', 'floor:1'], "the id 1 belongs to 'person' already"),
    ],
)
def test_refused_with_the_reason(texts, reason):
    with pytest.raises(FixedIdError) as error:
        parse_fixed_ids(texts, 300)
    assert reason in str(error.value)


@pytest.mark.parametrize('texts', [['person:1', 'Person:2'], ['a\x00b:1'], ['|:1']])
def test_names_follow_the_rules_of_prompts(texts):
    with pytest.raises(PromptError):
        parse_fixed_ids(texts)
