# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""`make gpu`: everything that only a GPU can tell, and a table of it in docs/performance.md.

Needs torch, numpy, OpenCV, OpenCLIP and Triton; no ROS, no download and no installation of this
package. The tests run where pytest and hypothesis are; the node's tests run by `make test`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]

try:
    import checks
    import page
    import torch
except ImportError as error:
    sys.exit(f'make gpu: {error}; it needs torch, numpy, OpenCV (cv2) and OpenCLIP (open_clip)')

TESTED = 'needs_gpu', 'DEVICES'  # files with these have tests for a GPU
TEST_PACKAGES = 'pytest', 'pytest_timeout', 'hypothesis'
Rows = list[tuple[str, str]]


def main() -> int:
    """Run everything; return 1 where there is no GPU or something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--compare', metavar='PATH', help="checkout of the authors' code")
    parser.add_argument('--page', type=Path, default=ROOT / 'docs' / 'performance.md')
    parser.add_argument('--output', type=Path, default=ROOT / 'benchmark_out' / 'gpu')
    args = parser.parse_args()
    os.environ['CLIP_DINOISER_CACHE'] = 'off'  # what made-up words mean is not worth a file
    if not torch.cuda.is_available():
        from clip_dinoiser_ros.core.nvidia import unused_gpu

        reason = unused_gpu() or 'there is no NVIDIA GPU'
        print(f'make gpu: torch {torch.__version__} has no CUDA device: {reason}')  # noqa: T201
        return 1
    args.output.mkdir(parents=True, exist_ok=True)
    rows, failed = run_all(steps(args))
    device = torch.cuda.get_device_name(0)
    notes = f'torch {torch.__version__}, Triton {_version("triton")}, ViT-B/16, random weights'
    changed = page.with_table(args.page.read_text(), device, date.today().isoformat(), notes, rows)
    args.page.write_text(changed)
    print(f'make gpu: {args.page} has the table of {device}; {failed} failed')  # noqa: T201
    return 1 if failed else 0


def run_all(found: Iterator[tuple[str, Callable[[], Rows]]]) -> tuple[Rows, int]:
    """Run the steps; one that fails is a row, and the others run all the same."""
    rows: Rows = []
    failed = 0
    for name, step in found:
        print(f'make gpu: {name}', file=sys.stderr, flush=True)  # noqa: T201
        try:
            rows += step()
        except Exception as error:  # whatever a device raises
            failed += 1
            rows.append((name, f'**failed**: {type(error).__name__}: {str(error)[:300]}'))
    return rows, failed


def steps(args: argparse.Namespace) -> Iterator[tuple[str, Callable[[], Rows]]]:
    """Yield what is looked at, in order."""
    from clip_dinoiser_ros.benchmark.random_weights import write_random_weights
    from clip_dinoiser_ros.core import Segmenter
    from clip_dinoiser_ros.core.segmenter import find_device

    device = find_device('cuda')
    yield 'GPU tests', tests
    with tempfile.TemporaryDirectory() as folder:
        weights = write_random_weights('ViT-B-16', Path(folder))

        def make(name: str) -> Segmenter:
            return Segmenter.load(**weights, device=name)

        segmenter = make('cuda')
        yield 'prompt changes', lambda: checks.prompt_changes(segmenter)
        yield 'camera sizes', lambda: checks.camera_sizes(segmenter)
        yield 'captures', lambda: checks.captures(segmenter)
        yield 'enlarging', lambda: checks.enlarging(device)
        yield 'sharpening', lambda: checks.sharpening(device)
        yield 'waiting', lambda: checks.waiting(device)
        if torch.cuda.device_count() > 1:
            yield 'second device', lambda: checks.second_device(make)
        else:
            yield 'second device', lambda: [('second device', 'skipped: there is one GPU')]
    yield 'benchmark', lambda: benchmark(args)
    if find_spec('rclpy') is None:
        yield 'node', lambda: [('message to message over DDS', 'skipped: no ROS here')]


def tests() -> Rows:
    """Run the files that have tests for a GPU."""
    missing = [name for name in TEST_PACKAGES if find_spec(name) is None]
    if missing:
        return [('GPU tests', f'skipped: not installed: {", ".join(missing)}')]
    files = [str(path) for path in sorted(ROOT.glob('test/core/test_*.py')) if _has_tests(path)]
    plugins = ['-p', 'pytest_timeout', '--timeout', '300']
    run = subprocess.run(
        [sys.executable, '-m', 'pytest', *plugins, '-v', *files],
        cwd=ROOT,
        env={**os.environ, 'PYTHONPATH': str(ROOT), 'PYTEST_DISABLE_PLUGIN_AUTOLOAD': '1'},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = run.stdout.strip().splitlines() or run.stderr.strip().splitlines() or ['no output']
    if run.returncode:
        raise AssertionError('; '.join(line for line in lines if 'FAILED' in line) or lines[-1])
    return [('tests of the files that have GPU tests', lines[-1].strip('= '))]


def _has_tests(path: Path) -> bool:
    text = path.read_text()
    return any(word in text for word in TESTED)


def benchmark(args: argparse.Namespace) -> Rows:
    """Run `clip-dinoiser benchmark`, beside the authors' code where that is given."""
    command = ['-c', 'import sys; from clip_dinoiser_ros.cli import main; sys.exit(main())']
    options = ['--random-weights', '--device', 'cuda', '--batches', '1', '16', '--no-start']
    if args.compare:
        options += ['--compare', args.compare]
    subprocess.run(
        [sys.executable, *command, 'benchmark', *options, '--output', str(args.output)],
        cwd=ROOT,
        check=True,
    )
    result = json.loads((args.output / 'benchmark.json').read_text())
    rows = benchmark_rows(result)
    if not args.compare:
        rows.append(("the authors' code", 'skipped: no COMPARE=PATH to a checkout'))
    return rows


def benchmark_rows(result: dict[str, Any]) -> Rows:
    """Return the figures of benchmark.json."""
    rows = [
        (f'limit in {precision}', f'{limit["gflop_per_s"] / 1e3:.0f} TFLOP/s')
        for precision, limit in result['limits'].items()
    ]
    for row in result['rows']:
        name = f'{row["size"][1]}x{row["size"][0]}, batch {row["batch"]}, {row["precision"]}'
        frame, p95 = row['frame_ms']
        model = row['stages_ms']['backbone'] + row['stages_ms']['heads and pooling']
        rows.append(
            (
                f'{name}: message to message, 95 %; model alone; share of the limit',
                f'{frame:.2f}, {p95:.2f} ms; {model:.2f} ms in stages; {row["share"]:.0%}',
            )
        )
        if row['ratio'] is not None:
            rows.append(
                (f"{name}: times the authors' code; same labels", f'{row["ratio"]:.2f}; '
                 f'{row["same_labels"]:.2%}')
            )  # fmt: skip
    rows += [(f'prompt change: {name}', f'{ms:.2f}') for name, ms in result['prompts'].items()]
    return rows


def _version(name: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return 'not installed'


if __name__ == '__main__':
    sys.exit(main())
