# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The pipeline as CUDA graphs: one launch for each batch instead of hundreds."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import replace

import torch
from torch import Tensor

from clip_dinoiser_ros.core.memory import free_memory, is_out_of_memory
from clip_dinoiser_ros.core.pipeline import Answer, Pipeline, Query

MAX_GRAPHS = 8  # kept; the one that was not needed for the longest time goes

_log = logging.getLogger(__name__)


class GraphRunner:
    """Runs the pipeline on a GPU; captures it on first use for each kind of batch.

    A kind is a size, a number of images and of classes, the background's index and the thresholds.
    Where memory does not suffice for the graph of a kind, that kind runs as it is until others have
    taken its place; where the pipeline cannot be captured at all, every kind does. Each is said in
    one warning.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._graphs: OrderedDict[Hashable, _Graph | None] = OrderedDict()  # None: as it is
        self._failed = False
        self._told_of_memory = False

    def __call__(self, pixels: Tensor, query: Query) -> Answer:
        """Do what `Pipeline.__call__` does."""
        graph = self._graph(pixels, query)
        return self._pipeline(pixels, query) if graph is None else graph(pixels, query)

    def _graph(self, pixels: Tensor, query: Query) -> _Graph | None:
        """Return the graph for a batch, captured when it is the first of its kind; None: none."""
        if self._failed:
            return None
        classes = len(query.embeddings)
        kind = (pixels.shape, classes, query.background, query.gamma, query.delta)
        if kind not in self._graphs:
            self._graphs[kind] = self._capture(pixels, query)
            if len(self._graphs) > MAX_GRAPHS:
                self._graphs.popitem(last=False)
        self._graphs.move_to_end(kind)
        return self._graphs[kind]

    def _capture(self, pixels: Tensor, query: Query) -> _Graph | None:
        try:
            return _Graph(self._pipeline, pixels, query)
        except RuntimeError as error:
            self._tell(error)
        # not in the `except` block: the exception would keep the tensors of the attempt alive
        free_memory()
        return None

    def _tell(self, error: RuntimeError) -> None:
        reason = str(error)  # a log may keep what it is given, and an error keeps its frames
        # the end of a capture that broke off can raise again, over what broke it off
        if not (is_out_of_memory(error) or is_out_of_memory(error.__context__)):
            _log.warning('the model runs without CUDA graphs, slower: %s', reason)
            self._failed = True
            self._graphs.clear()
        elif not self._told_of_memory:
            _log.warning('too little memory for a CUDA graph, the model runs slower: %s', reason)
            self._told_of_memory = True


class _Graph:
    """One captured batch. It works in memory of its own: inputs are copied in, answers out."""

    def __init__(self, pipeline: Pipeline, pixels: Tensor, query: Query) -> None:
        self._pixels = pixels.clone()
        self._query = replace(query, embeddings=query.embeddings.clone())
        # what is made on first use (workspaces, positions) must not be made while capturing
        stream = torch.cuda.Stream(pixels.device)
        stream.wait_stream(torch.cuda.current_stream(pixels.device))
        with torch.cuda.stream(stream):
            for _ in range(2):
                pipeline(self._pixels, self._query)
        torch.cuda.current_stream(pixels.device).wait_stream(stream)
        # the backbone may forget these, the graph goes on reading them
        self._positions = pipeline.backbone.positions(*pipeline.preprocess.grid(*pixels.shape[1:3]))
        self._graph = torch.cuda.CUDAGraph()
        # thread_local: prompts may be encoded by another thread at the same time
        with torch.cuda.graph(self._graph, capture_error_mode='thread_local'):
            self._answer = pipeline(self._pixels, self._query)

    def __call__(self, pixels: Tensor, query: Query) -> Answer:
        self._pixels.copy_(pixels)
        self._query.embeddings.copy_(query.embeddings)
        self._graph.replay()
        confidence = self._answer.background_confidence
        return Answer(
            self._answer.probabilities.clone(), None if confidence is None else confidence.clone()
        )
