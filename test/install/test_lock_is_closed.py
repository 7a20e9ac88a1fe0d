# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""A lock holds all that its packages require, on every Python; found out without an index.

What the packages require is recorded by `make lock` from the metadata of their files. The record is
compared with the metadata of what is installed here, so it is checked for this Python and this
distribution; for other Pythons it is believed.
"""

import json
import re
import sys
from importlib.metadata import distributions
from pathlib import Path

import pytest
from closure import Gaps, gaps, pins
from packaging.utils import canonicalize_name

REQUIREMENTS = Path(__file__).parents[2] / 'requirements'
LOCKS = {
    'jazzy': ('jazzy.txt', 'core.txt', 'web.txt', 'dev.txt'),
    'kilted': ('kilted.txt', 'core.txt', 'web.txt', 'dev.txt'),
    'uv': ('uv.txt',),
    'tools': ('tools.txt',),
}
PYTHONS = ('3.11', '3.12', '3.13', '3.14')


def recorded():
    return json.loads((REQUIREMENTS / 'requires.json').read_text())


def lines(lock):
    for name in LOCKS[lock]:
        for line in (REQUIREMENTS / name).read_text().splitlines():
            if line and not line.startswith('#'):
                yield line


def text(lock):
    return (REQUIREMENTS / f'{lock}.lock.txt').read_text()


@pytest.mark.parametrize('python', PYTHONS)
@pytest.mark.parametrize('lock', LOCKS)
def test_all_that_is_required_is_locked_and_nothing_else(lock, python):
    assert gaps(lines(lock), text(lock), recorded(), python) == Gaps()


@pytest.mark.parametrize('python', ['3.11', '3.12', '3.13', '3.14'])
def test_ray_is_locked(python):
    assert gaps(['ray==2.60.0'], text('fleet'), recorded(), python) == Gaps()


@pytest.mark.parametrize('python', ['3.11', '3.12', '3.13'])  # those that Atheris has wheels for
def test_the_fuzzer_is_locked(python):
    listed = ['atheris==3.0.0']
    assert gaps(listed, text('fuzz'), recorded(), python) == Gaps()


def without(lock, name):
    shorter = re.sub(rf'(?m)^{name}==.*\n(    --hash.*\n)+', '', lock)
    assert shorter != lock
    return shorter


@pytest.mark.parametrize('name', ['coverage', 'networkx', 'ros-rmw-fastrtps-cpp', 'triton'])
def test_a_missing_package_is_found(name):
    """`coverage` is required with an extra, `networkx` by version, the next by an extra."""
    found = gaps(lines('jazzy'), without(text('jazzy'), name), recorded(), '3.12')
    assert [line for line in found.missing if line.startswith(name)]


def test_a_version_that_does_not_fit_is_found():
    older = re.sub(r'(?m)^coverage==\S+', 'coverage==7.0.0', text('jazzy'))
    found = gaps(lines('jazzy'), older, recorded(), '3.12')
    assert found.missing == ['coverage[toml]>=7.10.6 of pytest-cov==7.1.0']


def test_a_package_that_nothing_requires_is_found():
    longer = text('jazzy') + 'left-pad==1.0 \\\n    --hash=sha256:' + 64 * '0' + '\n'
    assert gaps(lines('jazzy'), longer, recorded(), '3.12').superfluous == {'left-pad'}


def test_an_extra_that_does_not_exist_is_found():
    listed = [line.replace('[fastrtps]', '[cyclone]') for line in lines('jazzy')]
    assert (
        'extra cyclone of ros-rclpy==7.1.6, wanted by the lists'
        in gaps(listed, text('jazzy'), recorded(), '3.12').missing
    )


def test_the_record_says_what_the_installed_packages_say():
    python = f'{sys.version_info.major}.{sys.version_info.minor}'
    locked = {*pins(text('jazzy'), python).items(), *pins(text('kilted'), python).items()}
    compared = 0
    for installed in distributions():
        name = canonicalize_name(installed.metadata['Name'])
        if (name, installed.version) not in locked:
            continue
        entries = recorded()[f'{name}=={installed.version}']
        (entry,) = (entry for entry in entries if python in entry['pythons'])
        metadata = installed.metadata
        assert entry['requires'] == sorted(metadata.get_all('Requires-Dist', [])), name
        assert entry['extras'] == sorted(metadata.get_all('Provides-Extra', [])), name
        compared += 1
    if not compared:
        pytest.skip('nothing here was installed from a lock')
