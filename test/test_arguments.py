# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Arguments that several verbs share: prompts as people type them, and the model's own gamma."""

import argparse

import pytest

from clip_dinoiser_ros import arguments


def parsed(*words):
    parser = argparse.ArgumentParser()
    arguments.add_prompt_arguments(parser)
    arguments.add_model_arguments(parser)
    arguments.add_threshold_arguments(parser)
    return parser.parse_args(words)


@pytest.mark.parametrize(
    ('words', 'prompts', 'told'),
    [
        (['background', 'red ball'], ['background', 'red ball'], False),
        (['background, person|human, red ball'], ['background', 'person|human', 'red ball'], True),
        (['a,b'], ['a', 'b'], True),
        (['background,', 'red', 'ball,', 'cat'], ['background', 'red ball', 'cat'], True),
        (['person'], ['person'], False),
        (['a box, open', 'a box'], ['a box, open', 'a box'], False),  # as they are
        (['a,'], ['a', ''], True),  # refused later, as the launch files have it
    ],
)
@pytest.mark.parametrize('option', ['--prompts', '--negative-prompts'])
def test_a_list_with_commas_is_taken_apart_and_told_of(capsys, option, words, prompts, told):
    others = [] if option == '--prompts' else ['--prompts', 'one', 'two']
    args = parsed(*others, option, *words)
    assert getattr(args, option.strip('-').replace('-', '_')) == prompts
    said = capsys.readouterr().err
    listed = ', '.join(map(repr, prompts))
    expected = f'{option} {" ".join(words)!r} is read as a list: {listed}\n' if told else ''
    assert said == expected


@pytest.mark.parametrize(
    ('words', 'gamma'),
    [
        ([], 0.2),
        (['--model', 'demo'], 0.7),
        (['--model', 'demo', '--gamma', '0.2'], 0.2),
        (['--model', 'ViT-L-14', '--gamma', '0'], 0.0),
    ],
)
def test_gamma_is_that_of_the_model_unless_it_is_given(words, gamma):
    assert arguments.gamma(parsed('--prompts', 'a', *words)) == gamma
