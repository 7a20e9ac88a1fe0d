# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Templates of a file: which sentences they make, and what is refused."""

import json

import pytest
import torch
import torch.nn.functional as F

from clip_dinoiser_ros import PromptError
from clip_dinoiser_ros.core.templates import (
    MOST_BYTES,
    TemplateError,
    common_templates,
    find_sentences,
)
from clip_dinoiser_ros.core.vocabulary import TextEncoder

OWN = {'dog': ['a {} in the yard.', 'one {}.'], 'kitten': ['my {}.']}


@pytest.fixture
def encoder(golden_clip):
    return TextEncoder(*golden_clip)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / 'yard.json'
    path.write_text(json.dumps({'templates': OWN, 'about': {}}))
    return path


def test_each_text_has_its_own_and_others_all(file):
    found = find_sentences(str(file))
    assert found.of('dog') == ['a dog in the yard.', 'one dog.']
    assert found.of('{}') == find_sentences('imagenet').of('{}')
    assert found.of('cow') == find_sentences('imagenet').of('cow')


def test_classes_are_the_mean_of_their_own_sentences(encoder, file):
    found = encoder.encode(['dog', 'cat|kitten', 'cow'], None, str(file))
    assert found.templates == str(file)

    def plain(*sentences):
        units = encoder.encode(sentences, None, 'none').embeddings
        return F.normalize(units.mean(dim=0), dim=0)

    dog = plain('a dog in the yard.', 'one dog.')
    cat = encoder.encode(['cat'], None).embeddings[0]
    both = F.normalize(torch.stack([cat, plain('my kitten.')]).mean(dim=0), dim=0)
    cow = encoder.encode(['cow'], None).embeddings[0]
    torch.testing.assert_close(found.embeddings, torch.stack([dog, both, cow]))


def test_a_file_with_other_content_is_not_taken_for_the_old_one(encoder, file):
    before = encoder.encode(['dog'], None, str(file)).embeddings
    file.write_text(json.dumps({'templates': {'dog': ['no {}.']}}))
    assert encoder.missing(['dog'], str(file)) == ['dog']
    assert not torch.allclose(encoder.encode(['dog'], None, str(file)).embeddings, before)


def test_each_template_by_itself(encoder):
    found = encoder.encode_each(['dog', 'cat|kitten'], ['a {}.', 'the {}!'])
    assert found.shape[:2] == (2, 2)
    for index, template in enumerate(('a {}.', 'the {}!')):
        texts = [template.replace('{}', word) for word in ('dog', 'cat', 'kitten')]
        dog, *cats = encoder.encode(texts, None, 'none').embeddings
        cat = F.normalize(torch.stack(cats).mean(dim=0), dim=0)
        torch.testing.assert_close(found[index], torch.stack([dog, cat]))
    assert encoder.missing(['dog'], 'none') == ['dog']  # nothing is kept


@pytest.mark.parametrize(
    ('content', 'said'),
    [
        (b'', 'Expecting value'),
        (b'\xff\xfe\x00', 'codec'),
        (b'[' * 100_000, 'cannot be used'),
        (b'[]', 'it needs "templates"'),
        (b'{"templates": []}', 'it needs "templates"'),
        (b'{"templates": {"dog": "a {}."}}', "'dog' needs a list of 1 to 200 templates"),
        (b'{"templates": {"dog": []}}', "'dog' needs a list"),
        (b'{"templates": {"dog": ["a dog."]}}', "a template must contain {} once: 'a dog.'"),
        (b'{"templates": {"dog": ["{} {}"]}}', 'must contain {} once'),
        (b'{"templates": {"dog": [1]}}', 'must contain {} once: 1'),
        (b'{"templates": {"dog": ["{}\\n"]}}', 'at most 300 printable characters'),
        (b'{"templates": {"dog": ["{}' + b'x' * 300 + b'"]}}', 'at most 300 printable'),
        (b' ' * (MOST_BYTES + 1), f'more than {MOST_BYTES} bytes'),
    ],
)
def test_unusable_template_files_are_refused(content, said, encoder, tmp_path):
    path = tmp_path / 'odd.json'
    path.write_bytes(content)
    with pytest.raises(PromptError) as error:
        encoder.encode(['dog'], None, str(path))
    assert f'templates {str(path)!r} cannot be used: ' in str(error.value)
    assert said in str(error.value)


@pytest.mark.parametrize('name', ['no.json', '.json', 'folder.json'])
def test_missing_template_files_are_refused(name, tmp_path):
    (tmp_path / 'folder.json').mkdir()
    with pytest.raises(TemplateError, match='cannot be used'):
        find_sentences(str(tmp_path / name))


@pytest.mark.parametrize('name', ['photo', '', 'imagenet ', None])
def test_other_names_are_refused(name):
    with pytest.raises(TemplateError, match=r'allowed: imagenet, simple, none, or a \.json file'):
        find_sentences(name)


def test_common_templates_have_one_place():
    for name, count in (('imagenet', 80), ('simple', 7), ('none', 1)):
        found = common_templates(name)
        assert len(found) == count
        assert all(template.count('{}') == 1 for template in found)
