# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""`make lock`: resolve requirements/*.txt to all packages, with versions and hashes.

uv resolves for all Python versions at once and lists the files of its index. Kept are wheels for
CPython 3.11 to 3.14 on Linux x86-64, and the sources of packages without a wheel. A hash belongs to
the content of a file, from any index. A locked version stays as long as the lists allow it;
`--upgrade` takes the newest.

The requirements of each locked package, from its metadata, go to requirements/requires.json, so
that a test can check without a network whether a lock is complete.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import tomllib
from package_metadata import requires
from packaging.markers import Marker

FOLDER = Path(__file__).parents[1] / 'requirements'
LOCKS = {
    'jazzy': ('jazzy.txt', 'core.txt', 'web.txt', 'dev.txt'),
    'kilted': ('kilted.txt', 'core.txt', 'web.txt', 'dev.txt'),
    'uv': ('uv.txt',),
    'tools': ('tools.txt',),
    'fuzz': ('fuzz.txt',),
    'rerun': ('rerun.txt',),
    'fleet': ('fleet.txt',),
}
PYTHONS = ('3.11', '3.12', '3.13', '3.14')
_TAGS = '|'.join(f'cp{python.replace(".", "")}' for python in PYTHONS)
# NAME-VERSION-PYTHON-ABI-PLATFORM.whl
_USABLE = re.compile(
    rf'-(py3|py2\.py3|{_TAGS}|cp3\d+-abi3)(-\w+)?-(any|(many)?linux[\w.]*_x86_64[\w.]*)\.whl$'
)


def main(arguments: list[str]) -> int:
    """Write requirements/NAME.lock.txt for each name, and requires.json; returns the exit code."""
    if arguments not in ([], ['--upgrade']):
        print(f'lock: {arguments} is not known; --upgrade is', file=sys.stderr)  # noqa: T201
        return 2
    required: dict[str, Any] = {}
    for name, lists in LOCKS.items():
        packages = _resolve(name, lists, keep=not arguments)
        lines = [
            f'# Made by `make lock` of {", ".join(lists)}: do not edit.',
            *(_lines(package) for package in packages),
        ]
        (FOLDER / f'{name}.lock.txt').write_text('\n'.join(lines) + '\n')
        with ThreadPoolExecutor(16) as pool:
            told = pool.map(lambda package: requires(_files(package), PYTHONS), packages)
            required |= {_pin(package): what for package, what in zip(packages, told, strict=True)}
        print(f'{name}.lock.txt: {len(packages)} packages')  # noqa: T201
    entries = [f'{json.dumps(pin)}: {json.dumps(what)}' for pin, what in sorted(required.items())]
    (FOLDER / 'requires.json').write_text('{\n' + ',\n'.join(entries) + '\n}\n')
    return 0


def _resolve(name: str, lists: tuple[str, ...], *, keep: bool) -> list[dict[str, Any]]:
    files = [FOLDER / file for file in lists]
    with tempfile.TemporaryDirectory() as folder:
        pins, lock = Path(folder, 'pins.txt'), Path(folder, 'pylock.toml')
        if keep and (FOLDER / f'{name}.lock.txt').exists():
            shutil.copy(FOLDER / f'{name}.lock.txt', pins)  # uv keeps its versions
        _compile('--output-file', pins, *files)
        _compile('--format', 'pylock.toml', '--output-file', lock, '--constraints', pins, *files)
        packages: list[dict[str, Any]] = tomllib.loads(lock.read_text())['packages']
    return [package for package in packages if _pythons(package)]


def _compile(*arguments: str | Path) -> None:
    command = [sys.executable, '-m', 'uv', 'pip', 'compile', '--quiet', '--universal']
    command += ['--python-version', PYTHONS[0]]
    subprocess.run([*command, *arguments], check=True, stdout=subprocess.DEVNULL)


def _pythons(package: dict[str, Any]) -> list[str]:
    """Return the Python versions that need a package on Linux x86-64."""
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


def _lines(package: dict[str, Any]) -> str:
    requirement = _pin(package)
    pythons = _pythons(package)
    if len(pythons) < len(PYTHONS):
        requirement += ' ; ' + ' or '.join(f"python_version == '{python}'" for python in pythons)
    hashes = {f'    --hash=sha256:{file["hashes"]["sha256"]}' for file in _files(package)}
    return ' \\\n'.join([requirement, *sorted(hashes)])


def _pin(package: dict[str, Any]) -> str:
    return f'{package["name"]}=={package["version"]}'


def _files(package: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the installable files of a package: its matching wheels, else its sources."""
    wheels = [
        wheel
        for wheel in package.get('wheels', [])
        if _USABLE.search(wheel['url'].rsplit('/', 1)[1])
    ]
    return wheels or [package['sdist']]


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
