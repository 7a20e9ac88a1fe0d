# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The image tower and the pooling as CUDA graphs: one launch instead of hundreds."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, cuda

from clip_dinoiser_ros.core.memory import free_memory, is_out_of_memory
from clip_dinoiser_ros.core.pipeline import Answer, Pipeline, Pooled, Query

MAX_GRAPHS = 8
IDLE = 500  # batches; a graph that was not used for so long is replaced by another
MAX_FAILURES = 3  # captures that failed for lack of memory

_log = logging.getLogger(__name__)
_broken: list[cuda.CUDAGraph] = []  # torch's allocator of pinned memory keeps pointers to them

Kind = tuple[int, ...]


class GraphRunner:
    """Runs the pipeline on a GPU, most of it as CUDA graphs.

    A graph turns a preprocessed batch into pooled features. There is one graph for each shape of a
    batch, independent of the classes, the thresholds and the size of the camera images. It is
    captured when a shape occurs for the second time. A shape that occurs once is not worth a
    capture, and its first run creates everything that must not be created during a capture.
    Preprocessing and the comparison with the classes are few launches and run without a graph.

    A batch runs without a graph if memory is short or the capture fails. One warning says so.

    Args:
        pipeline: On a CUDA device.
        device: That device, with its index.
    """

    def __init__(self, pipeline: Pipeline, device: torch.device) -> None:
        self._pipeline = pipeline
        self._device = device
        self._lock = threading.Lock()  # graphs have their own memory: one batch at a time
        self._graphs: OrderedDict[Kind, _Graph] = OrderedDict()  # least recently used first
        self._seen: set[Kind] = set()
        self._batches = 0
        self._captures_from = 0  # number of a batch
        self._failures = 0
        # One stream and one pool for all captures. cuBLAS keeps a workspace for every stream.
        # Graphs may share memory: they run one after the other, and their output is used before
        # the next one runs.
        self._stream: cuda.Stream | None = None
        self._pool: Any = None

    def __call__(self, pixels: Tensor, query: Query) -> Answer:
        """Do what `Pipeline.__call__` does."""
        with self._lock, cuda.device(self._device):
            pooled = self._pooled(self._pipeline.preprocess(pixels), query.gamma)
            return self._pipeline.compare(pooled, query)

    def release(self) -> None:
        """Drop all graphs, so that their memory can be freed; capture none for a while."""
        with self._lock:
            self._graphs.clear()
            self._pool = None
            self._captures_from = self._batches + IDLE

    def _pooled(self, batch: Tensor, gamma: float) -> Pooled:
        self._batches += 1
        kind = tuple(batch.shape)
        graph = self._graphs.get(kind)
        if graph is None and kind in self._seen and self._has_room():
            graph = self._capture(batch)
        if graph is None:
            result = self._as_it_is(batch, gamma)
            self._seen.add(kind)
            return result
        self._graphs[kind] = graph
        self._graphs.move_to_end(kind)
        graph.used = self._batches
        return graph(batch, gamma)

    def _has_room(self) -> bool:
        """Return whether another graph may be captured; drop one that has been idle for long."""
        if self._failures >= MAX_FAILURES or self._batches < self._captures_from:
            return False
        if len(self._graphs) < MAX_GRAPHS:
            return True
        oldest, graph = next(iter(self._graphs.items()))
        if self._batches - graph.used < IDLE:
            return False
        del self._graphs[oldest]
        return True

    def _as_it_is(self, batch: Tensor, gamma: float) -> Pooled:
        """Compute in the capturing stream, so that its workspaces exist before the capture."""
        with self._aside() as stream, cuda.stream(stream):
            return self._pipeline.pool(self._pipeline.backbone(batch), gamma)

    @contextmanager
    def _aside(self) -> Iterator[cuda.Stream]:
        """Enter the other stream: it starts after the current one, which continues after it."""
        if self._stream is None:
            self._stream = cuda.Stream(self._device)
        current = cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        try:
            yield self._stream
        finally:
            current.wait_stream(self._stream)

    def _capture(self, batch: Tensor) -> _Graph | None:
        if self._pool is None:
            self._pool = cuda.graph_pool_handle()
        try:
            with self._aside() as stream:
                return _Graph(self._pipeline, batch, stream, self._pool)
        except RuntimeError as error:
            self._tell(error)
        # not in the `except` block: the exception would keep the tensors of the attempt alive
        self._pool = None  # the next capture gets another one
        free_memory()
        return None

    def _tell(self, error: RuntimeError) -> None:
        reason = str(error)  # as text: a log may keep an error, and an error keeps its frames
        # ending a failed capture can raise again, which hides the cause
        if is_out_of_memory(error) or is_out_of_memory(error.__context__):
            if self._failures == 0:
                _log.warning(
                    'not enough memory for a CUDA graph, so the model is slower: %s', reason
                )
            self._failures += 1
            self._captures_from = self._batches + IDLE
        else:
            _log.warning('the model runs without CUDA graphs, which is slower: %s', reason)
            self._failures = MAX_FAILURES


class _Graph:
    """The captured work for one shape of a batch, with its own memory for input and output.

    Args:
        pipeline: What is captured. It must have computed a batch of this shape in this stream.
        batch: Preprocessed.
        stream: Captures; not the default one.
        pool: Source of its memory.

    Attributes:
        used: Number of the last batch that used it.
    """

    def __init__(self, pipeline: Pipeline, batch: Tensor, stream: cuda.Stream, pool: Any) -> None:
        self.used = 0
        self._batch = torch.empty_like(batch)
        self._gamma = torch.zeros((), device=batch.device)
        # the graph reads these even if the backbone drops them
        p = pipeline.preprocess.patch_size
        self._positions = pipeline.backbone.positions(batch.shape[2] // p, batch.shape[3] // p)
        self._graph = cuda.CUDAGraph()
        # `torch.cuda.graph` would wait for the device, empty the caches, and stay in its stream
        # when the capture fails
        with cuda.stream(stream), _capturing(self._graph, stream, pool):
            self._pooled = pipeline.pool(pipeline.backbone(self._batch), self._gamma)

    def __call__(self, batch: Tensor, gamma: float) -> Pooled:
        """Run the graph; return its output, which the next call overwrites."""
        self._batch.copy_(batch)
        self._gamma.fill_(gamma)
        self._graph.replay()
        return self._pooled


@contextmanager
def _capturing(graph: cuda.CUDAGraph, stream: cuda.Stream, pool: Any) -> Iterator[None]:
    """Capture the `with` block in the current stream."""
    done = False
    try:
        # thread_local: prompts may be encoded by another thread at the same time
        graph.capture_begin(pool=pool, capture_error_mode='thread_local')
        try:
            yield
        finally:
            graph.capture_end()
        done = True
    finally:
        if not done:
            _end_allocation(graph, stream.device.index, pool)


def _end_allocation(graph: cuda.CUDAGraph, device: int, pool: Any) -> None:
    """Complete the clean-up that torch leaves out when a capture fails.

    `CUDAGraph::capture_end` raises before it tells the allocator that the capture has ended. After
    that `torch.cuda.empty_cache` would fail, and memory used by another stream would never be freed
    (torch 2.12, aten/src/ATen/cuda/CUDAGraph.cpp).
    """
    graph.reset()
    _broken.append(graph)
    try:
        torch._C._cuda_endAllocateToPool(device, pool)
        torch._C._cuda_releasePool(device, pool)
    except (AttributeError, RuntimeError):  # it had ended, or torch has changed
        return
