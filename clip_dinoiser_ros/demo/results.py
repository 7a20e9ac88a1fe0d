# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Compares the output of the node for a drive with the true labels, frame by frame."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from clip_dinoiser_ros.bag.recording import Recording
from clip_dinoiser_ros.bag.types import typestore
from clip_dinoiser_ros.demo.live import DemoError, Received
from clip_dinoiser_ros.demo.record import IMAGE, TRUTH
from clip_dinoiser_ros.evaluation.demo_model import IGNORED, Confusion, true_indices
from clip_dinoiser_ros.frames import images
from clip_dinoiser_ros.frames.images import stamp_ns
from clip_dinoiser_ros.frames.outputs import OUTPUTS


@dataclass(frozen=True, eq=False)
class Result:
    """One segmented frame.

    Attributes:
        stamp_ns: Of the camera image.
        received_ns: When its labels arrived, by the wall clock.
        labels: (H, W) class ids.
        confidence: uint8 (H, W), 255 for certain.
        info: FrameInfo message.
        vocabulary: Vocabulary message of the version in its FrameInfo.
    """

    stamp_ns: int
    received_ns: int
    labels: npt.NDArray[np.unsignedinteger]
    confidence: npt.NDArray[np.uint8]
    info: Any
    vocabulary: Any


@dataclass(frozen=True, eq=False)
class ComparedFrame:
    """A frame of the drive with its result; labels are indices into the names of its vocabulary.

    Attributes:
        image: uint8 (H, W, 3) RGB.
        truth: uint8 (H, W); `IGNORED` where no prompt names the true class.
        labels: (H, W), classes found by the node.
        result: What the node published.
    """

    image: npt.NDArray[np.uint8]
    truth: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.unsignedinteger]
    result: Result

    def confusion(self) -> Confusion:
        """Count the pixels whose true class is among the prompts."""
        counts = Confusion(tuple(self.result.vocabulary.names))
        known = self.truth != IGNORED
        counts.add(self.truth[known], self.labels[known])
        return counts


def collect(received: Sequence[Received]) -> list[Result]:
    """Group the messages by frame, in the order of the stamps.

    Raises:
        DemoError: Nothing was segmented, or labels lack their vocabulary or have ids that it lacks.
    """
    store = typestore()
    outputs: dict[str, dict[int, Any]] = {name: {} for name in OUTPUTS}
    vocabularies: dict[int, Any] = {}
    arrived: dict[int, int] = {}
    for message in received:
        content: Any = store.deserialize_cdr(message.data, OUTPUTS[message.output].type_name)
        stamp = stamp_ns(content.header)
        outputs[message.output][stamp] = content
        if message.output == 'vocabulary':
            vocabularies[content.version] = content
        if message.output == 'labels':
            arrived[stamp] = message.time_ns
    results = []
    for stamp, labels in sorted(outputs['labels'].items()):
        info, confidence = (outputs[name].get(stamp) for name in ('frame_info', 'confidence'))
        if info is None or confidence is None:
            continue  # the drive ended before they arrived
        vocabulary = vocabularies.get(info.vocabulary_version)
        if vocabulary is None:
            raise DemoError(f'vocabulary {info.vocabulary_version} was never announced')
        ids = _pixels(labels)
        known = {*vocabulary.ids.tolist(), vocabulary.unlabelled_id}
        strange = set(np.unique(ids).tolist()) - known
        if strange:
            raise DemoError(f'frame {stamp}: ids {strange} are not in vocabulary {known}')
        results.append(Result(stamp, arrived[stamp], ids, _pixels(confidence), info, vocabulary))
    if not results:
        raise DemoError('nothing was segmented')
    return results


def _pixels(message: Any) -> npt.NDArray[Any]:
    dtype = {'mono8': np.uint8, 'mono16': np.uint16}[message.encoding]
    return message.data.view(dtype).reshape(message.height, message.width)


def compare(drive: Path, results: Sequence[Result]) -> Iterator[ComparedFrame]:
    """Read the drive together with its results; replaced frames are left out."""
    by_stamp = {result.stamp_ns: result for result in results}
    image: npt.NDArray[np.uint8] | None = None
    with Recording(drive) as recording:
        for message in recording.messages([IMAGE, TRUTH]):
            if message.time_ns not in by_stamp:
                continue
            content: Any = typestore().deserialize_cdr(message.data, message.topic.type_name)
            if message.topic.name == IMAGE:
                image = images.to_rgb(content)
            elif image is not None:
                result = by_stamp[message.time_ns]
                names, ids = list(result.vocabulary.names), result.vocabulary.ids
                truth = true_indices(_pixels(content), names)
                index = np.full(int(max(ids.max(), result.vocabulary.unlabelled_id)) + 1, IGNORED)
                index[ids] = range(len(ids))
                yield ComparedFrame(image, truth, index[result.labels].astype(np.uint8), result)


def total_miou(frames: Sequence[ComparedFrame]) -> float:
    """Return the mean IoU over all pixels of all frames, for the classes that occur."""
    total = frames[0].confusion()
    for frame in frames[1:]:
        total.counts += frame.confusion().counts
    return total.miou()
