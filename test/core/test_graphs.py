# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

import copy
import weakref

import numpy as np
import pytest
import torch
from devices import needs_gpu
from golden_data import golden

from clip_dinoiser_ros import Segmenter
from clip_dinoiser_ros.core import graphs
from clip_dinoiser_ros.core.graphs import GraphRunner
from clip_dinoiser_ros.core.pipeline import Query

PIXELS = torch.zeros(1, 64, 64, 3, dtype=torch.uint8)


def query(classes=3, background=None, gamma=0.2):
    embeddings = torch.nn.functional.normalize(torch.randn(classes, 512), dim=1)
    return Query(embeddings, background, gamma, 0.99)


def test_a_kind_of_batch_is_captured_once_and_few_are_kept(golden_segmenter, monkeypatch):
    captured = []

    class Recorder:
        def __init__(self, pipeline, pixels, asked):
            captured.append((pixels.shape[1], len(asked.embeddings)))
            self.pipeline = pipeline

        def __call__(self, pixels, asked):
            return self.pipeline(pixels, asked)

    monkeypatch.setattr(graphs, '_Graph', Recorder)
    monkeypatch.setattr(graphs, 'MAX_GRAPHS', 2)
    run = GraphRunner(golden_segmenter.pipeline)
    with torch.inference_mode():
        for classes in (3, 4, 3, 5, 3, 4):  # 4 has waited for the longest time when 5 comes
            run(PIXELS, query(classes))
    assert [classes for _, classes in captured] == [3, 4, 5, 4]
    assert len(run._graphs) == 2


@torch.inference_mode()
def test_what_cannot_be_captured_runs_as_it_is(golden_segmenter, monkeypatch, caplog):
    def fail(*args):
        raise RuntimeError('operation not permitted when stream is capturing')

    monkeypatch.setattr(graphs, '_Graph', fail)
    run, asked = GraphRunner(golden_segmenter.pipeline), query()
    expected = golden_segmenter.pipeline(PIXELS, asked).probabilities
    for _ in range(2):
        assert torch.equal(run(PIXELS, asked).probabilities, expected)
    assert len(caplog.records) == 1
    assert 'without CUDA graphs' in caplog.text


def test_too_little_memory_for_a_graph_costs_its_kind_alone(golden_segmenter, monkeypatch, caplog):
    """The memory and the captures are made up: no GPU is needed."""
    attempts, alive_when_freed = [], []

    class Held:
        pass

    class Capture:
        def __init__(self, pipeline, pixels, asked):
            self.pipeline, self.held = pipeline, Held()
            attempts.append((len(asked.embeddings), weakref.ref(self.held)))
            if len(asked.embeddings) > 4:
                raise torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 2.00 GiB.')
            if len(asked.embeddings) == 4:  # as when the end of the capture fails over it
                try:
                    raise torch.OutOfMemoryError('CUDA out of memory.')
                finally:
                    raise RuntimeError('CUDA error: operation failed due to a previous error')

        def __call__(self, pixels, asked):
            return self.pipeline(pixels, asked)

    def free():
        alive_when_freed.append(attempts[-1][1]() is not None)

    monkeypatch.setattr(graphs, '_Graph', Capture)
    monkeypatch.setattr(graphs, 'free_memory', free)
    monkeypatch.setattr(graphs, 'MAX_GRAPHS', 3)
    run, pipeline = GraphRunner(golden_segmenter.pipeline), golden_segmenter.pipeline
    with torch.inference_mode():
        for classes in (5, 5, 4, 5, 3, 3):
            asked = query(classes)
            expected = pipeline(PIXELS, asked).probabilities
            assert torch.equal(run(PIXELS, asked).probabilities, expected)
        assert [classes for classes, _ in attempts] == [5, 4, 3]  # each kind is tried once
        for classes in (2, 1, 5):  # 5 had to make room by then, and is tried again
            run(PIXELS, query(classes))
    assert [classes for classes, _ in attempts] == [5, 4, 3, 2, 1, 5]
    assert alive_when_freed == [False] * 3
    assert len(caplog.records) == 1
    assert 'too little memory for a CUDA graph' in caplog.text


@needs_gpu
@torch.inference_mode()
@pytest.mark.parametrize('background', [None, 1])
def test_a_graph_answers_as_the_pipeline_does(golden_clip, golden_heads, background, caplog):
    clip, tokenizer = golden_clip
    segmenter = Segmenter(copy.deepcopy(clip), golden_heads, tokenizer, device='cuda')
    run = GraphRunner(segmenter.pipeline)
    generator = torch.Generator().manual_seed(0)
    earlier = []
    for _ in range(3):  # other pixels and other words of the same kind
        pixels = torch.randint(
            0, 256, (2, 64, 96, 3), generator=generator, dtype=torch.uint8
        ).cuda()
        asked = query(background=background)
        asked = Query(asked.embeddings.cuda(), background, 0.2, 0.99)
        answer, expected = run(pixels, asked), segmenter.pipeline(pixels, asked)
        torch.testing.assert_close(answer.probabilities, expected.probabilities)
        if background is not None:
            torch.testing.assert_close(answer.background_confidence, expected.background_confidence)
        earlier.append((answer, expected))
    for answer, expected in earlier:  # none was overwritten by a later one
        torch.testing.assert_close(answer.probabilities, expected.probabilities)
    assert len(run._graphs) == 1
    assert not caplog.records


@needs_gpu
def test_a_graph_outlives_the_positions_it_was_captured_with(golden_clip, golden_heads):
    clip, tokenizer = golden_clip
    segmenter = Segmenter(copy.deepcopy(clip), golden_heads, tokenizer, device='cuda')
    vocabulary = segmenter.encode(['grass', 'red ball'], templates='none')
    image = golden('image_170x215_plain')['image']
    before = segmenter.patch_probabilities(image, vocabulary)
    segmenter.pipeline.backbone._positions.clear()
    torch.cuda.empty_cache()
    torch.full((64, 2**20), float('nan'), device='cuda')
    np.testing.assert_array_equal(segmenter.patch_probabilities(image, vocabulary), before)
