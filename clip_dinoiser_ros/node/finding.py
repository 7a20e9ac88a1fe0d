# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The service ~/find: where is it, in what the cameras show now?"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from geometry_msgs.msg import Point, TransformStamped, Vector3
from std_msgs.msg import Header
from vision_msgs.msg import Point2D

from clip_dinoiser_ros.core import Segmenter, Vocabulary
from clip_dinoiser_ros.core.vocabulary import parse_prompts
from clip_dinoiser_ros.frames.cloud_messages import CLOUD_ERRORS
from clip_dinoiser_ros.frames.detections import bounding_box
from clip_dinoiser_ros.frames.finding import SeenFrame, Sight, find_in, with_general
from clip_dinoiser_ros.frames.settings import Active
from clip_dinoiser_ros.msg import FoundObject
from clip_dinoiser_ros.node.clouds import Clouds
from clip_dinoiser_ros.node.jobs import RefusedError
from clip_dinoiser_ros.node.publishers import DETECTION_TYPES
from clip_dinoiser_ros.node.requests import checked
from clip_dinoiser_ros.node.seen import SeenFrames
from clip_dinoiser_ros.node.transforms import Transforms, as_matrix
from clip_dinoiser_ros.srv import Find

MAX_TIMEOUT_S = 60.0  # of a request
DEPTH_WAIT_S = 0.5  # for depth and transform of a frame that is there

Encode = Callable[[Sequence[str], None, str], Vocabulary]


