# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

import copy
import logging
import random
import subprocess
import sys

import numpy as np
import pytest
import torch

from clip_dinoiser_ros import Segmenter
from clip_dinoiser_ros.core import embedding_cache as module
from clip_dinoiser_ros.core.embedding_cache import EmbeddingCache, default_folder, fingerprint
from clip_dinoiser_ros.core.vocabulary import TextEncoder

VALUES = np.linspace(-1, 1, 32, dtype=np.float32)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.LayerNorm(4))


@pytest.fixture
def cache(tmp_path, model):
    return EmbeddingCache(tmp_path / 'embeddings', fingerprint(model))


def files(cache):
    return sorted(cache._folder.iterdir())


def test_entries_are_shared_by_processes_of_the_same_model(cache, model):
    assert cache.get('dog', ['a dog']) is None
    cache.put('dog', ['a dog'], VALUES)
    again = EmbeddingCache(cache._folder, fingerprint(copy.deepcopy(model)))
    np.testing.assert_array_equal(again.get('dog', ['a dog']), VALUES)
    assert again.get('dog', ['a photo of a dog']) is None
    assert again.get('cat', ['a dog']) is None
    assert again.get('', ['dog', 'a dog']) is None  # parts are kept apart in the name
    with torch.no_grad():
        model[0].weight[2, 1] += 1e-6
    assert EmbeddingCache(cache._folder, fingerprint(model)).get('dog', ['a dog']) is None


@pytest.mark.parametrize('half', [False, True])
def test_the_digest_is_that_of_the_weights_as_they_were_given(golden_clip, tmp_path, half):
    clip, tokenizer = copy.deepcopy(golden_clip[0]), golden_clip[1]
    expected = fingerprint(clip).hex()
    for cache in (None, tmp_path):
        encoder = TextEncoder(copy.deepcopy(clip), tokenizer, cache, half)
        encoder.encode(['dog'])
        assert encoder.digest == expected
    assert fingerprint(copy.deepcopy(clip).half()).hex() != expected


def test_float16_and_float32_do_not_share_embeddings(golden_clip, tmp_path):
    clip, tokenizer = golden_clip
    found = []
    for half in (False, True, False, True):
        encoder = TextEncoder(copy.deepcopy(clip), tokenizer, tmp_path, half)
        found.append(encoder.encode(['dog']).embeddings)
    assert len(list(tmp_path.iterdir())) == 2
    assert torch.equal(found[0], found[2])
    assert torch.equal(found[1], found[3])
    assert not torch.equal(found[0], found[1])


def test_the_image_tower_has_nothing_to_do_with_it(golden_clip):
    clip = copy.deepcopy(golden_clip[0])
    before = fingerprint(clip)
    clip.visual.to(torch.bfloat16)
    assert fingerprint(clip) == before
    with torch.no_grad():
        clip.text_projection[0, 0] += 1
    assert fingerprint(clip) != before


def test_a_damaged_file_is_never_trusted_and_is_made_anew(cache):
    cache.put('dog', ['a dog'], VALUES)
    (path,) = files(cache)
    good = path.read_bytes()
    rng = random.Random(0)
    damaged = [good[:cut] for cut in range(0, len(good), 7)]
    damaged += [good + b'\0' * 4, b'\0' * len(good), b'']
    for place in range(len(good)):
        bad = bytearray(good)
        bad[place] ^= 1 << rng.randrange(8)
        damaged.append(bytes(bad))
    for content in damaged:
        path.write_bytes(content)
        assert cache.get('dog', ['a dog']) is None
    cache.put('dog', ['a dog'], VALUES)
    np.testing.assert_array_equal(cache.get('dog', ['a dog']), VALUES)


def test_a_file_under_anothers_name_is_not_trusted(cache):
    cache.put('dog', ['a dog'], VALUES)
    (dog,) = files(cache)
    cache.put('cat', ['a cat'], -VALUES)
    (cat,) = set(files(cache)) - {dog}
    cat.write_bytes(dog.read_bytes())
    assert cache.get('cat', ['a cat']) is None


@pytest.mark.long
def test_two_processes_write_at_once(tmp_path):
    code = (
        'import numpy as np, sys\n'
        'from pathlib import Path\n'
        'from clip_dinoiser_ros.core.embedding_cache import EmbeddingCache\n'
        "cache = EmbeddingCache(Path(sys.argv[1]), b'model')\n"
        'for turn in range(300):\n'
        "    cache.put('dog', [], np.full(1000, int(sys.argv[2]), np.float32))\n"
        "    values = cache.get('dog', [])\n"
        '    assert values is not None and (values == values[0]).all(), values\n'
    )
    command = [sys.executable, '-c', code, str(tmp_path)]
    processes = [subprocess.Popen([*command, str(number)]) for number in (1, 2)]
    assert [process.wait(120) for process in processes] == [0, 0]
    assert len(list(tmp_path.iterdir())) == 1  # nothing half written is left


def test_a_disk_that_fails_costs_one_warning(tmp_path, caplog):
    (tmp_path / 'file').write_bytes(b'')
    cache = EmbeddingCache(tmp_path / 'file' / 'folder', b'model')
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            cache.put('dog', ['a dog'], VALUES)
            assert cache.get('dog', ['a dog']) is None
    assert len(caplog.records) == 1
    assert 'not cached on disk' in caplog.text


def test_the_folder_does_not_grow_for_ever(cache, model, monkeypatch):
    monkeypatch.setattr(module, 'MAX_FILES', 10)
    for number in range(12):
        cache.put(f'word {number}', [], VALUES)
    EmbeddingCache(cache._folder, fingerprint(model)).put('last', [], VALUES)
    assert len(files(cache)) <= 10
    assert cache.get('last', []) is not None


def test_a_restarted_encoder_computes_nothing(golden_clip, tmp_path, monkeypatch):
    clip, tokenizer = golden_clip
    first = TextEncoder(clip, tokenizer, tmp_path).encode(['dog', 'person|human'])
    again = TextEncoder(clip, tokenizer, tmp_path)
    monkeypatch.setattr(again._tower, '_encode', None)
    assert torch.equal(again.encode(['dog', 'person|human']).embeddings, first.embeddings)
    with pytest.raises(TypeError):
        again.encode(['cat'])


def test_cache_folder_and_how_it_is_switched_off(golden_files, tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    assert default_folder() is None  # the tests' own setting
    Segmenter.load(**golden_files, device='cpu').encode(['dog'], templates='none')
    assert not list(tmp_path.iterdir())
    monkeypatch.delenv(module.SWITCH)
    assert default_folder() == tmp_path / 'clip_dinoiser_ros' / 'embeddings'
    Segmenter.load(**golden_files, device='cpu').encode(['dog'], templates='none')
    assert len(list(default_folder().iterdir())) == 1
