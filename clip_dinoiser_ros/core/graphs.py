"""The pipeline as CUDA graphs: one launch for each batch instead of hundreds."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import replace

import torch
from torch import Tensor

from clip_dinoiser_ros.core.pipeline import Answer, Pipeline, Query

MAX_GRAPHS = 8  # kept; the one that was not needed for the longest time goes

_log = logging.getLogger(__name__)


class GraphRunner:
    """Runs the pipeline on a GPU; captures it on first use for each kind of batch.

    A kind is a size, a number of images and of classes, the background's index and the thresholds.
    Where the pipeline cannot be captured it runs as it is, after one warning.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._graphs: OrderedDict[Hashable, _Graph] = OrderedDict()
        self._failed = False

    def __call__(self, pixels: Tensor, query: Query) -> Answer:
        """Do what `Pipeline.__call__` does."""
        if self._failed:
            return self._pipeline(pixels, query)
        classes = len(query.embeddings)
        kind = (pixels.shape, classes, query.background, query.gamma, query.delta)
        if kind in self._graphs:
            self._graphs.move_to_end(kind)
        else:
            try:
                self._graphs[kind] = _Graph(self._pipeline, pixels, query)
            except RuntimeError as error:
                _log.warning('the model runs without CUDA graphs, slower: %s', error)
                self._failed = True
                self._graphs.clear()
                return self._pipeline(pixels, query)
            if len(self._graphs) > MAX_GRAPHS:
                self._graphs.popitem(last=False)
        return self._graphs[kind](pixels, query)


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
