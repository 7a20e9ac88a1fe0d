# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""What the services answer."""

from __future__ import annotations

import array
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import numpy as np
from sensor_msgs.msg import Image

from clip_dinoiser_ros.core import Segmenter, Vocabulary
from clip_dinoiser_ros.core.templates import TEMPLATES
from clip_dinoiser_ros.frames import images
from clip_dinoiser_ros.frames.class_ids import ClassIds, published_classes, unlabelled_id
from clip_dinoiser_ros.frames.detections import detection_array
from clip_dinoiser_ros.frames.process import DecodedFrame, FrameOutputs, Processor
from clip_dinoiser_ros.frames.settings import Active
from clip_dinoiser_ros.node.encoding import encode_in_turns
from clip_dinoiser_ros.node.finding import Finder, Question
from clip_dinoiser_ros.node.jobs import RefusedError
from clip_dinoiser_ros.node.publishers import DETECTION_TYPES
from clip_dinoiser_ros.node.requests import checked
from clip_dinoiser_ros.node.worker import Limits, decode
from clip_dinoiser_ros.srv import EncodeText, Find, Segment


class Answers:
    """Answers requests in the thread that calls; a method for each service.

    Every method raises an error for a request that cannot be served.

    Args:
        segmenter: The model.
        active: Returns the settings and the vocabulary of the node.
        limits: Of an image.
        turn: Returns a context in which no frame is segmented.
        cancelled: True ends the encoding of prompts early.
        logger: As of `Processor`.
        finder: Knows the newest frames.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        active: Callable[[], Active],
        limits: Limits,
        turn: Callable[[], AbstractContextManager[object]],
        cancelled: Callable[[], bool],
        logger: Any,
        finder: Finder,
    ) -> None:
        self._segmenter, self._active, self._limits = segmenter, active, limits
        self._turn, self._cancelled, self._finder = turn, cancelled, finder
        self._processor = Processor(segmenter, logger)  # not the cameras': it has no earlier frames

    def question(self, request: Find.Request) -> Question:
        """Check a request to find something; its answer is made when the frames are there."""
        return self._finder.question(request, self._encode, self._turn)

    def encode_text(self, request: EncodeText.Request) -> EncodeText.Response:
        """Encode texts as prompts are encoded."""
        templates = request.templates or self._active().settings.templates
        if request.templates and templates not in TEMPLATES:
            raise RefusedError(
                f'templates is {templates!r}; allowed: {", ".join(TEMPLATES)}, or empty'
            )
        embeddings = self._encode(request.texts, None, templates).embeddings
        space = self._segmenter.space
        vectors = space.project(embeddings.float().cpu().numpy())
        return EncodeText.Response(
            success=True,
            vectors=_floats(vectors),
            dimension=vectors.shape[1],
            model_digest=space.digest,
        )

    def segment(self, request: Segment.Request) -> Segment.Response:
        """Segment one image by the prompts of the request or of the node."""
        frame = self._decode(request)
        frame_outputs = self._segment(frame, self._active_for(request))
        table, vocabulary = frame_outputs.active.table, frame_outputs.active.vocabulary
        count = published_classes(table)
        return Segment.Response(
            success=True,
            labels=images.to_message(*frame_outputs.labels, frame.header, Image),
            confidence=images.to_message(*frame_outputs.confidence, frame.header, Image),
            names=vocabulary.names[:count],
            ids=[int(class_id) for class_id in table[:count]],
            unlabelled_id=unlabelled_id(table),
            detections=detection_array(frame_outputs, DETECTION_TYPES),
        )

    def _decode(self, request: Segment.Request) -> DecodedFrame:
        given = [m for m in (request.image, request.compressed_image) if len(m.data)]
        if len(given) != 1:
            raise RefusedError(
                'both image and compressed_image are given; give one'
                if given
                else 'neither image nor compressed_image has data; give one of the two'
            )
        return DecodedFrame('', given[0].header, decode(given[0], self._limits), 0.0)

    def _active_for(self, request: Segment.Request) -> Active:
        """Return the settings of the node as the request changes them, and their vocabulary."""
        active = self._active()
        settings = replace(
            active.settings,
            temporal_smoothing=0.0,
            track=False,
            **{
                name: checked(request, name, of_node=getattr(active.settings, name))
                for name in ('min_confidence', 'min_object_size')
            },
        )
        if not request.prompts:
            if request.background:
                raise RefusedError(
                    f'background is {request.background!r} and prompts is empty; give both'
                )
            return replace(active, settings=settings)
        vocabulary = self._encode(request.prompts, request.background or None, settings.templates)
        if request.background and vocabulary.background is None:
            raise RefusedError(
                f'background is {request.background!r}; it must be one of '
                f'{", ".join(vocabulary.names)}'
            )
        settings = replace(
            settings,
            prompts=tuple(request.prompts),
            negative_prompts=(),
            background=request.background,
            object_classes=(),  # of other prompts
        )
        table = ClassIds().with_names(vocabulary.names).table(vocabulary.names)
        return Active(settings, vocabulary, table, version=0)

    def _encode(self, prompts: Sequence[str], background: str | None, templates: str) -> Vocabulary:
        encode_in_turns(self._segmenter, prompts, templates, self._turn, self._cancelled)
        if self._cancelled():
            raise RefusedError('the node was deactivated before it could answer')
        return self._segmenter.encode(prompts, background, templates)

    def _segment(self, frame: DecodedFrame, active: Active) -> FrameOutputs:
        with self._turn():
            (outcome,) = self._processor.process([frame], active)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def _floats(numbers: np.ndarray[Any, np.dtype[np.float32]]) -> array.array[float]:
    """Return numbers as the array that a message takes without a check of each."""
    return array.array('f', np.asarray(numbers, np.float32).tobytes())
