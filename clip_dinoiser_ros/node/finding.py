# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The service ~/find: where is it, in what the cameras show now?"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import numpy.typing as npt
from geometry_msgs.msg import Point, Pose, Quaternion, Vector3
from std_msgs.msg import Header
from vision_msgs.msg import BoundingBox2D, Point2D, Pose2D

from clip_dinoiser_ros.core import Segmenter, Vocabulary
from clip_dinoiser_ros.core.vocabulary import parse_prompts
from clip_dinoiser_ros.frames.cloud_messages import CLOUD_ERRORS
from clip_dinoiser_ros.frames.finding import SeenFrame, Sight, find_in
from clip_dinoiser_ros.frames.settings import Active
from clip_dinoiser_ros.msg import FoundObject
from clip_dinoiser_ros.node.clouds import Clouds
from clip_dinoiser_ros.node.jobs import RefusedError
from clip_dinoiser_ros.node.seen import SeenFrames
from clip_dinoiser_ros.node.transforms import Transforms
from clip_dinoiser_ros.srv import Find

MAX_TIMEOUT_S = 60.0  # of a request
DEPTH_WAIT_S = 0.5  # for depth and transform of a frame that is there
CHECKED = {
    'max_age_s': float('inf'),
    'timeout_s': MAX_TIMEOUT_S,
    'min_confidence': 1.0,
}  # fields and their largest values; the least is 0

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
        for name, most in CHECKED.items():
            given = getattr(request, name)
            if not 0 <= given <= most:
                allowed = f'0 to {most:g}' if np.isfinite(most) else '0 or more'
                raise RefusedError(f'{name} is {given:g}; allowed is {allowed}')
        size = request.min_object_size
        if not size <= 1:
            raise RefusedError(
                f'min_object_size is {size:g}; allowed is 0 to 1, or a negative number'
            )
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
        if request.contrast:
            prompts = [request.text, *request.contrast]
            parse_prompts(prompts)
            return prompts
        own = {synonym.casefold() for synonym in wanted.synonyms}
        others = [
            prompt.text
            for prompt in self.active().vocabulary.prompts
            if own.isdisjoint(synonym.casefold() for synonym in prompt.synonyms)
        ]
        if not others:
            raise RefusedError(
                'contrast is empty and the node has no other prompts; give texts that are not '
                f'{wanted.name!r}, such as what is around it'
            )
        return [request.text, *others]


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
        self._asked_s = time.monotonic()
        self._frames: list[SeenFrame] = []  # once all cameras have one
        self._depth_until_s = 0.0

    def is_ready(self) -> bool:
        """Return whether there is a frame of each camera, with its depth, or no time is left."""
        now = time.monotonic()
        deadline = self._asked_s + self._request.timeout_s
        if not self._frames:
            frames = self._young()
            if len(frames) == len(self._cameras):
                self._frames = frames
                self._depth_until_s = min(now + DEPTH_WAIT_S, deadline)
        if not self._frames:
            return now >= deadline
        return now >= self._depth_until_s or not any(map(self._may_wait, self._frames))

    def _young(self) -> list[SeenFrame]:
        """Return the frames that are young enough, or arrived since the question."""
        newest = [self._finder.seen.newest.get(camera) for camera in self._cameras]
        since = self._asked_s - self._request.max_age_s
        return [frame for frame in newest if frame is not None and frame.arrived_s >= since]

    def _may_wait(self, frame: SeenFrame) -> bool:
        if self._finder.clouds[frame.camera].expects_depth(frame):
            return True
        return self._transforms is not None and not self._transforms.is_known(frame.header)

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
        matrices = [
            None if self._transforms is None else self._transforms.matrix(frame.header)
            for frame in frames
        ]
        vocabulary = self._encode(self._prompts, None, frames[0].settings.templates)
        found, problems = [], []
        for frame, matrix in zip(frames, matrices, strict=True):
            sights, problem = self._look(frame, vocabulary)
            found += [self._message(sight, matrix) for sight in sights]
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
        size = self._request.min_object_size
        with self._turn():
            sights = find_in(
                self._finder.segmenter,
                frame,
                vocabulary,
                self._request.min_confidence,
                size if size >= 0 else frame.settings.min_object_size,
                measured,
            )
        return sights, problem

    def _message(self, sight: Sight, matrix: npt.NDArray[np.float64] | None) -> FoundObject:
        left, top, width, height = sight.found.box
        centre = Point2D(x=left + (width - 1) / 2, y=top + (height - 1) / 2)
        column, row = sight.centroid
        message = FoundObject(
            header=sight.frame.header,
            camera=sight.frame.camera,
            score=sight.found.score,
            box=BoundingBox2D(
                center=Pose2D(position=centre), size_x=float(width), size_y=float(height)
            ),
            centroid=Point2D(x=column, y=row),
        )
        if sight.place is not None:
            message.is_located = True
            message.pose = Pose(position=_point(sight.place.centre))
            x, y, z = sight.place.size
            message.size = Vector3(x=x, y=y, z=z)
            if matrix is not None and self._transforms is not None:
                message.header = Header(
                    stamp=sight.frame.header.stamp, frame_id=self._transforms.target
                )
                centre_there = matrix @ [*sight.place.centre, 1.0]
                message.pose = Pose(
                    position=_point(centre_there), orientation=quaternion(matrix[:3, :3])
                )
        return message


def _point(xyz: Any) -> Point:
    x, y, z = map(float, xyz[:3])
    return Point(x=x, y=y, z=z)


def quaternion(rotation: npt.NDArray[np.float64]) -> Quaternion:
    """Return a rotation matrix (3, 3) as a quaternion (Shepperd's method)."""
    trace = float(np.trace(rotation))
    squares = np.array([trace, *np.diag(rotation)])  # the largest decides what is divided by
    first = int(np.argmax(squares))
    if first == 0:
        w = 1 + trace
        x, y, z = (rotation[k, j] - rotation[j, k] for j, k in ((1, 2), (2, 0), (0, 1)))
        values = np.array([x, y, z, w])
    else:
        i = first - 1
        j, k = (i + 1) % 3, (i + 2) % 3
        values = np.zeros(4)
        values[i] = 1 + rotation[i, i] - rotation[j, j] - rotation[k, k]
        values[j] = rotation[j, i] + rotation[i, j]
        values[k] = rotation[k, i] + rotation[i, k]
        values[3] = rotation[k, j] - rotation[j, k]
    x, y, z, w = (values / np.linalg.norm(values)).tolist()
    return Quaternion(x=x, y=y, z=z, w=w)
