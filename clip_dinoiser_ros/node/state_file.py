# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The state file of a node: class ids, version and prompts."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

AUTO = 'auto'
# the parameters that determine a vocabulary
VOCABULARY_PARAMETERS = ('prompts', 'negative_prompts', 'background', 'templates')


class StateError(ValueError):
    """A state file that cannot be used; says why."""


@dataclass(frozen=True)
class State:
    """The state that is kept from run to run.

    Attributes:
        ids: Class ids by name, the least recently used names first.
        version: Version of the newest vocabulary; 0: none yet.
        given: Values of `VOCABULARY_PARAMETERS` when the run started.
        used: Their values when the state was written.
    """

    ids: Mapping[str, int] = field(default_factory=dict)
    version: int = 0
    given: Mapping[str, Any] = field(default_factory=dict)
    used: Mapping[str, Any] = field(default_factory=dict)


def state_path(parameter: str, node_name: str) -> Path | None:
    """Return the path of the state file of a node; None: the state is not kept.

    Args:
        parameter: `state_file`: a path, 'auto' (below $ROS_HOME, ~/.ros unless it is set), or ''.
        node_name: With its namespace, such as /robot/clip_dinoiser.

    Raises:
        RuntimeError: There is no home directory.
    """
    if not parameter:
        return None
    if parameter != AUTO:
        return Path(parameter).expanduser()
    home = Path(os.environ.get('ROS_HOME') or '~/.ros').expanduser()
    return home / 'clip_dinoiser_ros' / f'{node_name.lstrip("/")}.json'


def read_state(path: Path) -> State | None:
    """Read a state; None if there is no file.

    Raises:
        OSError: The file cannot be read.
        StateError: It is damaged.
    """
    try:
        text = path.read_text()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except UnicodeDecodeError as error:
        raise StateError(str(error)) from error
    try:
        content = json.loads(text)
        values, digest = content['state'], content['sha256']
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise StateError(f'not a state file: {error}') from error
    if digest != _digest(values):
        raise StateError('its content does not match its checksum')
    try:
        return State(**values)
    except TypeError as error:
        raise StateError(f'written by another version of this program: {error}') from error


def write_state(path: Path, state: State) -> None:
    """Replace a state file atomically.

    Raises:
        OSError: It cannot be written.
    """
    values = asdict(state)
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f'{path.name}.new')
    with new.open('w') as file:
        json.dump({'sha256': _digest(values), 'state': values}, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def _digest(values: Any) -> str:
    """Hash a JSON value, including the order of its keys."""
    return sha256(json.dumps(values).encode()).hexdigest()
