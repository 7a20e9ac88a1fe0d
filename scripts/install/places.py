# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The folders of an installation: the environment, and the cache that environments share."""

from __future__ import annotations

import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from complaints import SetupError, complain
from runs import run


@dataclass(frozen=True)
class Places:
    """Folders, and environment variables of the installers."""

    venv: Path
    cache: Path  # of this package: uv itself
    environment: dict[str, str]

    @classmethod
    def of(cls, venv: Path) -> Places:
        """Choose the user's cache, or a folder beside the environment if that cannot be written."""
        environment = dict(os.environ)
        for name in ('PYTHONPATH', 'PYTHONHOME'):
            environment.pop(name, None)
        cache = _users_cache()
        if cache is None:
            cache = venv.with_name(f'{venv.name}.cache')
            environment['XDG_CACHE_HOME'] = str(cache)  # also for uv and pip
        return cls(venv, cache / 'clip_dinoiser_ros', environment)

    @property
    def python(self) -> Path:
        """The Python of the environment."""
        return self.venv / 'bin/python'


def _users_cache() -> Path | None:
    """Return the folder of caches if this user can write there, else None."""
    try:
        folder = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache')
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except (OSError, RuntimeError):  # there may be no home folder
        return None


def make_environment(places: Places) -> None:
    """Make the virtual environment; replace an existing one.

    An environment is not updated from one lock to the next: the ROS wheels contain metadata of
    their Python packages under the ROS names. An installer takes these for packages that the lock
    lacks, and removes them with their files.

    Raises:
        SetupError: the folder holds something else, or cannot be filled.
    """
    venv = places.venv
    made_here = (venv / '.clip_dinoiser').exists() or (venv / 'pyvenv.cfg').exists()
    if venv.is_dir() and any(venv.iterdir()) and not made_here:
        raise SetupError(
            f'{venv} holds files but no virtual environment: '
            'set CLIP_DINOISER_VENV to an empty or a new folder'
        )
    # pip in a separate step, because venv hides its output
    for command in (
        [sys.executable, '-m', 'venv', '--clear', '--without-pip', venv],
        [places.python, '-m', 'ensurepip', '--default-pip'],
    ):
        ended = run(command, places.environment, quiet=True)
        if ended.status:
            raise complain(ended, venv)
