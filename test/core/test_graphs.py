# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""CUDA graphs: on a GPU where there is one, else on a stand-in for `torch.cuda`."""

import copy
import logging

import fake_cuda
import numpy as np
import pytest
import torch
from devices import needs_gpu
from golden_data import golden

from clip_dinoiser_ros import Segmenter
from clip_dinoiser_ros.core import graphs, memory
from clip_dinoiser_ros.core.graphs import GraphRunner
from clip_dinoiser_ros.core.pipeline import Query

SECOND = torch.device('cuda', 1)


@pytest.fixture
def cuda(monkeypatch):
    return fake_cuda.install(monkeypatch, graphs, memory)


@pytest.fixture(autouse=True)
def _inference():
    with torch.inference_mode():
        yield


@pytest.fixture(scope='module')
def small(golden_clip, golden_heads):
    """Resizes to a short side of 48 pixels, so that many sizes have the same patches."""
    clip, tokenizer = golden_clip
    return Segmenter(copy.deepcopy(clip), golden_heads, tokenizer, short_side=48, pack=False)


def query(classes=3, background=None, gamma=0.2, delta=0.99):
    embeddings = torch.nn.functional.normalize(torch.randn(classes, 512), dim=1)
    return Query(embeddings, background, gamma, delta)


def noise(batch=1, height=64, width=64):
    return torch.randint(0, 256, (batch, height, width, 3), dtype=torch.uint8)


def check(run, pipeline, pixels, asked):
    """Run a batch and compare with the pipeline as it is."""
    answer, expected = run(pixels, asked), pipeline(pixels, asked)
    torch.testing.assert_close(answer.probabilities, expected.probabilities)
    if asked.background is None:
        assert answer.background_confidence is None
    else:
        torch.testing.assert_close(answer.background_confidence, expected.background_confidence)
    return answer, expected


def test_words_thresholds_and_camera_sizes_need_no_other_graph(small, cuda):
    """Each answer is that of its own pixels, words and thresholds."""
    run, pipeline = GraphRunner(small.pipeline, SECOND), small.pipeline
    check(run, pipeline, noise(), query())
    assert not cuda.captures  # what comes once is not captured
    earlier = [check(run, pipeline, noise(), query())]
    assert len(cuda.captures) == 1
    for classes in (1, 2, 3, 8, 31, 40, 200, 1000):
        earlier.append(check(run, pipeline, noise(), query(classes)))
    for gamma in (0.0, 0.55):
        for delta in (0.5, 1.0):
            for background in (None, 0, 2):
                earlier.append(check(run, pipeline, noise(), query(3, background, gamma, delta)))
    for side in (48, 100, 123, 200):  # all square: the same patches
        check(run, pipeline, noise(1, side, side), query(4, 1))
    assert len(cuda.captures) == 1
    assert cuda.stalls == cuda.emptied == 0
    for answer, expected in earlier:  # none was overwritten by a later one
        torch.testing.assert_close(answer.probabilities, expected.probabilities)


def test_another_shape_is_captured_when_it_comes_again(small, cuda):
    run, pipeline = GraphRunner(small.pipeline, SECOND), small.pipeline
    shapes = [(1, 48, 48), (1, 48, 96), (2, 48, 48), (1, 96, 48)]
    for _ in range(5):
        for shape in shapes:
            check(run, pipeline, noise(*shape), query(3, 0))
    assert len(cuda.captures) == len(shapes)
    assert len({stream for stream, _, _ in cuda.captures}) == 1
    assert len({pool for _, _, pool in cuda.captures}) == 1
    assert cuda.stalls == cuda.emptied == 0


