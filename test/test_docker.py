# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""docker/Dockerfile installs as the README says for a robot. No image is built here."""

import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
INSTALLS = ('rosdep install', 'python3 -m venv', 'pip install', 'colcon build')
FENCE = re.compile(r'^```bash\n(.*?)^```', re.MULTILINE | re.DOTALL)


def commands(shell: str) -> list[list[str]]:
    """Split lines of a shell into the words of each command; the environment has one name."""
    lines = shell.replace('\\\n', ' ').splitlines()
    split = [' '.join(shlex.split(line, comments=True)) for line in lines]
    found = [part.split() for line in split for part in line.split(' && ')]
    return [[re.sub(r'^~/\w+$', '~/ENV', word) for word in words] for words in found if words]


def install_lines(shell: str) -> list[list[str]]:
    return [words for words in commands(shell) if ' '.join(words).startswith(INSTALLS)]


@pytest.fixture(scope='module')
def stages():
    """Stage of the Dockerfile -> its instructions, each on one line."""
    text = (ROOT / 'docker/Dockerfile').read_text().replace('\\\n', ' ')
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line.startswith('FROM'):
            name = line.split(' AS ')[1] if ' AS ' in line else 'final'
            found[name] = []
        elif found and line and not line.startswith('#'):
            found[name].append(line)
    return found


def shell_of(stage: list[str]) -> str:
    return '\n'.join(line.removeprefix('RUN ') for line in stage if line.startswith('RUN '))


def test_dockerfile_runs_the_install_lines_of_the_readme(stages):
    blocks = FENCE.findall((ROOT / 'README.md').read_text())
    (robot,) = (block for block in blocks if 'rosdep install' in block)
    wanted = install_lines(robot)
    assert len(wanted) == len(INSTALLS)
    assert install_lines(shell_of(stages['robot'])) == wanted


def test_the_environment_is_active_where_it_is_needed(stages):
    for line in shell_of(stages['robot']).splitlines():
        if 'pip install' in line or 'colcon build' in line:
            assert '. ~/' in line.partition('pip install')[0].partition('colcon build')[0]
    (entry,) = (line for line in stages['robot'] if line.startswith('ENTRYPOINT'))
    (made,) = (words[-1] for words in commands(shell_of(stages['robot'])) if '-m' in words)
    assert made == '~/ENV'
    environments = set(re.findall(r'~/(\w+)', '\n'.join(stages['robot'] + stages['check'])))
    assert len(environments) == 1
    assert f'. ~/{environments.pop()}/bin/activate' in entry
    assert '. install/setup.bash' in entry


def test_the_index_of_torch_can_be_chosen(stages):
    assert 'ARG TORCH_INDEX=""' in stages['robot']
    (pip,) = (line for line in stages['robot'] if 'pip install' in line)
    assert pip.index('PIP_EXTRA_INDEX_URL=$TORCH_INDEX') < pip.index('pip install')


def test_the_demo_is_the_check(stages):
    assert 'clip-dinoiser demo run' in shell_of(stages['check'])
    assert '--target check' in (ROOT / 'docs/docker.md').read_text()
    assert list(stages)[-1] == 'final'
    assert not stages['final']  # what the demo needs besides is not in the image of a robot
