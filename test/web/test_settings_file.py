# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Sets of words are parameter files of the node, and nothing leaves their folder."""

import shlex

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from clip_dinoiser_ros.web.settings_file import (
    SetsError,
    WordSets,
    default_folder,
    from_yaml,
    shell_lines,
    to_yaml,
)

WORDS = {
    'prompts': ('floor', 'person|human', 'yes', 'it\'s "so": #1', '<b>'),
    'negative_prompts': (),
    'background': '',
}
TEXTS = st.text(st.characters(exclude_categories=('C', 'Z')), min_size=1)


def test_a_parameter_file():
    node = yaml.safe_load(to_yaml(WORDS))['/**/clip_dinoiser']['ros__parameters']
    assert node['prompts'] == list(WORDS['prompts'])
    assert node['negative_prompts'] == ['']  # as the node wants none
    assert node['background'] == ''
    assert '/**/eyes:' in to_yaml(WORDS, '/robot1/eyes')


@given(st.lists(TEXTS, min_size=1), st.lists(TEXTS), TEXTS)
def test_what_is_saved_comes_back(prompts, negatives, background):
    words = {'prompts': prompts, 'negative_prompts': negatives, 'background': background}
    assert from_yaml(to_yaml(words)) == words
    for line, value in zip(shell_lines(words).splitlines(), words.values(), strict=True):
        *command, text = shlex.split(line)
        assert command[:4] == ['ros2', 'param', 'set', '/clip_dinoiser']
        assert yaml.safe_load(text) == (value or [''])


@pytest.mark.parametrize(
    'text',
    ['', 'x', '[1]', 'a: {b: 1}', 'a: {ros__parameters: {prompts: x}}', '{', '!!python/x {}'],
)
def test_another_file_is_refused(text):
    with pytest.raises(SetsError):
        from_yaml(text)


def test_a_folder_of_sets(tmp_path):
    sets = WordSets(tmp_path / 'new')
    assert sets.names() == []
    sets.save('hall 1', WORDS)
    sets.save('Übung', WORDS)
    assert sets.names() == ['hall 1', 'Übung']
    assert sets.load('hall 1')['prompts'] == list(WORDS['prompts'])
    with pytest.raises(SetsError, match='no set'):
        sets.load('absent')


@pytest.mark.parametrize('name', ['', '..', '../x', '/etc/x', 'a/b', '.hidden', 'a' * 61, 'a\n'])
def test_a_name_cannot_leave_the_folder(tmp_path, name):
    sets = WordSets(tmp_path / 'sets')
    for act in (lambda: sets.save(name, WORDS), lambda: sets.load(name)):
        with pytest.raises(SetsError, match='is no name'):
            act()
    assert list(tmp_path.rglob('*')) == []


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / 'secret').write_text(to_yaml(WORDS))
    (tmp_path / 'linked.yaml').symlink_to(tmp_path / 'secret')
    with pytest.raises(SetsError, match='no set'):
        WordSets(tmp_path).load('linked')


def test_the_folder_of_the_user(monkeypatch, tmp_path):
    monkeypatch.setenv('XDG_DATA_HOME', str(tmp_path))
    assert default_folder() == tmp_path / 'clip_dinoiser_ros/words'
