# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""CI names the tests that passed only when they were repeated, and passes nothing else."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# CI as far as it repeats: `make` is a pytest on the test's own folder
SCRIPT = """
set -euo pipefail
. '{repeat}'
run_make() {{ # DISTRIBUTION TARGET PYTEST_ARGS=...
    echo "make $2"
    PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 '{python}' -m pytest -p xdist.plugin ${{3#PYTEST_ARGS=}}
}}
check_floor() {{ echo 'floor is checked'; }}
run_tests jazzy coverage
tell_flaky
"""

STEADY = """
def test_steady():
    pass
"""
FLAKY = """
from pathlib import Path

def test_late():
    seen = Path('seen')
    before = seen.exists()
    seen.touch()
    assert before
"""
BROKEN = """
def test_broken():
    raise ValueError
"""


@pytest.fixture
def ci(tmp_path):
    def run(**files):
        for name, text in files.items():
            (tmp_path / f'{name}.py').write_text(text)
        script = SCRIPT.format(repeat=ROOT / '.ci/repeat.sh', python=sys.executable)
        command = ['bash', '-c', script]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    return run


def test_a_test_that_passes_when_repeated_is_named_last(ci):
    ended = ci(test_a=STEADY, test_b=FLAKY)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    name = 'test_b.py::test_late (make coverage ROS=jazzy)'
    assert ended.stdout.splitlines()[-1] == f'flaky, passed only when repeated: {name}'
    assert '1 passed' in ended.stdout.splitlines()[-3]
    assert 'floor is checked' in ended.stdout


def test_a_test_that_fails_again_fails(ci):
    ended = ci(test_a=FLAKY, test_b=BROKEN)
    assert ended.returncode == 1
    assert 'flaky' not in ended.stdout


def test_nothing_is_repeated_when_all_pass(ci):
    ended = ci(test_a=STEADY)
    assert ended.returncode == 0
    assert ended.stdout.count('make ') == 1
    assert 'flaky' not in ended.stdout


def test_only_tests_are_repeated(ci):
    """Here no test is there to run; a set-up that fails or a floor that is not kept is the same."""
    ended = ci()
    assert ended.returncode != 0
    assert ended.stdout.count('make ') == 1
