# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The thread that encodes new prompts between frames, a few at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from rclpy.executors import Executor
from rclpy.task import Future

from clip_dinoiser_ros.core import Segmenter
from clip_dinoiser_ros.core.vocabulary import Vocabulary, join_prompts
from clip_dinoiser_ros.frames.settings import Settings
from clip_dinoiser_ros.node.guard import Watchdog, watched

TURN_S = 0.06  # how long frames wait for prompts, unless one prompt takes longer


def encode(segmenter: Segmenter, settings: Settings) -> Vocabulary:
    """Encode the prompts of settings; raises as `Segmenter.encode`."""
    return segmenter.encode(
        join_prompts(settings.prompts, settings.negative_prompts),
        settings.background or None,
        settings.templates,
    )


def missing(segmenter: Segmenter, settings: Settings) -> list[str]:
    """Return the prompts that `encode` would have to encode; raises as `Segmenter.missing`."""
    prompts = join_prompts(settings.prompts, settings.negative_prompts)
    return segmenter.missing(prompts, settings.templates)


def encode_in_turns(
    segmenter: Segmenter,
    prompts: Sequence[str],
    templates: str,
    turn: Callable[[], AbstractContextManager[object]],
    cancelled: Callable[[], bool],
) -> None:
    """Encode prompts, a few in each turn; afterwards `Segmenter.encode` has them in its cache.

    Args:
        segmenter: The model.
        prompts: As of `Segmenter.encode`, whose errors this raises.
        templates: As of `Segmenter.encode`.
        turn: Returns a context in which no frame is segmented.
        cancelled: Asked before every turn; true ends the work early.
    """
    texts = segmenter.missing(prompts, templates)
    start, count = 0, 1
    while start < len(texts) and not cancelled():
        with turn():
            began_s = time.monotonic()
            segmenter.encode(texts[start : start + count], None, templates)
            took_s = time.monotonic() - began_s
        start += count
        count = max(1, min(2 * count, int(count * TURN_S / took_s)))


class Encoding:
    """Encodes the prompts of settings in a thread of its own.

    This thread and the one that segments both use every core. So they take turns: a few prompts,
    then the waiting frames.

    Args:
        segmenter: The model.
        settings: The settings with the new prompts.
        turn: Returns a context in which no frame is segmented.
        watchdog: Watches each turn; closed at the end.
        executor: Woken at the end.

    Attributes:
        done: Future of the Vocabulary, of None if cancelled, or of the error.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        settings: Settings,
        turn: Callable[[], AbstractContextManager[object]],
        watchdog: Watchdog,
        executor: Executor,
    ) -> None:
        self.done = Future()
        self._turn = watched(turn, watchdog)
        self._watchdog = watchdog
        self._executor = executor
        self._cancelled = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(segmenter, settings), name='encoding', daemon=True
        )
        self._thread.start()

    def cancel(self) -> None:
        """End the thread after the current prompts, so that it releases the model."""
        self._cancelled.set()
        self._thread.join()

    def _run(self, segmenter: Segmenter, settings: Settings) -> None:
        try:
            self.done.set_result(self._encode(segmenter, settings))
        except Exception as error:
            self.done.set_exception(error)
        self._watchdog.close()
        self._executor.wake()

    def _encode(self, segmenter: Segmenter, settings: Settings) -> Vocabulary | None:
        prompts = join_prompts(settings.prompts, settings.negative_prompts)
        cancelled = self._cancelled.is_set
        encode_in_turns(segmenter, prompts, settings.templates, self._turn, cancelled)
        return None if self._cancelled.is_set() else encode(segmenter, settings)
