# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""A progress bar over the time of a recording, with frames per second and time left."""

from __future__ import annotations

import sys
import time
from typing import Any

from tqdm import tqdm

from clip_dinoiser_ros.bag.recording import Recording
from clip_dinoiser_ros.bag.windows import Selection

_FORMAT = '{desc} {percentage:3.0f}% |{bar}| {elapsed} gone, {remaining} left{postfix}'


class Bar:
    """Shown on a terminal; elsewhere nothing is written.

    Args:
        recording: What is gone through, open.
        selection: The part to process.
        what: Name of the work.
    """

    def __init__(self, recording: Recording, selection: Selection, what: str) -> None:
        self._start = selection.start_ns or recording.start_ns
        end = min(selection.end_ns or recording.end_ns, recording.end_ns)
        self._total, self._what = max(end - self._start, 1), what
        self._bar: Any = None
        self._began, self._before = 0.0, 0

    def advance(self, time_ns: int, frames: int) -> None:
        """Update the bar.

        Args:
            time_ns: Recording time that was reached.
            frames: Done so far, by earlier runs too.
        """
        reached = min(max(time_ns - self._start, 0), self._total)
        if self._bar is None:  # the rate starts here, without loading and earlier runs
            self._began, self._before = time.monotonic(), frames
            self._bar = tqdm(
                total=self._total,
                initial=reached,
                desc=self._what,
                bar_format=_FORMAT,
                file=sys.stderr,
                disable=None,
                mininterval=0.2,
            )
        elapsed_s = max(time.monotonic() - self._began, 1e-9)
        rate = (frames - self._before) / elapsed_s
        self._bar.set_postfix_str(f'{frames} frames, {rate:.1f} frames/s', refresh=False)
        self._bar.update(reached - self._bar.n)

    def __enter__(self) -> Bar:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