def test_everything_is_done_on_the_given_device(small, cuda):
    """The current device of the thread is another one, and is that again afterwards."""
    run = GraphRunner(small.pipeline, SECOND)
    before = cuda.current_stream(SECOND)
    for _ in range(3):
        check(run, small.pipeline, noise(), query())
    assert [device for _, device, _ in cuda.captures] == [1]
    assert cuda.current == torch.device('cuda', 0)
    assert cuda.current_stream(SECOND) is before
    # beside the default stream, and in order with it
    other = cuda.captures[0][0]
    assert cuda.waits[:2] == [(other, before.number), (before.number, other)]


def test_more_shapes_than_graphs_do_not_capture_for_ever(small, cuda, monkeypatch):
    monkeypatch.setattr(graphs, 'MAX_GRAPHS', 3)
    monkeypatch.setattr(graphs, 'IDLE', 10)
    run, pipeline = GraphRunner(small.pipeline, SECOND), small.pipeline
    for _ in range(4):
        for batch in (1, 2, 3, 4):
            check(run, pipeline, noise(batch), query())
    assert len(cuda.captures) == 3
    for _ in range(15):  # now one of them alone, so that the others have not been needed for long
        check(run, pipeline, noise(1), query())
    for _ in range(2):
        check(run, pipeline, noise(4), query())
    assert len(cuda.captures) == 4
    assert len(run._graphs) == 3
    assert (1, 3, 48, 48) in run._graphs


def test_the_stand_in_repeats_what_it_recorded(cuda):
    """On the same memory, with the numbers of then: what a wrong graph would be found by."""
    x, factor, graph = torch.ones(2), 2.0, cuda.CUDAGraph()
    with cuda.device(SECOND), cuda.stream(cuda.Stream(SECOND)):
        graph.capture_begin(pool=cuda.graph_pool_handle(), capture_error_mode='thread_local')
        y = (x * factor).view(2, 1)[1]
        graph.capture_end()
    x.fill_(5.0)
    factor = 3.0
    graph.replay()
    assert y.tolist() == [10.0]


def breaking(cuda, operation, error=None):
    """Let an operation fail while a capture is under way."""
    cuda.breaks_on = lambda function: operation in function
    cuda.error = error


def test_failed_capture_runs_without_a_graph(small, cuda, caplog):
    run, pipeline = GraphRunner(small.pipeline, SECOND), small.pipeline
    breaking(cuda, 'conv2d')
    before = cuda.current_stream(SECOND)
    for batch in (1, 2):
        for _ in range(3):
            check(run, pipeline, noise(batch), query(3, 0))
    assert len(cuda.captures) == 1
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert 'without CUDA graphs' in caplog.text
    # as if nothing had happened: torch alone would leave the thread in the stream that captures
    # and its allocator in a capture that never ends
    assert cuda.current_stream(SECOND) is before
    assert cuda.underway == []
    assert cuda.emptied == 1


def test_an_error_that_leaves_the_capture_whole_is_survived_too(small, cuda, monkeypatch, caplog):
    run, pool, failing = GraphRunner(small.pipeline, SECOND), small.pipeline.pool, [False]

    def fail(*args, **kwargs):
        if failing[0]:
            raise RuntimeError('injected')
        return pool(*args, **kwargs)

    monkeypatch.setattr(small.pipeline, 'pool', fail)
    check(run, small.pipeline, noise(), query())
    failing[0] = True
    with pytest.raises(RuntimeError, match='injected'):  # the batch as it is fails as well
        run(noise(), query())
    failing[0] = False
    check(run, small.pipeline, noise(), query())
    assert (cuda.underway, len(cuda.captures)) == ([], 1)
    assert 'without CUDA graphs' in caplog.text


def test_too_little_memory_for_graphs(small, cuda, caplog):
    """Tried again after a while, three times in all."""
    run, pipeline = GraphRunner(small.pipeline, SECOND), small.pipeline
    breaking(cuda, 'conv2d', torch.OutOfMemoryError('CUDA out of memory.'))
    for tries in range(1, 6):
        for _ in range(4):
            check(run, pipeline, noise(), query())
        assert len(cuda.captures) == min(tries, graphs.MAX_FAILURES)
        run._batches += graphs.IDLE
    assert len(caplog.records) == 1
    assert 'not enough memory for a CUDA graph' in caplog.text
    assert cuda.underway == []
    assert cuda.emptied == graphs.MAX_FAILURES
    assert len({pool for _, _, pool in cuda.captures}) == graphs.MAX_FAILURES  # never used again


