# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""`scripts/install` from an index that offers newer releases of everything, by uv and by pip."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

by_uv = pytest.mark.parametrize('machine', ['uv'], indirect=True)
PACKAGES = ('tool', 'meter', 'grain', 'paper')


def test_locked_versions_are_installed_not_newer_ones(machine, server):
    ended = machine.install()
    assert ended.returncode == 0, ended.stderr
    assert [machine.version(name) for name in PACKAGES] == ['1.0'] * 4
    fetched = [path for path in server.asked if path.startswith('/files/')]
    assert fetched
    assert not [path for path in fetched if '-2.0' in path]


@pytest.mark.long
@by_uv
def test_the_second_environment_comes_from_the_cache(machine, server, tmp_path):
    assert machine.install().returncode == 0
    machine.venv = tmp_path / 'second'  # made from nothing
    del server.asked[:]
    assert machine.install().returncode == 0
    assert [machine.version(name) for name in PACKAGES] == ['1.0'] * 4
    assert not [path for path in server.asked if path.startswith('/files/')]


@pytest.mark.long
def test_a_changed_lock_changes_the_environment(machine, index):
    assert machine.install().returncode == 0
    machine.complete()
    setuptools = re.match(r'setuptools==\S+', machine.lock.read_text())[0]
    machine.lock.write_text(index.lock(setuptools, 'tool==2.0', 'meter==1.0', 'grain==2.0'))
    ended = machine.install()
    assert ended.returncode == 0, ended.stderr
    assert [machine.version(name) for name in PACKAGES] == ['2.0', '1.0', '2.0', None]


TWICE = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from installers import Uv
from places import Places
installer = Uv(Places.of(Path(sys.argv[2])), Path(sys.argv[3]))
for _ in range(2):
    installer.install(Path(sys.argv[4]))
"""


@by_uv
def test_a_second_try_removes_nothing(machine, users_uv):
    """As after one that fails at its end: the folders *.egg-info must not go, nor their modules."""
    arguments = [ROOT / 'scripts/install', machine.venv, users_uv / 'bin/uv', machine.lock]
    command = [sys.executable, '-c', TWICE, *arguments]
    ended = subprocess.run(
        command, env=machine.environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert [machine.version(name) for name in PACKAGES] == ['1.0'] * 4


@pytest.mark.long
@by_uv
def test_an_inconsistent_lock_is_refused(machine, index):
    setuptools = re.match(r'setuptools==\S+', machine.lock.read_text())[0]
    machine.lock.write_text(index.lock(setuptools, 'tool==1.0'))
    ended = machine.install()
    assert ended.returncode == 1
    assert 'make lock' in ended.stderr
    assert 'meter' in ended.stderr
