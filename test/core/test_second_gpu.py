# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Everything on `cuda:1`, with torch's fake tensors: they have a device and no numbers.

They raise where two devices meet, as a GPU would, and where something waits for a number.
"""

import json
from dataclasses import replace

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from clip_dinoiser_ros import Segmenter
from clip_dinoiser_ros.core import dinoiser, edges_triton, upsample_triton, vocabulary, weights
from clip_dinoiser_ros.core.pipeline import Query
from clip_dinoiser_ros.core.plain_clip import PlainClip
from clip_dinoiser_ros.core.segmentation import Patches
from clip_dinoiser_ros.core.upsample import enlarge_maps, to_mono8
from clip_dinoiser_ros.core.vocabulary import Vocabulary, parse_prompts

SECOND = torch.device('cuda', 1)


@pytest.fixture
def segmenter(monkeypatch):
    """The demo model without its numbers, made in place: fake parameters cannot be moved."""
    monkeypatch.setattr(torch.cuda, 'device_count', lambda: 2)
    monkeypatch.setattr(torch.nn.Module, 'to', lambda self, *args: self)
    for module in (edges_triton, upsample_triton):
        monkeypatch.setattr(module._trial, 'works', {SECOND: False})
    monkeypatch.setattr(vocabulary, 'fingerprint', lambda clip: b'')  # of numbers
    config = json.loads((weights.DEMO_FOLDER / weights.DEMO_FILES['model']).read_text())
    with FakeTensorMode(), torch.inference_mode():
        with torch.device(SECOND):
            clip = PlainClip(config).eval().requires_grad_(False)
            heads = dinoiser.Heads(
                {
                    'obj_proj.weight': torch.rand(32, clip.visual.conv1.out_channels, 3, 3),
                    'obj_proj.bias': torch.rand(32),
                    'bkg_decoder.weight': torch.rand(1, clip.visual.conv1.out_channels, 1, 1),
                    'bkg_decoder.bias': torch.rand(1),
                }
            )
        monkeypatch.setattr(dinoiser, 'Heads', lambda weights: heads)
        yield Segmenter(clip, heads.state_dict(), None, 'cuda:1', 'fp32', short_side=96)


def test_everything_stays_on_the_second_gpu(segmenter):
    """From the pixels to what is copied to the host."""
    pipeline = segmenter.pipeline
    vocabulary = Vocabulary(
        parse_prompts([f'thing {i}' for i in range(12)]),
        torch.rand(12, pipeline.backbone.visual.proj.shape[1], device=SECOND),
        1,
        'none',
    )
    pixels = torch.zeros(2, 480, 640, 3, dtype=torch.uint8, device=SECOND)
    answer = pipeline(pixels, Query(vocabulary.embeddings, 1, 0.2, 0.99))
    [patches, other] = [Patches(*one, (6.0, 8.0), vocabulary) for one in answer.images()]
    large = patches.average(other, 0.5).enlarge_on_device((480, 640))
    made = [
        *(answer.probabilities, answer.background_confidence, large.labels, large.confidence),
        to_mono8(large.confidence),
        enlarge_maps(patches._distribution, (480, 640), (6.0, 8.0)),
        replace(patches, background_confidence=None).enlarge_on_device((17, 33)).labels,
    ]
    assert {tensor.device for tensor in made} == {SECOND}


def test_gamma_may_be_on_the_device(segmenter):
    """As in a CUDA graph."""
    pipeline = segmenter.pipeline
    pixels = torch.zeros(1, 480, 640, 3, dtype=torch.uint8, device=SECOND)
    features = pipeline.backbone(pipeline.preprocess(pixels))
    pooled = pipeline.pool(features, torch.zeros((), device=SECOND))
    assert {tensor.device for tensor in (pooled.features, pooled.objectness)} == {SECOND}
