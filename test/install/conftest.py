# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""A machine for `scripts/install`: its own cache, its own index, and settings of nobody else."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from local_index import Index, Server

ROOT = Path(__file__).parents[2]
# a Python that is no virtual environment: what `python3` is to a user
PYTHON = Path(sys.base_prefix, 'bin', f'python3.{sys.version_info.minor}')


class Machine:
    """Installs with `scripts/install`, as `make setup` does, into `venv` from `index`."""

    def __init__(self, folder, server, uv):
        self.venv = folder / 'venv'
        self.lock = folder / 'small.lock.txt'
        self.cache = folder / 'cache'
        self.folder = folder
        foreign = ('PIP_', 'UV_', 'PYTHON', 'VIRTUAL_ENV', '_ROS', 'LD_LIBRARY')
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith(foreign)} | {
            'XDG_CACHE_HOME': str(self.cache),
            'XDG_CONFIG_HOME': str(folder / 'config'),
            'HOME': str(folder),
            'PIP_CONFIG_FILE': os.devnull,
            'PIP_INDEX_URL': server.url,
            'PIP_RETRIES': '0',
            'UV_HTTP_RETRIES': '0',
        }
        if uv is not None:
            lock = ROOT / 'requirements/uv.lock.txt'
            own = self.cache / 'clip_dinoiser_ros'
            own.mkdir(parents=True)
            digest = hashlib.sha256(lock.read_bytes()).hexdigest()[:16]
            (own / f'uv-{digest}').symlink_to(uv)

    def install(self, *prefix, **environment):
        """Run the installer, in an environment with the given changes."""
        return subprocess.run(
            [*prefix, PYTHON, ROOT / 'scripts/install', self.venv, self.lock],
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def complete(self):
        """Mark the environment as `make setup` does at the end, so that it is not made again."""
        (self.venv / '.clip_dinoiser').write_text('what it is for\nwhat it holds\n')

    def version(self, module):
        """Return the VERSION of a module in the environment, or None if there is none."""
        code = f'import {module}; print({module}.VERSION)'
        command = [self.venv / 'bin/python', '-Ic', code]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        return ended.stdout.strip() if ended.returncode == 0 else None


@pytest.fixture(scope='session')
def index():
    """Packages of which each has a newer release than the one to be locked."""
    index = Index()
    index.add_installed('setuptools')
    for release in ('1.0', '2.0'):
        index.add('tool', release, ['meter[fine]>=1.0'])
        index.add('meter', release, ['grain>=1.0 ; extra == "fine"'], extras=['fine'])
        index.add('grain', release)
        index.add_sources('paper', release)
    return index


@pytest.fixture
def server(index):
    with Server(index) as server:
        yield server


@pytest.fixture(scope='session')
def users_uv():
    """The uv that `make setup` keeps in the user's cache; skips if pip set this machine up."""
    cache = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache', 'clip_dinoiser_ros')
    digest = hashlib.sha256((ROOT / 'requirements/uv.lock.txt').read_bytes()).hexdigest()[:16]
    if not (cache / f'uv-{digest}/bin/uv').exists():
        pytest.skip(f'no uv in {cache}: this environment was installed by something else')
    return cache / f'uv-{digest}'


@pytest.fixture(scope='session')
def empty_venv(tmp_path_factory):
    """A virtual environment to be copied: to make one takes seconds."""
    folder = tmp_path_factory.mktemp('empty') / 'venv'
    subprocess.run([PYTHON, '-m', 'venv', folder], check=True)
    return folder


@pytest.fixture(params=['uv', pytest.param('pip', marks=pytest.mark.long)])
def machine(request, tmp_path, index, server, empty_venv):
    """A machine on which uv is, or whose index has none, so that pip installs.

    It has an environment that was complete, but is of another lock.
    """
    uv = request.getfixturevalue('users_uv') if request.param == 'uv' else None
    machine = Machine(tmp_path, server, uv)
    shutil.copytree(empty_venv, machine.venv, symlinks=True)
    machine.complete()
    pins = ['tool==1.0', 'meter==1.0', 'grain==1.0', 'paper==1.0']
    machine.lock.write_text(index.lock(f'setuptools=={version("setuptools")}', *pins))
    return machine
