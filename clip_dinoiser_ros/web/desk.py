# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""A desk without a robot: pictures or a recording as the source of the page, and a model."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from clip_dinoiser_ros.core import Segmenter
from clip_dinoiser_ros.core.errors import one_line
from clip_dinoiser_ros.core.prompt_advice import advice
from clip_dinoiser_ros.core.vocabulary import join_prompts
from clip_dinoiser_ros.frames import settings as frame_settings
from clip_dinoiser_ros.frames.class_ids import ClassIds, published_classes, unlabelled_id
from clip_dinoiser_ros.frames.images import stamp_ns
from clip_dinoiser_ros.frames.process import DecodedFrame, FrameOutputs, Processor
from clip_dinoiser_ros.frames.settings import Active
from clip_dinoiser_ros.web.notices import Notices
from clip_dinoiser_ros.web.pictures import Pictures, make_header
from clip_dinoiser_ros.web.source import (
    SETTINGS,
    ClassProbability,
    RefusedError,
    Settings,
    ShownClass,
    ShownFrame,
    ShownObject,
    Status,
    likeliest,
    pixel_at,
)

LIMITS = {'min_confidence': 1.0, 'temporal_smoothing': 0.99, 'max_rate': 1000.0}
_RATED = 20  # frames of which the rate is told
_MOST_PROBABILITIES = 2**22  # computed to look at one pixel
logger = logging.getLogger(__name__)


