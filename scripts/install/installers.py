# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""uv and pip as installers of a lock: no resolution, every file with its hash."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from complaints import SetupError, complain, unreachable
from pip_settings import uv_settings
from places import Places
from runs import Ended, run, say

# Builds packages that are published only as sources; it is in the lock.
BUILDER = 'setuptools'


class Uv:
    """uv: fast, with one cache of unpacked wheels that environments link to."""

    name = 'uv'

    def __init__(self, places: Places, program: Path) -> None:
        self._places = places
        self._program = program
        self._environment = {
            'UV_COMPILE_BYTECODE_TIMEOUT': '600',  # seconds; 60 are few on a busy machine
            **places.environment,
            **uv_settings(places.python, places.environment),
        }

    def install(self, lock: Path) -> None:
        """Install what the lock lists into a new environment.

        Raises:
            SetupError: with the reason and what to do.
        """
        with _builder_of(lock) as builder:
            self._run('-r', builder)
        self._run('--no-build-isolation', '--compile-bytecode', '-r', lock)

    def _run(self, *arguments: str | Path) -> None:
        # not sync: after a failed try it would remove *.egg-info of ROS and the modules with it
        command = [self._program, 'pip', 'install', '--python', self._places.python, *_AS_LOCKED]
        # first from the cache only
        ended = run([*command, '--offline', *arguments], self._environment, quiet=True)
        if ended.status:
            ended = run([*command, *arguments], self._environment)
        if ended.status:
            raise complain(ended, self._places.venv, self._places.cache)

    def check(self) -> None:
        """Raise SetupError unless the environment is complete and consistent."""
        command = [self._program, 'pip', 'check', '--python', self._places.python]
        _require_consistent(run(command, self._environment, quiet=True))


class Pip:
    """pip, for machines and indexes without uv."""

    name = 'pip'

    def __init__(self, places: Places) -> None:
        self._places = places

    def install(self, lock: Path) -> None:
        """Install what the lock lists into a new environment.

        Raises:
            SetupError: with the reason and what to do.
        """
        with _builder_of(lock) as builder:
            self._run(*_PIP_INSTALL, '-r', builder)
        self._run(*_PIP_INSTALL, '--no-build-isolation', '-r', lock)

    def _run(self, *arguments: str | Path) -> Ended:
        ended = run_pip(self._places, arguments)
        if ended.status:
            raise complain(ended, self._places.venv, self._places.cache)
        return ended

    def check(self) -> None:
        """Raise SetupError unless the environment is complete and consistent."""
        _require_consistent(run_pip(self._places, ['check'], quiet=True))


_AS_LOCKED = ('--no-deps', '--require-hashes')
_PIP_INSTALL = ('install', *_AS_LOCKED, '--no-input')


def run_pip(places: Places, arguments: Sequence[str | Path], quiet: bool = False) -> Ended:
    """Run the pip of the environment; only its log says why an index does not answer."""
    with tempfile.NamedTemporaryFile('r', encoding='utf-8', errors='replace') as log:
        command = [places.python, '-m', 'pip', '--disable-pip-version-check', '--log', log.name]
        ended = run([*command, *arguments], places.environment, quiet)
        return dataclasses.replace(ended, log=log.read())


@contextlib.contextmanager
def _builder_of(lock: Path) -> Iterator[str]:
    """Write the entry of the builder into a file of its own, while the context lasts."""
    with tempfile.NamedTemporaryFile('w', suffix='.txt') as file:
        file.write(entry(lock, BUILDER))
        file.flush()
        yield file.name


def _require_consistent(ended: Ended) -> None:
    if ended.status:
        raise SetupError(
            'the lock is not consistent; run `make lock`: ' + ' / '.join(ended.output.splitlines())
        )


def find_uv(places: Places, lock: Path) -> Path | None:
    """Return the pinned uv, which pip installs into the cache once; None: not available.

    Raises:
        SetupError: there is no network, so pip would fail as well.
    """
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()[:16]
    folder = places.cache / f'uv-{digest}'
    if _works(folder, places):
        return folder / 'bin/uv'
    with tempfile.TemporaryDirectory(dir=_made(places.cache), prefix='uv-') as beside:
        target = Path(beside, 'uv')
        ended = run_pip(places, [*_PIP_INSTALL, '--target', target, '-r', lock], quiet=True)
        if ended.status and unreachable(ended):
            raise complain(ended, places.venv, places.cache)
        if not _works(target, places):
            say('uv is not to be had here, so pip installs, which takes several times as long')
            return None
        with contextlib.suppress(OSError):  # another set-up was faster
            target.rename(folder)
    return folder / 'bin/uv'


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _works(folder: Path, places: Places) -> bool:
    try:
        return run([folder / 'bin/uv', '--version'], places.environment, quiet=True).status == 0
    except OSError:
        return False


def entry(lock: Path, name: str) -> str:
    """Return the lines of one package in a lock."""
    match = re.search(rf'^{re.escape(name)}==.*(?:\n    .*)+\n', lock.read_text(), re.MULTILINE)
    if match is None:
        raise SetupError(f'{lock} does not list {name}: run `make lock`')
    return match[0]
