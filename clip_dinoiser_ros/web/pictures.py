# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Where a desk without a robot has its frames from: image files, or a recording."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Protocol

from clip_dinoiser_ros.bag.cameras import choose_cameras
from clip_dinoiser_ros.bag.recording import Recording
from clip_dinoiser_ros.bag.windows import RecordedFrame, Selection, read_windows
from clip_dinoiser_ros.frames import image_files
from clip_dinoiser_ros.frames.images import stamp_ns
from clip_dinoiser_ros.frames.process import DecodedFrame

_LONGEST_S = 1.0  # between two frames of a recording; a pause in it is shortened


class Pictures(Protocol):
    """Frames by the names of their cameras."""

    title: str

    def names(self) -> Sequence[str]:
        """Return the names of the cameras."""

    def play(self, name: str) -> Iterator[tuple[DecodedFrame, float | None]]:
        """Return frames without end, each with the seconds until the next; None: any number."""


class ImageFolder:
    """The image files of a folder; each is a camera that stands still."""

    def __init__(self, folder: Path) -> None:
        self.title = folder.resolve().name
        self._files = {
            path.name: path
            for path in sorted(folder.iterdir())
            if path.suffix.lower() in image_files.SUFFIXES and path.is_file()
        }
        if not self._files:
            raise ValueError(f'{folder} contains no images ({", ".join(image_files.SUFFIXES)})')

    def names(self) -> Sequence[str]:
        """Return the names of the files."""
        return tuple(self._files)

    def play(self, name: str) -> Iterator[tuple[DecodedFrame, float | None]]:
        """Return one frame again and again."""
        image = image_files.decode(self._files[name].read_bytes())
        frame = DecodedFrame(name, make_header(0), image, 0.0)
        while True:
            yield frame, None


class NoPictures:
    """Nothing to watch; there is the part of the page where words are tried."""

    title = 'words'

    def names(self) -> Sequence[str]:
        """Return nothing."""
        return ()

    def play(self, name: str) -> Iterator[tuple[DecodedFrame, float | None]]:
        """Return nothing."""
        return iter(())


class PlayedBag:
    """A recording, played in its own time from its start, and again."""

    def __init__(self, path: Path) -> None:
        self.title = path.resolve().name
        self._path = path
        with Recording(path) as recording:
            cameras, _ = choose_cameras(recording)
        self._cameras = {camera.name: camera for camera in cameras}

    def names(self) -> Sequence[str]:
        """Return the names of its cameras."""
        return tuple(self._cameras)

    def play(self, name: str) -> Iterator[tuple[DecodedFrame, float | None]]:
        """Return the frames of a camera; damaged ones are left out."""
        camera = self._cameras[name]
        shift_ns = end_ns = 0  # time never goes back
        while True:
            before: DecodedFrame | None = None
            with Recording(self._path) as recording:
                for window in read_windows(recording, Selection({camera.topic: camera}), 1):
                    for item in window.items:
                        if isinstance(item, RecordedFrame) and item.image is not None:
                            now_ns = shift_ns + stamp_ns(item.header)
                            frame = DecodedFrame(
                                name, make_header(now_ns), item.image, item.decode_ms
                            )
                            if before is not None:
                                pause_s = (now_ns - end_ns) / 1e9
                                yield before, min(max(pause_s, 0.0), _LONGEST_S)
                            before, end_ns = frame, now_ns
            if before is None:
                raise ValueError(f'{camera.topic}: no image can be decoded')
            yield before, _LONGEST_S
            shift_ns = end_ns + 10**9


def make_header(stamp: int) -> SimpleNamespace:
    """Make a std_msgs/Header with a stamp in nanoseconds, without ROS."""
    seconds, nanoseconds = divmod(stamp, 10**9)
    return SimpleNamespace(stamp=SimpleNamespace(sec=seconds, nanosec=nanoseconds), frame_id='')
