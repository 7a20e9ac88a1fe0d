# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Requests to the services, as bytes, and the promise that has to hold: an answer or a reason.

They are answered by the real model in this process, with one frame seen, without DDS.
"""

from __future__ import annotations

import logging
import math
import struct
from contextlib import nullcontext
from dataclasses import replace
from functools import cache

import numpy as np
from clip_dinoiser_ros.srv import EncodeText, Find, Segment
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from clip_dinoiser_ros import Segmenter
from clip_dinoiser_ros.frames import compressed
from clip_dinoiser_ros.frames.finding import SeenFrame
from clip_dinoiser_ros.frames.settings import Active
from clip_dinoiser_ros.node.answers import Answers
from clip_dinoiser_ros.node.clouds import Clouds
from clip_dinoiser_ros.node.finding import Finder
from clip_dinoiser_ros.node.parameter_services import reason
from clip_dinoiser_ros.node.parameters import CameraTopics, default_settings
from clip_dinoiser_ros.node.seen import SeenFrames
from clip_dinoiser_ros.node.transforms import Transforms
from clip_dinoiser_ros.node.worker import Limits

LOG = logging.getLogger('fuzz')
MAX_PIXELS = 2**12
NUMBERS = struct.Struct('<4f')
_IMAGE = struct.Struct('<2f3IB')  # numbers, height, width, step, encoding
_ENCODINGS = ('rgb8', 'bgr8', 'mono8', '16UC1', 'sepia', '')
PIXELS = np.arange(32 * 48 * 3, dtype=np.uint32).astype(np.uint8).reshape(32, 48, 3)


def find_request(content: bytes) -> None:
    """Numbers, then lines: text, camera, target frame, contrast."""
    if len(content) < NUMBERS.size:
        return
    age, timeout, confidence, size = NUMBERS.unpack_from(content)
    text, camera, target, *contrast = (*_lines(content[NUMBERS.size :]), '', '', '')[:20]
    request = Find.Request(
        text=text,
        camera=camera,
        target_frame=target,
        contrast=[line for line in contrast if line],
        max_age_s=age,
        timeout_s=timeout,
        min_confidence=confidence,
        min_object_size=size,
    )

    def ask(answers: Answers) -> Find.Response:
        question = answers.question(request)
        question.is_ready()
        return question.answer()

    answer = _answered(ask)
    if answer is not None:
        assert list(answer.cameras) == ['camera']
        assert all(confidence <= one.score <= 1 for one in answer.objects)
        assert all(0 <= one.centroid.x < PIXELS.shape[1] for one in answer.objects)


def segment_request(content: bytes) -> None:
    """Numbers of a raw image, a line with background and prompts, then the data."""
    if len(content) < _IMAGE.size:
        return
    confidence, size, height, width, step, kind = _IMAGE.unpack_from(content)
    line, _, data = content[_IMAGE.size :].partition(b'\n')
    background, *prompts = line.decode('utf-8', 'replace').split('\t')[:20]
    request = Segment.Request(
        prompts=prompts, background=background, min_confidence=confidence, min_object_size=size
    )
    if kind % 2:
        request.compressed_image = CompressedImage(format='jpeg')
        request.compressed_image.data.frombytes(data)
    else:
        encoding = _ENCODINGS[kind // 2 % len(_ENCODINGS)]
        request.image = Image(height=height, width=width, step=step, encoding=encoding)
        request.image.data.frombytes(data)
    answer = _answered(lambda answers: answers.segment(request))
    if answer is not None:
        assert 0 < answer.labels.height * answer.labels.width <= MAX_PIXELS
        assert len(answer.labels.data) == answer.labels.step * answer.labels.height
        assert len(answer.names) == len(answer.ids) > 0


def encode_text_request(content: bytes) -> None:
    """The first line names the templates, the others are texts."""
    templates, *texts = _lines(content)[:20]
    request = EncodeText.Request(texts=texts, templates=templates)
    answer = _answered(lambda answers: answers.encode_text(request))
    if answer is not None:
        vectors = np.reshape(answer.vectors, (len(texts), answer.dimension))
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-4)


def seeds(target: str) -> list[bytes]:
    """Return whole requests."""
    numbers = NUMBERS.pack(math.inf, 0.0, 0.0, -1.0)
    height, width, _ = PIXELS.shape
    raw = _IMAGE.pack(0.5, -1.0, height, width, 3 * width, 0)
    jpeg = _IMAGE.pack(0.5, -1.0, 0, 0, 0, 1)
    line = b'floor\tfloor\tred ball|ball\tblue barrel\n'
    return {
        'find_request': [
            numbers + b'red ball|ball\ncamera\n\nfloor\nwall',
            numbers + b'blue barrel',
            numbers + b'blue barrel\n\nmap',
        ],
        'segment_request': [
            raw + line + PIXELS.tobytes(),
            raw + b'\n' + PIXELS.tobytes(),
            jpeg + line + compressed.encode_jpeg(PIXELS).tobytes(),
        ],
        'encode_text_request': [b'none\nred ball|ball\nwall', b'\nfloor'],
    }[target]


REQUESTS = {one.__name__: one for one in (find_request, segment_request, encode_text_request)}


def _answered(ask):
    """Return the answer; None: refused as the services refuse, with a reason on one line."""
    answers = _answers()
    try:
        answer = ask(answers)
    except ValueError as error:
        said = reason(error)
        assert said
        assert '\n' not in said
        LOG.debug('refused: %s', said)
        return None
    assert answer.success
    return answer


def _lines(content: bytes) -> list[str]:
    return content.decode('utf-8', 'replace').split('\n')


class _NoTransforms:
    """A buffer that has heard nothing."""

    def can_transform(self, *_) -> bool:
        return False

    def lookup_transform(self, *_):
        raise LookupError('nothing is known')


@cache
def _answers() -> Answers:
    segmenter = Segmenter.load('demo', device='cpu', precision='fp32', short_side=32)
    names = ['floor', 'wall', 'red ball']
    vocabulary = segmenter.encode(names, None, 'none')
    settings = replace(default_settings(), prompts=tuple(names), templates='none')
    active = Active(settings, vocabulary, np.arange(len(names), dtype=np.uint8), version=1)
    (patches,) = segmenter.segment_patches([PIXELS], vocabulary, with_features=True)
    assert patches.features is not None
    seen = SeenFrames()
    seen.newest['camera'] = SeenFrame(
        'camera', Header(), PIXELS.shape[:2], settings, patches.features, 0.0
    )
    clouds = {'camera': Clouds(CameraTopics('camera', '/image', 'raw'), LOG.warning)}

    def transforms(target: str) -> Transforms | None:
        return Transforms(target, _NoTransforms()) if target else None

    finder = Finder(segmenter, lambda: active, seen, clouds, transforms)
    limits = Limits(max_pixels=MAX_PIXELS)
    return Answers(segmenter, lambda: active, limits, nullcontext, lambda: False, LOG, finder)
