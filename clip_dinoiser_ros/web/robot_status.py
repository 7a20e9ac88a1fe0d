# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""/diagnostics of a node in plain words."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from clip_dinoiser_ros.web.source import Status

MODEL = 'segmentation model'
OK, WARN, ERROR, SILENT = range(4)  # as in DiagnosticStatus, where 3 is STALE
MISSED = 3  # messages in a row; fewer may be lost
LEAST_S = 3.0
RECORDED_S = 3600.0  # older images are those of a recording, whose age says nothing
# state: what a person is told; the reason follows
WORDS = {
    'waiting': 'waiting for images',
    'stale': 'no new labels',
    'rejected': 'the images cannot be used',
    'inactive': 'the node is configured and not active',
    'unconfigured': 'the node is not configured yet',
}
# key of a value: its name and unit on the page
CAMERA_DETAILS = {
    'topic': ('image topic', ''),
    'rate_in_hz': ('images', '/s'),
    'rate_out_hz': ('labels', '/s'),
    'age_of_newest_frame_s': ('age of the newest image', ' s'),
    'frames_replaced': ('images replaced by newer ones', ''),
    'frames_rejected': ('images that could not be used', ''),
}
MODEL_DETAILS = {
    'model': ('model', ''),
    'device': ('device', ''),
    'precision': ('precision', ''),
    'wait_ms_median': ('wait, median', ' ms'),
    'decode_ms_median': ('decode, median', ' ms'),
    'segment_ms_median': ('segment, median', ' ms'),
    'publish_ms_median': ('publish, median', ' ms'),
    'total_ms_p95': ('total, 95th percentile', ' ms'),
    'gpu_memory_allocated_mib': ('GPU memory', ' MiB'),
    'unclean_ends': ('failed runs before this one', ''),
}


class Diagnosed:
    """The newest statuses of one node.

    Args:
        target: Full name of the node.
        on_return: Called when the node is heard again after it was silent.
        clock: Seconds that never jump.

    Attributes:
        is_encoding: Whether the node encodes prompts, as it said last.
    """

    def __init__(
        self,
        target: str,
        on_return: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._target, self._on_return, self._clock = target, on_return, clock
        self.is_encoding = False
        self._start_s = clock()
        self._heard_s: float | None = None
        self._period_s = 1.0
        self._statuses: Mapping[str, tuple[int, str, Mapping[str, str]]] = {}

    def put(self, message: Any) -> None:
        """Take a DiagnosticArray, of this node or of another."""
        mark = f'{self._target.lstrip("/")}: '
        statuses = {
            status.name.removeprefix(mark): (
                ord(status.level),
                status.message,
                {item.key: item.value for item in status.values},
            )
            for status in message.status
            if status.name.startswith(mark)
        }
        if not statuses:
            return
        was_silent, now_s = self.silent_s() is not None, self._clock()
        if self._heard_s is not None and not was_silent:
            self._period_s = now_s - self._heard_s
        self._statuses, self._heard_s = statuses, now_s
        _, _, values = statuses.get(MODEL, (OK, '', {}))
        self.is_encoding = values.get('encoding_prompts') == 'true'
        if was_silent:
            self._on_return()

    def silent_s(self) -> float | None:
        """Return for how long nothing was heard of the node; None: it reports as it should."""
        since_s = self._start_s if self._heard_s is None else self._heard_s
        silent_s = self._clock() - since_s
        if self._heard_s is not None and silent_s < max(LEAST_S, MISSED * self._period_s):
            return None
        return silent_s

    def topic(self, camera: str) -> str:
        """Return the topic of the images of a camera; empty: the node does not say."""
        _, _, values = self._statuses.get(camera, (OK, '', {}))
        return values.get('topic', '')

    def status(self, camera: str, is_there: bool) -> Status:
        """Return how a camera is.

        Args:
            camera: Its name.
            is_there: Whether the services of the node are on the network.
        """
        silent_s = self.silent_s()
        if silent_s is not None:
            if self._heard_s is None and is_there:
                return Status(WARN, 'no diagnostics yet; with diagnostics_period 0 there are none')
            return Status(SILENT, f'nothing heard of {self._target} for {silent_s:.0f} s')
        level, message, values = self._statuses.get(MODEL, (OK, '', {}))
        details = _details(values, MODEL_DETAILS)
        if values.get('state') == 'active' and camera in self._statuses:
            level, message, values = self._statuses[camera]
            details = _details(values, CAMERA_DETAILS) + details
        return Status(level, _summary(message, values), details, self.is_encoding)


def _summary(message: str, values: Mapping[str, str]) -> str:
    """Say a state and its reason in plain words."""
    state = values.get('state', '')
    reason = message.removeprefix(state).lstrip(':; ')
    words = WORDS.get(state, state)
    if state == 'active' and 'rate_out_hz' in values:
        words = f'{float(values["rate_out_hz"]):.1f} labels/s'
        age_s = float(values.get('age_of_newest_frame_s', 'nan').replace('unknown', 'nan'))
        if age_s < RECORDED_S:
            words += f', {age_s:.1f} s old'
    return f'{words}: {reason}' if reason else words


def _details(
    values: Mapping[str, str], names: Mapping[str, tuple[str, str]]
) -> tuple[tuple[str, str], ...]:
    return tuple((n, values[key] + unit) for key, (n, unit) in names.items() if key in values)
