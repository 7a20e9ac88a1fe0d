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
IDLE = 500  # batches: a graph that was not needed for so long makes room for another
MAX_FAILURES = 3  # captures that found too little memory

_log = logging.getLogger(__name__)
_broken: list[cuda.CUDAGraph] = []  # torch's allocator of pinned memory keeps pointers to them

Kind = tuple[int, ...]


class GraphRunner:
    """Runs the pipeline on a GPU; most of it as CUDA graphs.

    A graph takes a preprocessed batch and gives pooled features. So there is one for each shape of
    a batch, whatever the classes, the thresholds and the size of the camera's images are. It is
    captured when a shape comes for the second time: what comes once is not worth it, and the first
    time makes all that must not be made during a capture. Preprocessing and the comparison with the
    classes are few launches, and run as they are.

    When too little memory is left for a graph, or a batch cannot be captured, the batch runs as it
    is. Each is said in one warning.

    Args:
        pipeline: On a CUDA device.
        device: That device, with its index.
    """

    def __init__(self, pipeline: Pipeline, device: torch.device) -> None:
        self._pipeline = pipeline
        self._device = device
        self._lock = threading.Lock()  # graphs work in memory of their own: one batch at a time
        self._graphs: OrderedDict[Kind, _Graph] = OrderedDict()  # least recently used first
        self._seen: set[Kind] = set()
        self._batches = 0
        self._captures_from = 0  # number of a batch
        self._failures = 0
        # One stream and one pool for all captures. Each stream costs workspaces of cuBLAS for good.
        # Graphs may share memory: they run one after the other, and what they give is used before
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
        """Whether another graph may be captured now; drops one that was not needed for long."""
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
        """Compute in the stream that captures, so that its workspaces are there when it does."""
        with self._aside() as stream, cuda.stream(stream):
            return self._pipeline.pool(self._pipeline.backbone(batch), gamma)

    @contextmanager
    def _aside(self) -> Iterator[cuda.Stream]:
        """Give the other stream; it begins after the current one and this goes on after it."""
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
        reason = str(error)  # a log may keep what it is given, and an error keeps its frames
        # the end of a capture that broke off can raise again, over what broke it off
        if is_out_of_memory(error) or is_out_of_memory(error.__context__):
            if self._failures == 0:
                _log.warning(
                    'too little memory for a CUDA graph, the model runs slower: %s', reason
                )
            self._failures += 1
            self._captures_from = self._batches + IDLE
        else:
            _log.warning('the model runs without CUDA graphs, slower: %s', reason)
            self._failures = MAX_FAILURES


class _Graph:
    """The captured work for one shape of a batch. Its input and its output are its own memory.

    Args:
        pipeline: What is captured; has computed a batch of this shape in this stream before.
        batch: Preprocessed.
        stream: Captures; not the default one.
        pool: Where its memory is taken from.

    Attributes:
        used: Number of the batch that used it last.
    """

    def __init__(self, pipeline: Pipeline, batch: Tensor, stream: cuda.Stream, pool: Any) -> None:
        self.used = 0
        self._batch = torch.empty_like(batch)
        self._gamma = torch.zeros((), device=batch.device)
        # the backbone may forget these, the graph goes on reading them
        p = pipeline.preprocess.patch_size
        self._positions = pipeline.backbone.positions(batch.shape[2] // p, batch.shape[3] // p)
        self._graph = cuda.CUDAGraph()
        # `torch.cuda.graph` would wait for the device, empty the caches, and stay in its stream
        # when the capture fails
        with cuda.stream(stream), _capturing(self._graph, stream, pool):
            self._pooled = pipeline.pool(pipeline.backbone(self._batch), self._gamma)

    def __call__(self, batch: Tensor, gamma: float) -> Pooled:
        """Return what the next call overwrites."""
        self._batch.copy_(batch)
        self._gamma.fill_(gamma)
        self._graph.replay()
        return self._pooled


@contextmanager
def _capturing(graph: cuda.CUDAGraph, stream: cuda.Stream, pool: Any) -> Iterator[None]:
    """Capture what is done in the `with` block; the stream is the current one."""
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
    """Do what torch leaves out when a capture breaks off.

    `CUDAGraph::capture_end` raises before it tells the allocator that the capture is over. From
    then on `torch.cuda.empty_cache` would fail, and memory that another stream has used would never
    be free again (torch 2.12, aten/src/ATen/cuda/CUDAGraph.cpp).
    """
    graph.reset()
    _broken.append(graph)
    try:
        torch._C._cuda_endAllocateToPool(device, pool)
        torch._C._cuda_releasePool(device, pool)
    except (AttributeError, RuntimeError):  # it was over, or torch has changed
        return
