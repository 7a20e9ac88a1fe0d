# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Videos of the overlays, one per camera: H.264 in mp4, for browsers."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from clip_dinoiser_ros.bag.cameras import Camera
from clip_dinoiser_ros.bag.output_files import partial_file
from clip_dinoiser_ros.bag.partial import check_target, put
from clip_dinoiser_ros.bag.pauses import WithoutPauses
from clip_dinoiser_ros.bag.playback import Shown
from clip_dinoiser_ros.bag.recording import BagError

# Frames are at their recording times, to the millisecond. Long pauses are left out, because an mp4
# cannot hold one of more than 24 days.
TIME_BASE = Fraction(1, 1000)
_ENCODERS = ('libx264', 'libopenh264')
_OPTIONS = {'crf': '20', 'preset': 'veryfast', 'g': '60'}


def video_paths(path: Path, cameras: Sequence[Camera]) -> dict[str, Path]:
    """Return the path of each video: PATH for one camera, PATH with its name for several."""
    if len(cameras) == 1:
        return {cameras[0].name: path}
    return {camera.name: path.with_stem(f'{path.stem}_{camera.name}') for camera in cameras}


class Videos:
    """The videos of a recording; each gets its name once it is complete.

    Args:
        path: See `video_paths`.
        cameras: One video each.
        force: Replace what is there.

    Raises:
        BagError: A file exists, or there is no H.264 encoder.
    """

    def __init__(self, path: Path, cameras: Sequence[Camera], force: bool) -> None:
        self.paths = video_paths(path, cameras)
        self._force = force
        for target in self.paths.values():
            check_target(target, force)
        find_encoder()
        self._videos: dict[str, VideoFile] = {}

    def add(self, shown: Shown) -> None:
        """Append the overlay of a frame."""
        name = shown.camera.name
        if name not in self._videos:
            part = partial_file(self.paths[name])
            self._videos[name] = VideoFile(part, shown.overlay, shown.time_ns)
        self._videos[name].add(shown.overlay, shown.time_ns)

    def finish(self) -> None:
        """Close the files and rename them."""
        for name, video in self._videos.items():
            video.close()
            put(video.path, self.paths[name], self._force)


def find_encoder() -> str:
    """Return the H.264 encoder; raises BagError if PyAV or the encoder is missing."""
    try:
        import av
    except ImportError as error:
        raise BagError('--video needs PyAV: pip install av') from error
    for name in _ENCODERS:
        try:
            av.Codec(name, 'w')
        except ValueError:  # PyAV raises it for unknown names
            continue
        return name
    raise BagError(f'PyAV has no H.264 encoder ({", ".join(_ENCODERS)}): pip install av')


class VideoFile:
    """One video file; all frames have the size of the first."""

    def __init__(self, path: Path, first: npt.NDArray[np.uint8], start_ns: int) -> None:
        import av

        self.path = path
        self._time, self._last = WithoutPauses(start_ns), -1
        self._size = first.shape[:2]
        self._file = av.open(str(path), 'w', format='mp4', options={'movflags': '+faststart'})
        encoder = find_encoder()
        options = _OPTIONS if encoder == 'libx264' else {}
        stream = self._file.add_stream(encoder, rate=30, options=options)
        # H.264 in 4:2:0, which browsers play, needs even sides
        stream.height, stream.width = (side + side % 2 for side in self._size)
        stream.pix_fmt = 'yuv420p'
        stream.codec_context.time_base = TIME_BASE
        self._stream = stream

    def add(self, overlay: npt.NDArray[np.uint8], time_ns: int) -> None:
        """Append an image, uint8 (H, W, 3) RGB, at its time."""
        import av

        height, width = self._size
        if overlay.shape[:2] != self._size:
            overlay = cv2.resize(overlay, (width, height), interpolation=cv2.INTER_AREA)
        even = cv2.copyMakeBorder(overlay, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
        frame = av.VideoFrame.from_ndarray(even, format='rgb24')
        elapsed = round(self._time.since_start_ns(time_ns) * 1e-9 / TIME_BASE)
        self._last = frame.pts = max(self._last + 1, elapsed)  # each later than the one before
        frame.time_base = TIME_BASE
        self._file.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Write the remaining frames and close the file."""
        self._file.mux(self._stream.encode(None))
        self._file.close()
