# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""`make lock`: from requirements/*.txt, every package that comes along, with version and hashes.

uv resolves for all Pythons at once, and says what its index holds of each version. Of that is
kept what pip may install here: wheels for CPython 3.11 to 3.14 on Linux x86-64, and the sources of
what has no wheel. A hash is that of the file's content, wherever it is downloaded from.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import tomllib
from packaging.markers import Marker

FOLDER = Path(__file__).parents[1] / 'requirements'
DISTRIBUTIONS = ('jazzy', 'kilted')
PYTHONS = ('3.11', '3.12', '3.13', '3.14')
_TAGS = '|'.join(f'cp{python.replace(".", "")}' for python in PYTHONS)
# NAME-VERSION-PYTHON-ABI-PLATFORM.whl
_USABLE = re.compile(
    rf'-(py3|py2\.py3|{_TAGS}|cp3\d+-abi3)(-\w+)?-(any|(many)?linux[\w.]*_x86_64[\w.]*)\.whl$'
)


def main() -> int:
    """Write requirements/DISTRIBUTION.lock.txt for each distribution."""
    for distribution in DISTRIBUTIONS:
        target = FOLDER / f'{distribution}.lock.txt'
        packages = _resolve(
            [FOLDER / f'{distribution}.txt', FOLDER / 'core.txt', FOLDER / 'dev.txt']
        )
        lines = [
            f'# Made by `make lock` of {distribution}.txt, core.txt and dev.txt: do not edit.',
            *(line for package in packages for line in _lines(package)),
        ]
        target.write_text('\n'.join(lines) + '\n')
        print(f'{target.name}: {len(packages)} packages')  # noqa: T201
    return 0


def _resolve(files: list[Path]) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        lock = Path(folder, 'pylock.toml')
        command = [sys.executable, '-m', 'uv', 'pip', 'compile', '--quiet', '--universal']
        command += [
            '--python-version',
            PYTHONS[0],
            '--format',
            'pylock.toml',
            '--output-file',
            lock,
        ]
        subprocess.run([*command, *files], check=True, stdout=subprocess.DEVNULL)
        packages: list[dict[str, Any]] = tomllib.loads(lock.read_text())['packages']
    return [package for package in packages if _pythons(package)]


def _pythons(package: dict[str, Any]) -> list[str]:
    """Return for which of the Pythons a package is needed on Linux x86-64."""
    marker = Marker(package['marker']) if 'marker' in package else None
    linux = {'sys_platform': 'linux', 'platform_system': 'Linux', 'platform_machine': 'x86_64'}
    return [
        python
        for python in PYTHONS
        if marker is None
        or marker.evaluate(
            {
                **linux,
                'os_name': 'posix',
                'python_version': python,
                'python_full_version': f'{python}.9',
            }
        )
    ]


def _lines(package: dict[str, Any]) -> list[str]:
    wheels = [wheel for wheel in package.get('wheels', []) if _USABLE.search(_file_name(wheel))]
    files = wheels or [package['sdist']]
    requirement = f'{package["name"]}=={package["version"]}'
    pythons = _pythons(package)
    if len(pythons) < len(PYTHONS):
        requirement += ' ; ' + ' or '.join(f"python_version == '{python}'" for python in pythons)
    hashes = sorted(f'    --hash=sha256:{file["hashes"]["sha256"]}' for file in files)
    return [' \\\n'.join([requirement, *hashes])]


def _file_name(wheel: dict[str, Any]) -> str:
    name: str = wheel['url'].rsplit('/', 1)[1]
    return name


if __name__ == '__main__':
    sys.exit(main())
