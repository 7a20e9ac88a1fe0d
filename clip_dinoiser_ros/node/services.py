# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The services of the node: what they are called, who serves them, and how they are refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.lifecycle import LifecycleNode

from clip_dinoiser_ros.core import Segmenter
from clip_dinoiser_ros.frames.settings import Active
from clip_dinoiser_ros.node.answers import Answers
from clip_dinoiser_ros.node.clouds import Clouds
from clip_dinoiser_ros.node.finding import Finder
from clip_dinoiser_ros.node.guard import Watchdog, watched
from clip_dinoiser_ros.node.jobs import Jobs, RefusedError
from clip_dinoiser_ros.node.parameter_services import reason
from clip_dinoiser_ros.node.seen import SeenFrames
from clip_dinoiser_ros.node.transforms import Transforms, listen
from clip_dinoiser_ros.node.worker import Limits
from clip_dinoiser_ros.srv import EncodeText, Find, Segment

SERVICES = {'encode_text': EncodeText, 'find': Find, 'segment': Segment}


class Services:
    """Serves requests between two frames of the cameras, while the node is active.

    The thread of the executor only accepts a request. A thread of its own answers, in turns with
    the frames.

    Args:
        node: The node.
        ends: Called with a reason when this process can no longer segment.

    Attributes:
        seen: The newest frames, kept by the worker.
    """

    def __init__(self, node: LifecycleNode, ends: Callable[[str], None]) -> None:
        self._node, self._ends = node, ends
        self.seen = SeenFrames()
        self._listening: Transforms | None = None  # since the first request that needs it
        self._jobs: Jobs | None = None
        self._answers: Answers | None = None
        self._watchdog: Watchdog | None = None
        for name, kind in SERVICES.items():
            node.create_service(
                kind, f'~/{name}', self._callback(name), callback_group=ReentrantCallbackGroup()
            )

    def start(
        self,
        segmenter: Segmenter,
        active: Callable[[], Active],
        limits: Limits,
        turn: Callable[[], AbstractContextManager[object]],
        clouds: Mapping[str, Clouds],
        transforms: Transforms | None,
    ) -> None:
        """Begin to answer.

        Args:
            segmenter: The model.
            active: Returns the settings and the vocabulary of the node.
            limits: Of an image.
            turn: Returns a context in which no frame is segmented.
            clouds: Depth and CameraInfo of every camera, by name.
            transforms: Those of `detections_3d`; None: none.
        """
        self.seen.newest.clear()
        watchdog = self._watchdog = Watchdog(limits.inference_timeout_s, self._ends)
        jobs = self._jobs = Jobs(self._wake, self._ends)
        self._answers = Answers(
            segmenter,
            active,
            limits,
            watched(turn, watchdog),
            jobs.is_closed,
            self._node.get_logger(),
            Finder(segmenter, active, self.seen, clouds, partial(self._into, transforms)),
        )

    def stop(self, timeout_s: float) -> bool:
        """Refuse what waits and end the thread; return whether it ended in time."""
        ended = self._jobs is None or self._jobs.close(timeout_s)
        if ended:
            if self._watchdog is not None:
                self._watchdog.close()
            self._jobs = self._answers = self._watchdog = None
            self.seen.newest.clear()
        if self._listening is not None:
            self._listening.close()
            self._listening = None
        return ended

    def _into(self, known: Transforms | None, target: str) -> Transforms | None:
        """Return the transforms into a frame, in the thread of the executor."""
        if not target:
            return known
        if known is None:
            if self._listening is None:
                self._listening = listen(self._node, target)
            known = self._listening
        return known.into(target)

    def _wake(self) -> None:
        executor = self._node.executor
        if executor is not None:
            executor.wake()

    def _callback(self, name: str) -> Callable[[Any, Any], Any]:
        async def serve(request: Any, response: Any) -> Any:
            try:
                jobs, answers = self._jobs, self._answers
                if jobs is None or answers is None:
                    raise RefusedError('the node is not active; activate it and ask again')
                if name == 'find':
                    question = answers.question(request)
                    future = jobs.ask(question.answer, question.is_ready)
                    del question
                else:
                    future = jobs.ask(partial(getattr(answers, name), request))
                del jobs, answers  # keep no reference to the model meanwhile
                return await future
            except Exception as error:  # otherwise rclpy would send no answer
                response.success, response.message = False, reason(error)
                return response

        return serve
