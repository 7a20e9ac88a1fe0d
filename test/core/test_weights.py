# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

import json
import logging
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from web_server import served

from clip_dinoiser_ros import Segmenter, WeightsError
from clip_dinoiser_ros.core import attempts, sources, transfer, weights
from clip_dinoiser_ros.core.plain_clip import WithoutDrawing


def test_all_layouts_of_heads_give_the_same(tmp_path, golden_heads):
    save_file(golden_heads, tmp_path / 'heads.safetensors')
    torch.save({'model_state_dict': golden_heads, 'epoch': 3}, tmp_path / 'last.pt')
    weights.convert_heads(tmp_path / 'last.pt', tmp_path / 'converted.safetensors')
    for name in ('heads.safetensors', 'last.pt', 'converted.safetensors'):
        loaded = weights.load_heads(tmp_path / name, width=768)
        assert loaded.keys() == golden_heads.keys()
        assert all(torch.equal(loaded[key], golden_heads[key]) for key in loaded)


def test_wrong_tensors_are_named(golden_heads):
    with pytest.raises(WeightsError, match=r'missing: bkg_decoder.bias; extra: none'):
        weights.check_heads({k: v for k, v in golden_heads.items() if k != 'bkg_decoder.bias'})
    with pytest.raises(WeightsError, match=r'missing: none; extra: clip_backbone.proj'):
        weights.check_heads({**golden_heads, 'clip_backbone.proj': torch.zeros(1)})
    for name in golden_heads:
        wrong = {**golden_heads, name: torch.zeros(2, 5)}
        with pytest.raises(WeightsError, match=rf'{name} has shape \(2, 5\)|{name}'):
            weights.check_heads(wrong, width=768)
    with pytest.raises(WeightsError, match=r'obj_proj.weight has shape \(256, 768, 3, 3\).*512'):
        weights.check_heads(golden_heads, width=512)


def test_unreadable_heads(tmp_path, golden_heads):
    with pytest.raises(WeightsError, match='is not a file'):
        weights.load_heads(tmp_path / 'missing.safetensors')
    (tmp_path / 'heads.safetensors').write_bytes(b'no weights at all')
    with pytest.raises(WeightsError, match=r'heads\.safetensors.*cannot be read'):
        weights.load_heads(tmp_path / 'heads.safetensors')
    torch.save(golden_heads, tmp_path / 'bare.pt')
    with pytest.raises(WeightsError, match='no model_state_dict'):
        weights.load_heads(tmp_path / 'bare.pt')


class Canary:
    """A pickle that leaves a file behind when it is unpickled unsafely."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (self.path, 'w'))


def test_a_pickle_is_not_run(tmp_path):
    trace = tmp_path / 'ran'
    torch.save({'model_state_dict': Canary(str(trace))}, tmp_path / 'last.pt')
    (tmp_path / 'plain.pt').write_bytes(pickle.dumps(Canary(str(trace))))
    for name in ('last.pt', 'plain.pt'):
        with pytest.raises(WeightsError, match='cannot be read'):
            weights.load_heads(tmp_path / name)
    assert not trace.exists()


@pytest.mark.parametrize('name', ['clip.pt', 'clip.bin', 'clip.safetensors', 'clip.npz'])
def test_a_pickle_in_the_weights_of_clip_is_not_run(golden_files, tmp_path, name):
    trace = tmp_path / 'ran'
    torch.save({'state_dict': Canary(str(trace))}, tmp_path / name)
    with pytest.raises(WeightsError, match='cannot be loaded'):
        weights.load_clip(golden_files['model'], str(tmp_path / name))
    (tmp_path / name).write_bytes(pickle.dumps(Canary(str(trace))))
    with pytest.raises(WeightsError, match='cannot be loaded'):
        weights.load_clip(golden_files['model'], str(tmp_path / name))
    assert not trace.exists()
    pickle.loads((tmp_path / name).read_bytes()).close()  # the canary lives
    assert trace.exists()


@pytest.fixture
def web(tmp_path, monkeypatch):
    """A server on loopback in place of the authors' repository, and a cache of this test's own."""
    monkeypatch.setattr(attempts, 'PAUSE_S', 0.01)
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    for name in ('http_proxy', 'HTTP_PROXY', 'HF_HUB_OFFLINE', 'TRANSFORMERS_OFFLINE'):
        monkeypatch.delenv(name, raising=False)
    with served() as web:
        monkeypatch.setattr(sources, 'AUTHORS_URL', f'{web.url}/last.pt')
        yield web


@pytest.fixture
def authors_file(tmp_path, monkeypatch, golden_heads):
    """A file that stands for the authors', which tests cannot have: its path."""
    file = tmp_path / 'authors.pt'
    torch.save({'model_state_dict': golden_heads}, file)
    monkeypatch.setattr(sources, 'AUTHORS_BLOB', transfer.digest_of(file, 40))
    return file


