# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The state that a node keeps from run to run."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from clip_dinoiser_ros.node.run_marker import RunMarker
from clip_dinoiser_ros.node.state_file import (
    State,
    StateError,
    read_state,
    state_path,
    write_state,
)

_LOST = 'after a restart class ids begin at 0 again, and runtime prompts are lost'


class KeptState:
    """The state of a node's earlier runs and of this one.

    If the file cannot be read or written, a warning says so, and the node goes on without it.

    Args:
        parameter: `state_file`, see `state_path`.
        node_name: With its namespace.
        logger: `warning(text)` is called.

    Attributes:
        before: State of earlier runs; empty if there is none.
        run_id: Unique for each run.
        unclean_ends: Number of runs in a row before this one that did not end cleanly.
    """

    def __init__(self, parameter: str, node_name: str, logger: Any) -> None:
        self.before = State()
        self.run_id = uuid4().hex
        self.unclean_ends = 0
        self._logger = logger
        self._given: Mapping[str, Any] = {}
        self._path: Path | None = None
        self._marker: RunMarker | None = None
        self._failed = False
        try:
            path = state_path(parameter, node_name)
        except RuntimeError as error:
            logger.warning(f'state_file: {error}; {_LOST}; set ROS_HOME or state_file')
            return
        if path is not None:
            self._open(path)

    def _open(self, path: Path) -> None:
        try:
            self._marker = RunMarker(path.with_name(f'{path.name}.running'))
        except BlockingIOError:
            self._logger.warning(
                f'{path} is in use: another node has the same name or state_file; this node '
                f'keeps no state: {_LOST}; give it another name or state_file'
            )
            return
        except OSError as error:
            self._warn_of_writing(path, error)
        else:
            self._path = path
            self.unclean_ends = self._marker.unclean_ends
        try:
            self.before = read_state(path) or State()
        except (OSError, StateError) as error:
            self._logger.warning(
                f'{path} cannot be used: {error}; class ids start at 0, so ids in costmaps and '
                'recordings of earlier runs may mean other classes'
            )

    def begin(self, given: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Begin a run.

        Args:
            given: Values of `VOCABULARY_PARAMETERS` at the start.

        Returns:
            Values to use instead: those set during a run that started with the same values and did
            not end cleanly; None: use the given ones.
        """
        self._given = given
        before, lost = self.before, self.unclean_ends > 0
        restored = before.used if lost and before.given == given != before.used else None
        self._write(State(before.ids, before.version, given, restored or given))
        return restored

    def save(self, ids: Mapping[str, int], version: int, used: Mapping[str, Any]) -> None:
        """Save the ids, the version and the parameters of a vocabulary before it is used."""
        self._write(State(ids, version, self._given, used))

    def _write(self, state: State) -> None:
        if self._path is None:
            return
        try:
            write_state(self._path, state)
            self._failed = False
        except OSError as error:
            if not self._failed:
                self._warn_of_writing(self._path, error)
            self._failed = True

    def _warn_of_writing(self, path: Path, error: OSError) -> None:
        self._logger.warning(
            f'{path} cannot be written: {error.strerror or error}; {_LOST}; set state_file or '
            'ROS_HOME to a writable place'
        )

    def last(self) -> None:
        """Mark this run as lasting; see `RunMarker.last`."""
        if self._marker is not None:
            with contextlib.suppress(OSError):  # then the next delay is longer than necessary
                self._marker.last()

    def end_cleanly(self) -> None:
        """Mark this run as ended on request."""
        try:
            if self._marker is not None:
                self._marker.end_cleanly()
        except OSError as error:
            self._logger.warning(f'the next start will treat this shutdown as a failure: {error}')

    def close(self) -> None:
        """Release the file for another node."""
        if self._marker is not None:
            self._marker.close()
        self._path = self._marker = None