def test_memory_of_graphs_is_given_back_when_it_is_short(small, cuda):
    run, pipeline = GraphRunner(small.pipeline, SECOND), small.pipeline
    for batch in (1, 2):
        for _ in range(2):
            check(run, pipeline, noise(batch), query())
    assert len(run._graphs) == 2
    run.release()
    assert not run._graphs
    for _ in range(5):  # not captured again at once
        check(run, pipeline, noise(), query())
    assert len(cuda.captures) == 2
    run._batches += graphs.IDLE
    check(run, pipeline, noise(), query())
    assert len(cuda.captures) == 3
    assert cuda.captures[0][2] != cuda.captures[2][2]  # another pool: the first one is freed


@needs_gpu
@pytest.mark.parametrize('background', [None, 1])
def test_a_graph_answers_as_the_pipeline_does(golden_clip, golden_heads, background, caplog):
    clip, tokenizer = golden_clip
    segmenter = Segmenter(copy.deepcopy(clip), golden_heads, tokenizer, device='cuda')
    run = GraphRunner(segmenter.pipeline, segmenter.device)
    earlier = []
    for classes in (3, 5, 5, 40, 3):
        asked = query(classes, background, gamma=0.1 * (classes % 4))
        asked = Query(asked.embeddings.cuda(), background, asked.gamma, asked.delta)
        earlier.append(check(run, segmenter.pipeline, noise(2, 64, 96).cuda(), asked))
    for answer, expected in earlier:
        torch.testing.assert_close(answer.probabilities, expected.probabilities)
    assert len(run._graphs) == 1
    assert not caplog.records


@needs_gpu
def test_a_graph_outlives_the_positions_it_was_captured_with(golden_clip, golden_heads):
    clip, tokenizer = golden_clip
    segmenter = Segmenter(copy.deepcopy(clip), golden_heads, tokenizer, device='cuda')
    vocabulary = segmenter.encode(['grass', 'red ball'], templates='none')
    image = golden('image_170x215_plain')['image']
    for _ in range(2):
        before = segmenter.patch_probabilities(image, vocabulary)
    segmenter.pipeline.backbone._positions.clear()
    torch.cuda.empty_cache()
    torch.full((64, 2**20), float('nan'), device='cuda')
    np.testing.assert_array_equal(segmenter.patch_probabilities(image, vocabulary), before)


@needs_gpu
def test_a_capture_that_breaks_off_leaves_torch_whole(golden_clip, golden_heads, monkeypatch):
    """Memory can be freed, and the next model captures."""
    clip, tokenizer = golden_clip
    segmenter = Segmenter(copy.deepcopy(clip), golden_heads, tokenizer, device='cuda')
    pipeline, run = segmenter.pipeline, GraphRunner(segmenter.pipeline, segmenter.device)
    asked = Query(query().embeddings.cuda(), None, 0.2, 0.99)
    pixels, pool = noise().cuda(), pipeline.pool

    def wait(features, gamma):
        float(features.inner.sum())  # waits for the device: a capture breaks off
        return pool(features, gamma)

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, 'pool', wait)
        run._seen.add((1, 3, 64, 64))
        run._pooled(pipeline.preprocess(pixels), 0.2)
    assert run._failures == graphs.MAX_FAILURES
    assert torch.cuda.current_stream() == torch.cuda.default_stream()
    torch.cuda.empty_cache()
    other = GraphRunner(pipeline, segmenter.device)
    for _ in range(3):
        check(other, pipeline, pixels, asked)
    assert len(other._graphs) == 1