def test_the_authors_heads_are_downloaded_once_and_verified(web, golden_heads, authors_file):
    with pytest.raises(WeightsError, match=r'cannot be downloaded.*404.*files as pretrained and'):
        weights.load_heads('authors')
    web.files['/last.pt'] = b'another'
    with pytest.raises(WeightsError, match=f'another file.*must be {sources.AUTHORS_BLOB}'):
        weights.load_heads('authors')
    web.files['/last.pt'] = authors_file.read_bytes()
    assert weights.load_heads('authors').keys() == golden_heads.keys()
    asked = len(web.requests)
    assert weights.load_heads('authors', width=768).keys() == golden_heads.keys()
    assert len(web.requests) == asked
    cached = sources.authors_heads()
    cached.write_bytes(b'damaged')
    assert weights.load_heads('authors').keys() == golden_heads.keys()
    assert sorted(p.name for p in cached.parent.iterdir()) == ['last.pt']


def test_the_authors_heads_go_on_where_they_broke_off(web, golden_heads, authors_file):
    web.files['/last.pt'] = authors_file.read_bytes()
    web.breaks = [10_000, 0]
    assert weights.load_heads('authors').keys() == golden_heads.keys()
    assert [part for _, part in web.gets()] == ['', 'bytes=10000-', 'bytes=10000-']


def test_the_authors_heads_come_from_a_mirror(web, golden_heads, authors_file):
    mirror = f'{web.url}/mirror/heads'
    web.files['/mirror/heads'] = b'another'
    with pytest.raises(WeightsError, match=f'{mirror}.*another file'):
        weights.load_heads(mirror)
    web.files['/mirror/heads'] = authors_file.read_bytes()
    assert weights.load_heads(mirror).keys() == golden_heads.keys()
    web.files.clear()
    assert weights.load_heads('authors').keys() == golden_heads.keys()


def test_other_tensors_in_the_authors_file_are_named_and_ignored(
    tmp_path, monkeypatch, caplog, golden_heads
):
    caplog.set_level(logging.INFO, 'clip_dinoiser_ros')
    file = tmp_path / 'last.pt'
    extra = {'clip_backbone.proj': torch.zeros(1), 'vit.norm': torch.zeros(2)}
    torch.save({'model_state_dict': {**golden_heads, **extra}}, file)
    with pytest.raises(WeightsError, match=r'extra: clip_backbone.proj, vit.norm'):
        weights.load_heads(file)
    monkeypatch.setattr(sources, 'AUTHORS_BLOB', transfer.digest_of(file, 40))
    loaded = weights.load_heads(file)
    assert all(torch.equal(loaded[name], golden_heads[name]) for name in golden_heads)
    assert loaded.keys() == golden_heads.keys()
    assert f'{file}: not used: clip_backbone.proj, vit.norm' in caplog.text


@pytest.mark.parametrize('change', ['missing', 'shape'])
def test_the_authors_file_has_to_have_the_four_tensors(tmp_path, monkeypatch, golden_heads, change):
    tensors = {**golden_heads, 'extra': torch.zeros(1)}
    if change == 'missing':
        del tensors['bkg_decoder.bias']
    else:
        tensors['bkg_decoder.bias'] = torch.zeros(2)
    torch.save({'model_state_dict': tensors}, tmp_path / 'last.pt')
    monkeypatch.setattr(sources, 'AUTHORS_BLOB', transfer.digest_of(tmp_path / 'last.pt', 40))
    said = {'missing': 'missing: bkg_decoder.bias; extra: none', 'shape': r'has shape \(2,\)'}
    with pytest.raises(WeightsError, match=said[change]):
        weights.load_heads(tmp_path / 'last.pt')


