# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""A running node as the source of the page, on this or on another machine."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import ParameterEvent
from rcl_interfaces.srv import SetParametersAtomically
from rclpy.qos import qos_profile_parameter_events
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from clip_dinoiser_ros.frames import images
from clip_dinoiser_ros.msg import Vocabulary
from clip_dinoiser_ros.srv import Segment
from clip_dinoiser_ros.web.notices import Notices
from clip_dinoiser_ros.web.robot_camera import CameraWatch
from clip_dinoiser_ros.web.robot_client import LATCHED, RobotClient
from clip_dinoiser_ros.web.robot_messages import likeliest_at, segmented_frame
from clip_dinoiser_ros.web.robot_settings import refused_parameter, to_parameters, to_settings
from clip_dinoiser_ros.web.robot_status import Diagnosed
from clip_dinoiser_ros.web.source import (
    SETTINGS,
    ClassProbability,
    RefusedError,
    Settings,
    ShownFrame,
    Status,
)

NODE = '/clip_dinoiser'
CHANGE_S = 120.0  # many new prompts take long to encode on a small computer
SEGMENT_S = 60.0
FRAME_S = 5.0  # for the next frame
WORDS_S = 2.0  # for the vocabulary, which is latched
REUSED_S = 1.0  # class confidences are large: a finger that moves asks for them once


class RobotSource:
    """A `Source` of a running node: only what every ROS client may ask.

    The topics of a camera are subscribed to while someone watches it.

    Args:
        node: Full name of the node.
        args: Command line with arguments of ROS.
        can_change: Whether the node may be changed at all.
    """

    def __init__(self, node: str = NODE, args: Sequence[str] = (), can_change: bool = True) -> None:
        self.title = node
        self._can_change = can_change
        self._changes = Notices()
        self._client = RobotClient(node, args)
        self._diagnosed = Diagnosed(node, self._renewed)
        self._cameras: tuple[str, ...] = ()
        self._is_new = True  # the node, so that it may have other cameras
        self._lock = threading.Lock()
        self._watches: dict[str, CameraWatch] = {}
        self._asking = threading.Lock()
        self._confidences: tuple[str, float, Image] | None = None  # camera, when, message
        self._client.subscribe(DiagnosticArray, '/diagnostics', self._diagnosed.put)
        self._client.subscribe(
            ParameterEvent, '/parameter_events', self._hear, qos_profile_parameter_events
        )

    @property
    def can_change(self) -> bool:
        """Whether `change` can be used at all."""
        return self._can_change

    def close(self) -> None:
        """Stop; the last call."""
        with self._lock:
            for watch in self._watches.values():
                watch.close()
            self._watches.clear()
        self._client.close()
        self._changes.close()

    # watching

    def cameras(self) -> Sequence[str]:
        """Return the names of the cameras; those of a node that is gone stay."""
        if self._is_new:
            try:
                (self._cameras,) = self._client.parameters('cameras')
                self._is_new = False
            except RefusedError:
                if not self._cameras:
                    raise
        return self._cameras

    def watch(self, camera: str, on_frame: Callable[[ShownFrame], None]) -> Callable[[], None]:
        """Call `on_frame` with every frame until the returned function is called."""
        with self._lock:
            watch = self._watches.get(camera)
            if watch is None:
                watch = self._watches[camera] = CameraWatch(
                    self._client,
                    camera,
                    lambda: self._diagnosed.topic(camera),
                    self._renewed,
                )
            key = object()
            watch.watchers[key] = on_frame

        def stop() -> None:
            with self._lock:
                watch.watchers.pop(key, None)
                if not watch.watchers and self._watches.get(camera) is watch:
                    del self._watches[camera]
                    watch.close()
                    self._confidences = None

        return stop

    def status(self, camera: str) -> Status:
        """Return how this camera is."""
        return self._diagnosed.status(camera, self._client.is_there())

    # settings

    def settings(self) -> Settings:
        """Return the values in use."""
        return to_settings(self._client.parameters(*SETTINGS))

    def class_ids(self) -> Mapping[str, int]:
        """Return the class id of each name in use."""
        vocabulary = self._vocabulary(self.cameras()[0])
        return dict(zip(vocabulary.names, map(int, vocabulary.ids), strict=True))

    def change(self, settings: Settings) -> None:
        """Change some of the settings, all or none; return when they are in use."""
        if not self.can_change:
            raise RefusedError('this page may only look')
        request = SetParametersAtomically.Request(parameters=to_parameters(settings))
        result = self._client.call('set_parameters_atomically', request, CHANGE_S).result
        if not result.successful:
            raise RefusedError(result.reason, refused_parameter(result.reason, settings))

    def on_change(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` when settings changed, whoever changed them, until told to stop."""
        return self._changes.add(callback)

    def _renewed(self) -> None:
        self._is_new = True
        self._changes.notify()

    def _hear(self, event: ParameterEvent) -> None:
        names = {parameter.name for parameter in [*event.new_parameters, *event.changed_parameters]}
        if event.node == self.title and not names.isdisjoint({*SETTINGS, 'cameras'}):
            self._diagnosed.is_encoding = False  # what is in use is encoded
            self._renewed()

    def _vocabulary(self, camera: str) -> Vocabulary:
        """Return the vocabulary of a camera, which the node latches."""
        watch = self._watches.get(camera)
        vocabulary = watch.vocabulary if watch is not None else None
        if vocabulary is None:
            topic = f'{self.title}/{camera}/vocabulary'
            vocabulary = self._client.first(Vocabulary, topic, WORDS_S, LATCHED)
        if vocabulary is None:
            raise RefusedError(f'{self.title} has no words in use yet')
        return vocabulary

    # questions

    def probabilities(self, camera: str, x: float, y: float) -> Sequence[ClassProbability]:
        """Return the likeliest classes in a pixel of the newest frame, likeliest first."""
        if not (0 <= x <= 1 and 0 <= y <= 1):
            raise RefusedError(f'x is {x} and y is {y}; allowed: 0 to 1')
        confidences = self._class_confidences(camera)
        names = self._vocabulary(camera).names
        if confidences.encoding != f'32FC{len(names)}':
            raise RefusedError('the words are being changed; ask again')
        return likeliest_at(confidences, names, x, y)

    def _class_confidences(self, camera: str) -> Image:
        with self._asking:  # one after the other, so that many who ask at once ask the node once
            kept = self._confidences
            if kept is not None and kept[0] == camera and time.monotonic() - kept[1] < REUSED_S:
                return kept[2]
            topic = f'{self.title}/{camera}/class_confidences'
            message = self._client.first(Image, topic, FRAME_S)
            if message is None:
                raise RefusedError(f'no new image of {camera} within {FRAME_S:g} s')
            self._confidences = camera, time.monotonic(), message
            return message

    def segment(
        self,
        image: npt.NDArray[np.uint8],
        prompts: Sequence[str],
        background: str,
        min_confidence: float | None = None,
    ) -> ShownFrame:
        """Segment an image (H, W, 3) RGB with prompts of its own; nothing else changes."""
        request = Segment.Request(
            image=images.to_message(image, 'rgb8', Header(), Image),
            prompts=list(prompts),
            background=background,
            min_confidence=-1.0 if min_confidence is None else float(min_confidence),
        )
        answer = self._client.call('segment', request, SEGMENT_S)
        if not answer.success:
            raise RefusedError(answer.message)
        return segmented_frame(image, prompts, background, answer)