class Finder:
    """Makes questions of requests.

    Args:
        segmenter: The model.
        active: Returns the settings and the vocabulary of the node.
        seen: The newest frames.
        clouds: Depth and CameraInfo of every camera, by name.
        transforms: Returns the transforms into a frame; empty: as `detections_3d`, None: none.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        active: Callable[[], Active],
        seen: SeenFrames,
        clouds: Mapping[str, Clouds],
        transforms: Callable[[str], Transforms | None],
    ) -> None:
        self.segmenter, self.active, self.seen, self.clouds = segmenter, active, seen, clouds
        self._transforms = transforms

    def question(
        self, request: Find.Request, encode: Encode, turn: Callable[[], AbstractContextManager[Any]]
    ) -> Question:
        """Check a request and begin to look, in the thread of the executor.

        Args:
            request: As received.
            encode: Encodes prompts between frames.
            turn: Returns a context in which no frame is segmented.

        Raises:
            ValueError: A request that cannot be served; says why.
        """
        for name, most in (
            ('max_age_s', math.inf),
            ('timeout_s', MAX_TIMEOUT_S),
            ('min_confidence', 1.0),
        ):
            checked(request, name, most)
        checked(request, 'min_object_size', of_node=self.active().settings.min_object_size)
        if request.camera and request.camera not in self.clouds:
            raise RefusedError(
                f'camera is {request.camera!r}; it must be one of {", ".join(self.clouds)}, or '
                'empty for all'
            )
        if not request.text.strip():
            raise RefusedError('text is empty; say what to look for')
        prompts = self._prompts(request)
        cameras = [request.camera] if request.camera else list(self.clouds)
        return Question(
            self, request, prompts, cameras, self._transforms(request.target_frame), encode, turn
        )

    def _prompts(self, request: Find.Request) -> list[str]:
        """Return the text and what it may be confused with."""
        (wanted,) = parse_prompts([request.text])
        own = {synonym.casefold() for synonym in wanted.synonyms}
        others = request.contrast or [
            prompt.text
            for prompt in self.active().vocabulary.prompts
            if own.isdisjoint(synonym.casefold() for synonym in prompt.synonyms)
        ]
        return with_general([request.text, *others])


class Question:
    """One request on its way; `is_ready` and `answer` are called in the thread of the services."""

    def __init__(
        self,
        finder: Finder,
        request: Find.Request,
        prompts: Sequence[str],
        cameras: Sequence[str],
        transforms: Transforms | None,
        encode: Encode,
        turn: Callable[[], AbstractContextManager[Any]],
    ) -> None:
        self._finder, self._request, self._prompts = finder, request, prompts
        self._cameras, self._transforms = cameras, transforms
        self._encode, self._turn = encode, turn
        now = time.monotonic()
        self._since_s = now - request.max_age_s  # earlier frames are not looked at
        self._until_s = now + request.timeout_s
        self._frames: list[SeenFrame] = []  # once all cameras have one
        self._depth_until_s = now

    def is_ready(self) -> bool:
        """Return whether the frames of all cameras are there, or no time is left.

        A frame is there with its depth and its transform. One whose transform does not come, such
        as the first ones after the node has begun to listen, is replaced by the next.
        """
        now = time.monotonic()
        if now >= self._depth_until_s and not self._are_placed():
            frames = self._young()
            if len(frames) == len(self._cameras):
                self._frames, self._since_s = frames, now
                self._depth_until_s = now + DEPTH_WAIT_S
        waits = now < self._depth_until_s and any(
            self._finder.clouds[frame.camera].expects_depth(frame) for frame in self._frames
        )
        return now >= self._until_s or (self._are_placed() and not waits)

    def _young(self) -> list[SeenFrame]:
        """Return the newest frames of the cameras, if they are young enough."""
        newest = [self._finder.seen.newest.get(camera) for camera in self._cameras]
        return [one for one in newest if one is not None and one.arrived_s >= self._since_s]

    def _are_placed(self) -> bool:
        """Return whether there are frames whose transforms are known, if they are needed."""
        transforms = self._transforms
        return bool(self._frames) and (
            transforms is None or all(transforms.is_known(one.header) for one in self._frames)
        )

    def answer(self) -> Find.Response:
        """Look at the frames.

        Raises:
            ValueError: No frame came in time, the text cannot be used, TF does not know a frame.
        """
        frames, request = self._frames or self._young(), self._request
        if not frames:
            raise RefusedError(
                f'no frame of {" or ".join(self._cameras)} within timeout_s {request.timeout_s:g}'
            )
        places = [
            None if self._transforms is None else self._transforms.lookup(frame.header)
            for frame in frames
        ]
        vocabulary = self._encode(self._prompts, None, frames[0].settings.templates)
        found, problems = [], []
        for frame, place in zip(frames, places, strict=True):
            sights, problem = self._look(frame, vocabulary)
            found += [found_message(sight, place) for sight in sights]
            problems += problem
        return Find.Response(
            success=True,
            message='; '.join(problems),
            objects=sorted(found, key=lambda one: -one.score),
            cameras=[frame.camera for frame in frames],
        )

    def _look(self, frame: SeenFrame, vocabulary: Vocabulary) -> tuple[list[Sight], list[str]]:
        """Return what is found in a frame, and why it has no pose."""
        measured, problem = None, []
        try:
            measured = self._finder.clouds[frame.camera].measure_once(frame)
        except CLOUD_ERRORS as error:
            problem = [f'{frame.camera}: no pose: {error}']
        of_node = frame.settings.min_object_size
        with self._turn():
            sights = find_in(
                self._finder.segmenter,
                frame,
                vocabulary,
                self._request.min_confidence,
                checked(self._request, 'min_object_size', of_node=of_node),
                measured,
            )
        return sights, problem


def found_message(sight: Sight, place: TransformStamped | None = None) -> FoundObject:
    """Make the message of an object.

    Args:
        sight: The object.
        place: From the frame of its image into that of the pose; None: the pose is in the former.
    """
    column, row = sight.centroid
    message = FoundObject(
        header=sight.frame.header,
        camera=sight.frame.camera,
        score=sight.found.score,
        box=bounding_box(sight.found, DETECTION_TYPES),
        centroid=Point2D(x=column, y=row),
    )
    if sight.place is None:
        return message
    message.is_located = True
    centre, size = sight.place.centre, sight.place.size
    if place is not None:
        message.header = Header(stamp=message.header.stamp, frame_id=place.header.frame_id)
        message.pose.orientation = place.transform.rotation
        centre = (as_matrix(place.transform)[:3] @ [*centre, 1.0]).tolist()
    message.pose.position = Point(**dict(zip('xyz', centre, strict=True)))
    message.size = Vector3(**dict(zip('xyz', size, strict=True)))
    return message
