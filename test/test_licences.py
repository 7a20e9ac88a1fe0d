# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Every source file says whose it is and under which licence, at its top."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ('clip_dinoiser_ros', 'launch', 'msg', 'scripts', 'srv', 'test')
SUFFIXES = {'.py', '.sh', '.msg', '.srv'}
OTHERS = (
    'setup.py',
    'CMakeLists.txt',
    'Makefile',
    '.ci/run',
    'docker/Dockerfile',
    'test/vision_msgs/CMakeLists.txt',
)
# what an interpreter or a tool wants to see first
BEFORE = ('#!', '# shellcheck shell=')


def sources():
    files = [path for folder in FOLDERS for path in (ROOT / folder).rglob('*') if path.is_file()]
    named = [path for path in files if path.suffix in SUFFIXES]
    programs = [path for path in files if path.parent.name == 'scripts' and not path.suffix]
    return sorted({*named, *programs, *(ROOT / name for name in OTHERS)})


@pytest.fixture(scope='module')
def header():
    package = ElementTree.parse(ROOT / 'package.xml').getroot()
    holder, licence = package.findtext('maintainer'), package.findtext('license')
    return [f'# Copyright 2026 {holder}', f'# SPDX-License-Identifier: {licence}']


def test_every_source_file_names_holder_and_licence(header):
    found = sources()
    assert len(found) > 200
    for path in found:
        lines = [line for line in path.read_text().splitlines() if not line.startswith(BEFORE)]
        assert lines[:2] == header, path.relative_to(ROOT)
