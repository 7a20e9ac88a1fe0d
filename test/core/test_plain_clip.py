# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""What is loaded without OpenCLIP is what OpenCLIP loads."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from golden_data import golden
from safetensors.torch import save_file

from clip_dinoiser_ros import Segmenter
from clip_dinoiser_ros.core import plain_clip, sources, weights
from clip_dinoiser_ros.core.embedding_cache import fingerprint
from clip_dinoiser_ros.core.plain_clip import PlainClip, load_plain, open_clip_module
from clip_dinoiser_ros.core.sources import PINNED
from clip_dinoiser_ros.core.weights import demo_files, load_clip, load_frozen


@pytest.fixture(params=['golden', 'demo'])
def files(request, golden_files):
    return golden_files if request.param == 'golden' else demo_files()


def test_the_same_numbers_as_by_openclip(files):
    """To the bit: parameters, tokens, embeddings, patches; so kept embeddings stay known."""
    ours, tokenizer = load_plain(files['model'], Path(files['pretrained']))
    theirs, their_tokenizer = load_clip(files['model'], files['pretrained'])
    assert isinstance(ours, PlainClip)
    assert fingerprint(ours) == fingerprint(theirs)
    state, expected = ours.state_dict(), theirs.state_dict()
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name], expected[name]) for name in expected)
    texts = ['a red ball', "people's  &amp; caf\u00e9s", 'x' * 500]
    assert torch.equal(tokenizer(texts), their_tokenizer(texts))
    heads = weights.load_heads(files['heads'])
    image = golden('image_170x215_plain')['image']
    found = []
    for clip, tokens in ((ours, tokenizer), (theirs, their_tokenizer)):
        segmenter = Segmenter(clip, heads, tokens, precision='bf16', short_side=96)
        vocabulary = segmenter.encode(['background', 'red ball', 'grass'])
        found.append((vocabulary.embeddings, segmenter.patch_probabilities(image, vocabulary)))
    (one, mine), (other, others) = found
    assert torch.equal(one, other)
    np.testing.assert_array_equal(mine, others)


def test_names_and_shapes_of_a_known_architecture():
    with torch.device('meta'):
        config = json.loads(
            (Path(open_clip.__file__).parent / 'model_configs/ViT-B-16.json').read_text()
        )
        ours, theirs = PlainClip(config), open_clip.CLIP(**config)
    shapes = [{n: t.shape for n, t in clip.state_dict().items()} for clip in (ours, theirs)]
    assert shapes[0] == shapes[1]
    assert ours.visual.grid_size == theirs.visual.grid_size
    assert ours.visual.patch_size == theirs.visual.patch_size
    for mine, other in ((ours.visual, theirs.visual), (ours, theirs)):
        attentions = [tower.transformer.resblocks[0].attn for tower in (mine, other)]
        assert attentions[0].num_heads == attentions[1].num_heads


@pytest.mark.parametrize('suffix', ['.safetensors', '.pt'])
def test_all_layouts_of_weights(golden_files, golden_clip, tmp_path, suffix):
    expected = golden_clip[0].state_dict()
    file = tmp_path / f'clip{suffix}'
    if suffix == '.pt':  # as a training of several GPUs leaves them, in half precision
        halves = {f'module.{name}': tensor.half() for name, tensor in expected.items()}
        torch.save({'epoch': 1, 'state_dict': halves}, file)
        expected = {name: tensor.half().float() for name, tensor in expected.items()}
    else:
        save_file({name: tensor.clone() for name, tensor in expected.items()}, file)
    clip, _ = load_plain(golden_files['model'], file)
    file.write_bytes(b'')  # it was read, not mapped
    assert all(torch.equal(tensor, expected[n]) for n, tensor in clip.state_dict().items())


@pytest.mark.parametrize(
    'change',
    [
        {'quick_gelu': True},
        {'vision_cfg': {'layers': [3, 4, 6, 3], 'width': 64, 'image_size': 224}},
        {'vision_cfg': {'timm_model_name': 'vit_base_patch16_224'}},
        {'text_cfg': {'hf_tokenizer_name': 'bert-base-uncased'}},
    ],
    ids=str,
)
def test_other_architectures_are_left_to_openclip(golden_files, tmp_path, change):
    config = json.loads(Path(golden_files['model']).read_text())
    file = tmp_path / 'other.json'
    file.write_text(json.dumps({**config, **change}))
    assert load_plain(str(file), Path(golden_files['pretrained'])) is None


def test_openclip_says_what_is_wrong(golden_files, tmp_path):
    broken = tmp_path / 'clip.safetensors'
    broken.write_bytes(b'no weights')
    for model in (golden_files['model'], 'nowhere.json', 'ViT-Z-1'):
        assert load_plain(model, broken) is None
        with pytest.raises(sources.WeightsError):
            load_frozen(model, str(broken))


def test_a_download_of_earlier_is_found(monkeypatch, tmp_path):
    (repository, revision) = PINNED['ViT-B-16', 'laion2b_s34b_b88k']
    asked = open_clip.get_pretrained_cfg('ViT-B-16', 'laion2b_s34b_b88k')['hf_hub']
    assert asked.rstrip('/') == repository
    from huggingface_hub import try_to_load_from_cache

    for name in ('HF_HOME', 'HF_HUB_CACHE'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    assert sources.local_clip('ViT-B-16', 'laion2b_s34b_b88k') is None
    hub = tmp_path / 'huggingface' / 'hub'
    folder = hub / 'models--laion--CLIP-ViT-B-16-laion2B-s34B-b88K' / 'snapshots' / revision
    folder.mkdir(parents=True)
    for name in ('open_clip_pytorch_model.bin', 'open_clip_model.safetensors'):
        (folder / name).write_bytes(b'')
        expected = try_to_load_from_cache(repository, name, cache_dir=hub, revision=revision)
        assert sources.local_clip('ViT-B-16', 'laion2b_s34b_b88k') == Path(expected)
    monkeypatch.setenv('HF_HUB_CACHE', str(tmp_path / 'elsewhere'))
    assert sources.local_clip('ViT-B-16', 'laion2b_s34b_b88k') is None


def test_a_module_that_needs_its_package_is_imported_with_it(monkeypatch, tmp_path):
    (tmp_path / 'zero_shot_metadata.py').write_text('from .constants import OPENAI_DATASET_MEAN\n')
    monkeypatch.setattr(plain_clip, '_open_clip_folder', lambda: tmp_path)
    open_clip_module.cache_clear()
    assert open_clip_module('zero_shot_metadata') is open_clip.zero_shot_metadata
    open_clip_module.cache_clear()


WITHOUT = """
import sys
import numpy as np
from clip_dinoiser_ros import Segmenter
segmenter = Segmenter.load('demo', device='cpu')
vocabulary = segmenter.encode(['background', 'red ball'])
segmenter.segment(np.zeros((64, 96, 3), np.uint8), vocabulary)
slow = {'open_clip', 'torchvision', 'timm', 'huggingface_hub', 'torch._dynamo', 'sympy'}
print(sorted(slow & sys.modules.keys()))
"""


def test_segmenting_imports_nothing_slow():
    run = subprocess.run(
        [sys.executable, '-c', WITHOUT], capture_output=True, text=True, check=True
    )
    assert run.stdout == '[]\n'