class Desk:
    """A `Source` of pictures and a model in this process.

    Args:
        segmenter: The model.
        pictures: What is shown.
        settings: As of the node, at the beginning.

    Raises:
        PromptError: The prompts of the settings cannot be used.
    """

    can_change = True

    def __init__(
        self, segmenter: Segmenter, pictures: Pictures, settings: frame_settings.Settings
    ) -> None:
        self.title = pictures.title
        self._segmenter, self._pictures = segmenter, pictures
        self._model = threading.Lock()  # one image at a time
        self._ids = ClassIds()
        self._active = self._encode(settings, 1)
        self._changed = Notices()
        self._news = threading.Condition()
        self._outputs: dict[str, FrameOutputs] = {}
        self._ends_s: dict[str, deque[float]] = {}  # when frames of a recording were shown
        self._failures: dict[str, str] = {}
        self._players: dict[threading.Thread, Callable[[], None]] = {}

    def close(self) -> None:
        """Stop; the last call."""
        self._changed.close()
        for thread, stop in [*self._players.items()]:
            stop()
            thread.join()  # a process that ends while torch computes would abort

    # watching

    def cameras(self) -> Sequence[str]:
        """Return the names of pictures, or of the cameras of the recording."""
        return self._pictures.names()

    def watch(self, camera: str, on_frame: Callable[[ShownFrame], None]) -> Callable[[], None]:
        """Call `on_frame` with every frame until the returned function is called."""
        over = threading.Event()

        def stop() -> None:
            over.set()
            with self._news:
                self._news.notify_all()

        arguments = (camera, on_frame, over)
        thread = threading.Thread(target=self._play, args=arguments, name=camera, daemon=True)
        self._players[thread] = stop
        thread.start()
        return stop

    def _play(
        self, camera: str, on_frame: Callable[[ShownFrame], None], over: threading.Event
    ) -> None:
        processor = Processor(self._segmenter, logger)
        ends_s = self._ends_s[camera] = deque(maxlen=_RATED + 1)
        try:
            for frame, pause_s in self._pictures.play(camera):
                began_s, active = time.monotonic(), self._active
                outputs = self._segment(processor, frame, active)
                if over.is_set():
                    return
                self._outputs[camera] = outputs
                self._failures.pop(camera, None)
                on_frame(_shown(outputs))
                if pause_s is not None:
                    ends_s.append(time.monotonic())
                self._wait(began_s, pause_s, active, over)
        except (ValueError, OSError) as error:
            self._failures[camera] = one_line(error)
        finally:
            del self._players[threading.current_thread()]

    def _wait(
        self, began_s: float, pause_s: float | None, active: Active, over: threading.Event
    ) -> None:
        """Wait for the next frame of a recording, or until settings change."""
        rate = active.settings.max_rate
        end_s = None
        if pause_s is not None:
            end_s = began_s + max(pause_s, 1 / rate if rate else 0.0)
        with self._news:
            self._news.wait_for(
                lambda: over.is_set() or self._active is not active,
                None if end_s is None else max(0.0, end_s - time.monotonic()),
            )

    def _segment(self, processor: Processor, frame: DecodedFrame, active: Active) -> FrameOutputs:
        with self._model:
            (outcome,) = processor.process([frame], active)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def status(self, camera: str) -> Status:
        """Return the rate of a recording, and what goes wrong with a picture or with the words."""
        vocabulary = self._active.vocabulary
        told = advice(vocabulary, published_classes(self._active.table))
        unknown = self._segmenter.unknown_words(vocabulary)
        if unknown:
            told.insert(0, f'the demo model does not know: {", ".join(unknown)}')
        if camera in self._failures:
            return Status(2, self._failures[camera])
        details = (
            ('model', f'{self._segmenter.engine}, {self._segmenter.precision}'),
            ('device', str(self._segmenter.device)),
        )
        summary = ': '.join(filter(None, [self._rate(camera), '; '.join(told)]))
        return Status(1 if told else 0, summary or 'ready', details)

    def _rate(self, camera: str) -> str:
        ends_s = [*self._ends_s.get(camera, ())]
        if len(ends_s) < 2:
            return ''
        return f'{(len(ends_s) - 1) / (time.monotonic() - ends_s[0]):.1f} labels/s'

    # settings

    def settings(self) -> Settings:
        """Return the values in use."""
        return {name: getattr(self._active.settings, name) for name in SETTINGS}

    def class_ids(self) -> Mapping[str, int]:
        """Return the class id of each name in use."""
        active = self._active
        count = published_classes(active.table)
        names = active.vocabulary.names[:count]
        return dict(zip(names, map(int, active.table[:count]), strict=True))

    def change(self, settings: Settings) -> None:
        """Change some of the settings, all or none; return when they are in use."""
        given: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in settings.items()
        }
        for name, largest in LIMITS.items():
            if name in given and not 0 <= given[name] <= largest:
                raise RefusedError(f'{name} is {given[name]}; must be 0 to {largest}', name)
        try:
            active = self._encode(replace(self._active.settings, **given), self._active.version + 1)
        except ValueError as error:
            raise RefusedError(str(error), 'prompts') from error
        with self._news:
            self._active = active
            self._news.notify_all()
        self._changed.notify()

    def on_change(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` after changes until told to stop."""
        return self._changed.add(callback)

    def _encode(self, settings: frame_settings.Settings, version: int) -> Active:
        """Encode the prompts of settings; frames go on with the old ones meanwhile."""
        prompts, negatives = settings.prompts, settings.negative_prompts
        vocabulary = self._segmenter.encode(
            join_prompts(prompts, negatives), settings.background or None, settings.templates
        )
        names = vocabulary.names[: len(prompts)]
        self._ids = self._ids.with_room(names).with_names(names)
        return Active(settings, vocabulary, self._ids.table(names, len(negatives)), version)

    # asking

    def probabilities(self, camera: str, x: float, y: float) -> Sequence[ClassProbability]:
        """Return the likeliest classes in a pixel of the newest frame, likeliest first."""
        outputs = self._outputs.get(camera)
        if outputs is None:
            return ()
        return _probabilities(outputs, x, y)

    def segment(
        self,
        image: npt.NDArray[np.uint8],
        prompts: Sequence[str],
        background: str,
        min_confidence: float | None = None,
    ) -> ShownFrame:
        """Segment an image (H, W, 3) RGB with prompts of its own; nothing else changes."""
        given = self._active.settings
        settings = replace(
            given,
            prompts=tuple(prompts),
            negative_prompts=(),
            background=background,
            temporal_smoothing=0.0,
            min_confidence=given.min_confidence if min_confidence is None else min_confidence,
        )
        try:
            vocabulary = self._segmenter.encode(
                settings.prompts, background or None, settings.templates
            )
            names = vocabulary.names
            active = Active(settings, vocabulary, ClassIds().with_names(names).table(names), 0)
            processor = Processor(self._segmenter, logger)
            outputs = self._segment(processor, DecodedFrame('', make_header(0), image, 0.0), active)
        except ValueError as error:
            raise RefusedError(one_line(error)) from error
        return replace(_shown(outputs), probabilities=partial(_probabilities, outputs))


def _probabilities(outputs: FrameOutputs, x: float, y: float) -> Sequence[ClassProbability]:
    height, width = outputs.size
    names = outputs.active.vocabulary.names
    scale = min(1.0, (_MOST_PROBABILITIES / (len(names) * height * width)) ** 0.5)
    size = max(1, round(height * scale)), max(1, round(width * scale))
    row, column = pixel_at(size, x, y)
    return likeliest(outputs.patches.class_confidences(size)[:, row, column], names)


def _shown(outputs: FrameOutputs) -> ShownFrame:
    active = outputs.active
    vocabulary, table = active.vocabulary, active.table
    count = published_classes(table)
    return ShownFrame(
        camera=outputs.frame.camera,
        stamp_ns=stamp_ns(outputs.header),
        image=outputs.frame.image,
        labels=outputs.shown.labels,
        confidence=outputs.shown.certainty,
        unlabelled_id=unlabelled_id(table),
        classes=tuple(
            ShownClass(int(table[index]), prompt.name, prompt.text, index == vocabulary.background)
            for index, prompt in enumerate(vocabulary.prompts[:count])
        ),
        objects=tuple(
            ShownObject(name, found.score, _corners(found.box))
            for found, name in zip(outputs.objects.found, outputs.object_names, strict=True)
        ),
        times_ms={'decode': outputs.frame.decode_ms, 'segment': outputs.segment_ms},
    )


def _corners(box: tuple[int, int, int, int]) -> tuple[float, float, float, float]:
    left, top, width, height = box
    return left, top, left + width, top + height
