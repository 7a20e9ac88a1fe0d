# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

import http.server
import json
import pickle
import threading
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from clip_dinoiser_ros import Segmenter, WeightsError
from clip_dinoiser_ros.core import weights
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


def test_git_blob_id():
    assert weights.git_blob_id(b'hello\n') == 'ce013625030ba8dba906f756967f9e9ca394464a'


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A file server on loopback in place of the authors' repository."""
    folder = tmp_path / 'served'
    folder.mkdir()
    requests = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(folder))

        def log_message(self, *args):
            requests.append(args)

    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        url = f'http://127.0.0.1:{httpd.server_port}/last.pt'
        monkeypatch.setattr(weights, 'AUTHORS_URL', url)
        monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
        yield folder / 'last.pt', requests
        httpd.shutdown()


def test_the_authors_heads_are_downloaded_once_and_verified(server, monkeypatch, golden_heads):
    file, requests = server
    with pytest.raises(WeightsError, match=r'cannot be downloaded.*404.*give the file as heads'):
        weights.load_heads('authors')
    torch.save({'model_state_dict': golden_heads}, file)
    with pytest.raises(WeightsError, match=f"not the authors' file.*{weights.AUTHORS_BLOB}"):
        weights.load_heads('authors')
    monkeypatch.setattr(weights, 'AUTHORS_BLOB', weights.git_blob_id(file.read_bytes()))
    assert weights.load_heads('authors').keys() == golden_heads.keys()
    asked = len(requests)
    assert weights.load_heads('authors', width=768).keys() == golden_heads.keys()
    assert len(requests) == asked
    cached = weights.authors_heads()
    cached.write_bytes(b'damaged')
    assert weights.load_heads('authors').keys() == golden_heads.keys()
    assert sorted(p.name for p in cached.parent.iterdir()) == ['last.pt']


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


def test_the_pinned_revision_is_asked_for(monkeypatch):
    import open_clip

    asked = []

    def download(repository, revision):
        asked.append((repository, revision))
        raise OSError('no network')

    monkeypatch.setattr(open_clip.pretrained, 'download_pretrained_from_hf', download)
    with pytest.raises(WeightsError, match='no network; on a machine without a network'):
        weights.load_clip('ViT-B-16', 'laion2b_s34b_b88k')
    assert asked == [
        ('laion/CLIP-ViT-B-16-laion2B-s34B-b88K', '7288da5a0d6f0b51c4a2b27c624837a9236d0112')
    ]


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