def test_clip_is_loaded_from_files(golden_files, golden_clip):
    clip, tokenizer = weights.load_clip(golden_files['model'], golden_files['pretrained'])
    state, expected = clip.state_dict(), golden_clip[0].state_dict()
    assert all(torch.equal(state[key], expected[key]) for key in expected)
    assert tokenizer(['dog']).shape == (1, 77)


def test_clip_that_cannot_be_loaded(golden_files, tmp_path):
    with pytest.raises(WeightsError, match=r"'ViT-B16'.*similar architectures:.*ViT-B-16"):
        weights.load_clip('ViT-B16', 'openai')
    with pytest.raises(WeightsError, match=r"'laion3b'.*its tags:.*laion2b_s34b_b88k"):
        weights.load_clip('ViT-B-16', 'laion3b')
    with pytest.raises(WeightsError, match='does not exist'):
        weights.load_clip('nowhere.json', golden_files['pretrained'])
    broken = tmp_path / 'broken.json'
    broken.write_text('{')
    with pytest.raises(WeightsError, match='cannot be read'):
        weights.load_clip(str(broken), golden_files['pretrained'])
    broken.write_text('{"embed_dim": 512}')
    with pytest.raises(WeightsError, match='vision_cfg'):
        weights.load_clip(str(broken), golden_files['pretrained'])


def test_weights_of_another_model_are_refused(golden_files, tmp_path):
    config = json.loads(Path(golden_files['model']).read_text())
    config['vision_cfg']['layers'] = 5
    other = tmp_path / 'golden-five.json'
    other.write_text(json.dumps(config))
    with pytest.raises(WeightsError, match=r'cannot be loaded.*resblocks\.4'):
        weights.load_clip(str(other), golden_files['pretrained'])


def test_a_pinned_model_is_brought_and_loaded(golden_files, golden_clip, monkeypatch):
    """Brought by `fetch_clip`, which test_sources holds against a hub."""
    asked = []

    def fetch(model, pretrained):
        asked.append((model, pretrained))
        return Path(golden_files['pretrained'])

    monkeypatch.setattr(weights, 'fetch_clip', fetch)
    names = (golden_files['model'], 'golden-tiny')  # a JSON config goes by its name in OpenCLIP
    for name, load in zip(names, (weights.load_frozen, weights.load_clip), strict=True):
        monkeypatch.setitem(sources.PINNED, (name, 'tag'), ('nobody/nothing', '0' * 40))
        clip, _ = load(golden_files['model'], 'tag')
        state, expected = clip.state_dict(), golden_clip[0].state_dict()
        assert all(torch.equal(state[key], expected[key]) for key in expected)
    assert asked == [(name, 'tag') for name in names]


def test_segmenter_load(golden_files, golden_segmenter, golden_prompts):
    from golden_data import golden

    loaded = Segmenter.load(**golden_files, device='cpu', precision='fp32', short_side=None)
    image = golden('image_160x208_plain')['image']
    vocabulary = loaded.encode(golden_prompts)
    expected = golden_segmenter.segment(image, golden_segmenter.encode(golden_prompts))
    assert (loaded.segment(image, vocabulary).labels == expected.labels).all()


def test_no_random_numbers_are_drawn_for_weights_that_are_loaded(golden_files, golden_clip):
    before = torch.get_rng_state()
    with WithoutDrawing():
        torch.nn.MultiheadAttention(8, 2)
        torch.nn.Conv2d(3, 4, 3)
        torch.nn.init.normal_(torch.nn.Embedding(4, 4).weight, std=0.1)
    assert torch.equal(torch.get_rng_state(), before)
    clip, _ = weights.load_clip(golden_files['model'], golden_files['pretrained'])
    expected = golden_clip[0].state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in clip.state_dict().items())
