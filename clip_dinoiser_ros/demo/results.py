# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""What the node published of a drive, frame by frame, held against the true labels."""

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
from clip_dinoiser_ros.frames.outputs import OUTPUTS
from clip_dinoiser_ros.frames.stamps import stamp_ns


@dataclass(frozen=True, eq=False)
class Result:
    """One segmented frame.

    Attributes:
        stamp_ns: Of the camera image.
        received_ns: When its labels came, by the wall clock.
        labels: (H, W) class ids.
        confidence: uint8 (H, W), 255 is certain.
        info: FrameInfo message.
        vocabulary: Vocabulary message that its FrameInfo names.
    """

    stamp_ns: int
    received_ns: int
    labels: npt.NDArray[np.unsignedinteger]
    confidence: npt.NDArray[np.uint8]
    info: Any
    vocabulary: Any


@dataclass(frozen=True, eq=False)
class ComparedFrame:
    """A frame of the drive with its result, as indices into the names of its vocabulary.

    Attributes:
        image: uint8 (H, W, 3) RGB.
        truth: uint8 (H, W); `IGNORED` where the true label is none of the prompts.
        labels: (H, W), index of the node's class.
        result: What the node published.
    """

    image: npt.NDArray[np.uint8]
    truth: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.unsignedinteger]
    result: Result

    def confusion(self) -> Confusion:
        """Count the pixels whose true label is among the prompts."""
        counts = Confusion(tuple(self.result.vocabulary.names))
        known = self.truth != IGNORED
        counts.add(self.truth[known], self.labels[known])
        return counts


def collect(received: Sequence[Received]) -> list[Result]:
    """Put the messages of each frame together, in the order of the stamps.

    Raises:
        DemoError: Nothing was segmented; labels without the vocabulary that explains them, or with
            ids that it does not have.
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
            continue  # the drive ended while they were on their way
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
    """Read the drive beside its results; frames that were replaced are left out."""
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
    """Return the mean IoU over the classes that occur, the pixels of all frames together."""
    total = frames[0].confusion()
    for frame in frames[1:]:
        total.counts += frame.confusion().counts
    return total.miou()
