# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""`make fuzz`: Atheris drives the targets, one after the other, each in a process of its own.

Atheris sees which branches of our code, mcap and rosbags an input reaches and keeps those that
reach new ones. What it finds lies with a log in build/fuzz/TARGET: make a test of it, in
test_found.py.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / 'build/fuzz'
MAX_BYTES = 20_000  # of an input
MAX_MEMORY_MB = 3000  # torch alone takes a tenth of it
MAX_SECONDS = 25  # for one input: more is a hang


def main() -> int:
    """Run what the command line says; return 1 when anything was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--seconds', type=int, default=60, help='for all targets together')
    parser.add_argument('--target', help='only this one, in this process')
    parser.add_argument('inputs', nargs='*', help='files that were found, to run the target on')
    args = parser.parse_args()
    if args.target:
        _drive(args.target, args.seconds, args.inputs)
        return 0  # not reached: libFuzzer ends the process
    names = list(_targets())
    seconds = max(1, args.seconds // len(names))
    found = [name for name in names if not _in_own_process(name, seconds)]
    for name in found:
        print(f'{name} is broken: see {FOLDER / name}')  # noqa: T201
    return 1 if found else 0


def _targets() -> dict[str, tuple[Callable[[bytes], None], Callable[[str], list[bytes]]]]:
    """Return every target, and what makes its seeds."""
    import requests_as_bytes
    import targets

    return {
        **{name: (target, targets.seeds) for name, target in targets.TARGETS.items()},
        **{
            name: (ask, requests_as_bytes.seeds) for name, ask in requests_as_bytes.REQUESTS.items()
        },
    }


def _in_own_process(name: str, seconds: int) -> bool:
    """Drive one target; its own words go into a file: decoders complain about every damage."""
    folder = FOLDER / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    command = [sys.executable, __file__, '--target', name, '--seconds', str(seconds)]
    with (folder / 'log.txt').open('w') as log:
        ended = subprocess.run(
            command,
            stdout=log,
            stderr=log,
            env={**os.environ, 'OMP_NUM_THREADS': '1'},
            check=False,
        )
    lines = (folder / 'log.txt').read_text(errors='replace').splitlines()
    runs = [line.split()[-1] for line in lines if 'number_of_executed_units' in line]
    print(f'{name}: {runs[-1] if runs else "no"} inputs in {seconds} s', flush=True)  # noqa: T201
    return ended.returncode == 0


def _drive(name: str, seconds: int, inputs: list[str]) -> None:
    if importlib.util.find_spec('atheris') is None:
        sys.exit('atheris is missing: make fuzz installs it, for CPython 3.11 to 3.14 on Linux')
    import atheris

    with atheris.instrument_imports(include=['clip_dinoiser_ros', 'mcap', 'rosbags']):
        target, seeds = _targets()[name]
    folder = FOLDER / name
    corpus = folder / 'corpus'
    corpus.mkdir(parents=True, exist_ok=True)
    for index, seed in enumerate(seeds(name)):
        (corpus / f'seed_{index}').write_bytes(seed)
    options = [
        f'-max_total_time={seconds}',
        f'-max_len={MAX_BYTES}',
        f'-rss_limit_mb={MAX_MEMORY_MB}',
        f'-timeout={MAX_SECONDS}',
        f'-artifact_prefix={folder}/',
        '-print_final_stats=1',
    ]
    atheris.Setup([sys.argv[0], *options, *(inputs or [str(corpus)])], target)
    atheris.Fuzz()


if __name__ == '__main__':
    sys.exit(main())
