# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""OpenVINO computes what torch does; without it everything works by torch."""

import copy
import sys
from importlib import util
from threading import Thread

import numpy as np
import pytest
import torch
from golden_data import golden

from clip_dinoiser_ros import Segmenter
from clip_dinoiser_ros.core import engines
from clip_dinoiser_ros.core.backbone import Backbone
from clip_dinoiser_ros.core.engines import choice
from clip_dinoiser_ros.evaluation.demo_model import unseen_scenes
from clip_dinoiser_ros.world.classes import CLASSES

GAMMA = 0.7
SCENES = 4


def make(golden_clip, golden_heads, **kwargs):
    clip, tokenizer = golden_clip
    return Segmenter(copy.deepcopy(clip), golden_heads, tokenizer, **kwargs)


@pytest.fixture(scope='module')
def segmenter(golden_clip, golden_heads):
    pytest.importorskip('openvino')
    return make(golden_clip, golden_heads, engine='openvino')


@pytest.fixture
def without_openvino(monkeypatch):
    def find_spec(name):
        return None if name == 'openvino' else util.find_spec(name)

    monkeypatch.setattr(choice, 'find_spec', find_spec)
    monkeypatch.setitem(sys.modules, 'openvino', None)  # to import it raises ImportError


@pytest.mark.parametrize('size', [(64, 64), (48, 112), (160, 96)])
def test_features_of_any_size(segmenter, golden_clip, size):
    images = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(1))
    expected = Backbone(copy.deepcopy(golden_clip[0].visual))(images)
    found = segmenter.pipeline.backbone(images)
    torch.testing.assert_close(found.maskclip, expected.maskclip, atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(found.inner, expected.inner, atol=2e-5, rtol=1e-4)


def test_golden_numbers(segmenter, golden_segmenter, golden_prompts):
    image = golden('image_170x215_plain')['image']
    vocabulary = golden_segmenter.encode(golden_prompts)
    expected = golden_segmenter.patch_probabilities(image, vocabulary)
    found = segmenter.patch_probabilities(image, vocabulary)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_size_by_itself_as_an_npu_needs_it(golden_clip):
    tower_module = pytest.importorskip('clip_dinoiser_ros.core.engines.openvino_tower')
    visual = copy.deepcopy(golden_clip[0].visual)
    tower, backbone = tower_module.OpenVinoTower(visual, one_size=True), Backbone(visual)
    for side in range(1, tower_module.MAX_SIZES + 2):
        images = torch.randn(1, 3, 32, 16 * side)
        torch.testing.assert_close(
            tower(images).maskclip, backbone(images).maskclip, atol=2e-5, rtol=1e-4
        )
    assert len(tower._requests) == tower_module.MAX_SIZES


def test_bf16_weights_take_half_the_memory(golden_clip, monkeypatch):
    """OpenVINO keeps them in bfloat16, and computes what it does with those in float32."""
    tower_module = pytest.importorskip('clip_dinoiser_ros.core.engines.openvino_tower')
    visual = golden_clip[0].visual
    if not engines.cpu_has_bf16():
        pytest.skip('this processor has no bf16')
    tower = tower_module.OpenVinoTower(copy.deepcopy(visual), precision='bf16')
    graph = tower._any_size.get_compiled_model().get_runtime_model()
    kept = [
        node.get_element_type().to_string()
        for node in graph.get_ops()
        if node.get_rt_info()['layerType'].astype(str) == 'Const' and len(node.shape) == 2
    ]
    blocks = len(visual.transformer.resblocks)
    assert sorted(kept) == ['bf16'] * 4 * blocks + ['f32']  # the last projection

    monkeypatch.setattr(tower_module, '_round_linear_layers', lambda visual: None)
    wide = tower_module.OpenVinoTower(copy.deepcopy(visual), precision='bf16')
    images = torch.randn(1, 3, 64, 48, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(tower(images).maskclip, wide(images).maskclip, atol=0, rtol=0)


def test_a_model_replaces_the_blocks(golden_clip):
    tower_module = pytest.importorskip('clip_dinoiser_ros.core.engines.openvino_tower')
    visual = copy.deepcopy(golden_clip[0].visual)
    images = torch.randn(1, 3, 64, 48, generator=torch.Generator().manual_seed(1))
    expected = Backbone(golden_clip[0].visual)(images).maskclip
    model = tower_module.build(golden_clip[0].visual)
    tower = tower_module.OpenVinoTower(visual, precision='fp32', model=model)
    assert not hasattr(visual, 'transformer'), 'its weights are kept'
    torch.testing.assert_close(tower(images).maskclip, expected, atol=2e-5, rtol=1e-4)


def test_layers_that_other_towers_have(golden_clip):
    tower_module = pytest.importorskip('clip_dinoiser_ros.core.engines.openvino_tower')
    from open_clip.transformer import LayerScale, QuickGELU

    visual = copy.deepcopy(golden_clip[0].visual)
    for block in visual.transformer.resblocks:
        block.ls_1 = LayerScale(block.attn.embed_dim, 0.5)
        block.mlp[1] = QuickGELU()
    visual.ln_pre = torch.nn.Identity()
    images = torch.randn(1, 3, 64, 64)
    expected = Backbone(visual)(images)
    found = tower_module.OpenVinoTower(visual)(images)
    torch.testing.assert_close(found.maskclip, expected.maskclip, atol=2e-5, rtol=1e-4)


def test_a_layer_that_is_not_known(golden_clip, golden_heads):
    pytest.importorskip('openvino')
    clip, tokenizer = golden_clip
    clip = copy.deepcopy(clip)
    clip.visual.transformer.resblocks[0].mlp[1] = torch.nn.SELU()
    with pytest.raises(ValueError, match=r'cannot run this model on cpu: .* a layer SELU'):
        Segmenter(copy.deepcopy(clip), golden_heads, tokenizer, engine='openvino')


@pytest.mark.parametrize('precision', ['fp32', 'bf16'])
def test_labels_of_generated_scenes(precision):
    """Where the processor has no bf16, OpenVINO computes that in float32, and slowly torch does."""
    pytest.importorskip('openvino')
    exact = Segmenter.load('demo', device='cpu', precision='fp32', engine='torch')
    other = Segmenter.load('demo', device='cpu', precision=precision, engine='openvino')
    vocabulary = exact.encode(CLASSES)
    same = [
        (
            exact.segment(scene.image, vocabulary, GAMMA).labels
            == other.segment(scene.image, vocabulary, GAMMA).labels
        ).mean()
        for scene in unseen_scenes(SCENES)
    ]
    assert np.mean(same) >= {'fp32': 0.9999, 'bf16': 0.99}[precision]


def test_prompts_and_thresholds_compile_nothing(segmenter, monkeypatch):
    image = golden('image_170x215_plain')['image']
    monkeypatch.setattr(type(segmenter.pipeline.backbone), '_compile', None)
    for prompts, gamma in ((['a cat'], 0.2), (['a dog', 'grass'], 0.3), (['sky', 'sea'], 0.9)):
        segmenter.segment(image, segmenter.encode(prompts), gamma, delta=gamma)


@pytest.mark.long
def test_threads_are_not_pinned(segmenter):
    """Two processes with one thread each would share the first core."""
    compiled = segmenter.pipeline.backbone._any_size.get_compiled_model()
    assert compiled.get_property('ENABLE_CPU_PINNING') is False


def test_two_threads_at_once(segmenter, golden_prompts):
    vocabulary = segmenter.encode(golden_prompts)
    image = golden('image_170x215_plain')['image']
    images = [image, np.ascontiguousarray(image[::-1])]
    expected = [segmenter.segment(one, vocabulary).labels for one in images]
    wrong = []

    def work(index):
        for _ in range(10):
            labels = segmenter.segment(images[index], vocabulary).labels
            if not np.array_equal(labels, expected[index]):
                wrong.append(index)

    threads = [Thread(target=work, args=(index,)) for index in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize(
    ('device', 'precision', 'has_bf16', 'expected'),
    [
        ('cuda:1', 'bf16', True, 'torch'),
        ('cpu', 'auto', True, 'openvino'),
        ('cpu', 'bf16', True, 'openvino'),
        ('cpu', 'fp32', True, 'torch'),
        ('cpu', 'auto', False, 'torch'),
        ('cpu', 'bf16', False, 'torch'),
        ('cpu', 'int8', False, 'openvino'),
    ],
)
def test_the_engine_that_auto_stands_for(monkeypatch, device, precision, has_bf16, expected):
    pytest.importorskip('openvino')
    monkeypatch.setattr(choice, 'cpu_has_bf16', lambda: has_bf16)
    assert engines.find_engine('auto', device, precision) == expected
    if precision != 'int8':
        assert engines.find_engine('torch', device, precision) == 'torch'


def test_auto_is_torch_without_openvino(without_openvino, golden_files, monkeypatch):
    monkeypatch.setattr(choice, 'cpu_has_bf16', lambda: True)
    segmenter = Segmenter.load(**golden_files, device='cpu')
    assert segmenter.engine == 'torch'
    image = golden('image_170x215_plain')['image']
    assert segmenter.segment(image, segmenter.encode(['a cat', 'a dog'])).labels.any()


def test_unusable_engines_are_refused(without_openvino):
    for arguments, what in (
        (('fast', 'cpu'), "engine is 'fast'; allowed: auto, torch, openvino"),
        (('openvino', 'cuda:1'), 'engine is openvino and device is cuda:1'),
        (('torch', 'intel-gpu'), 'it needs engine openvino'),
        (('openvino', 'cpu'), 'OpenVINO is not installed'),
        (('auto', 'intel-npu'), 'OpenVINO is not installed'),
    ):
        with pytest.raises(ValueError, match=what):
            engines.find_engine(*arguments)
    with pytest.raises(ValueError, match='needs OpenVINO: pip install openvino'):
        Segmenter.load('demo', device='intel-gpu')


def test_a_device_of_intel_that_is_not_there():
    openvino = pytest.importorskip('openvino')
    if 'NPU' in openvino.Core().available_devices:
        pytest.skip('there is an NPU')
    with pytest.raises(ValueError, match="device 'intel-npu' does not exist; OpenVINO sees CPU"):
        Segmenter.load('demo', device='intel-npu')
