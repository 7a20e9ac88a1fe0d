# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""`make soak`: a real node and its page under everything at once, for as long as one likes.

Says at the end whether what it holds grows, and whether all it published was right; the samples are
in soak.json and soak.png.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import chart
import cv2
import overload
import samples
from diagnostic_msgs.msg import DiagnosticArray
from harness import RELIABLE, InstalledNode, Peer, Program, holdings
from load import CAMERAS, PARAMETERS, Diary, Listener, ask, change, come_and_go, send_frames
from operating import MODEL, values
from viewers import PageProcess, view
from witness import Witness

SAMPLE_S = 1.0
SEED = 7
VIEWERS = 3


def soak(seconds: float, folder: Path) -> dict[str, Any]:
    """Do everything at once for so many seconds; return samples, counts and faults.

    Args:
        seconds: How long.
        folder: For the node's files.
    """
    witness, taken, found = Witness(), [], []
    with (
        InstalledNode(PARAMETERS, folder) as node,
        PageProcess(folder) as page,
        Listener(witness) as peer,
    ):
        node.wait_for_log('active; waiting for images')
        for camera in CAMERAS:
            peer.listen(camera)
        gpu = GpuMemory(peer)
        diary = Diary()
        with ThreadPoolExecutor(4 + VIEWERS) as pool:
            jobs = [
                pool.submit(send_frames, diary, SEED),
                pool.submit(change, diary, witness, node.process.pid, SEED),
                pool.submit(come_and_go, diary, SEED),
                pool.submit(ask, diary, SEED),
                *(pool.submit(view, diary, page.address, SEED + i) for i in range(VIEWERS)),
            ]
            while diary.now_s() < seconds and not any(job.done() for job in jobs):
                if node.process.poll() is not None or page.process.poll() is not None:
                    break
                held = {**holdings(node.process.pid), **gpu(), **page.holdings()}
                taken.append({'time_s': diary.now_s(), **held})
                diary.stop.wait(SAMPLE_S)
            diary.stop.set()
        found += [_reason(job) for job in jobs if job.exception() is not None]
        found += _end('page', page) + _end('node', node)
    found += witness.faults()
    found += [f'{c}: nothing was segmented' for c in CAMERAS if not witness.segmented[c]]
    return {
        'seconds': seconds,
        'counts': {**diary.counts, 'label images checked': witness.checked},
        'segmented': dict(witness.segmented),
        'moments': diary.moments,
        'samples': sorted(taken + diary.at_rest, key=lambda sample: sample['time_s']),
        'faults': found,
    }


class GpuMemory:
    """What the node says of its GPU's memory; nothing where it has none."""

    def __init__(self, peer: Peer) -> None:
        self._values: dict[str, str] = {}
        peer.node.create_subscription(DiagnosticArray, '/diagnostics', self._see, RELIABLE)

    def _see(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name.endswith(MODEL):
                self._values = values(status)

    def __call__(self) -> dict[str, float]:
        """Return the figure of a sample."""
        mib = self._values.get('gpu_memory_allocated_mib')
        return {} if mib is None else {'gpu_mib': float(mib)}


def _reason(job: Future[None]) -> str:
    error = job.exception()
    return f'{type(error).__name__}: {error}'


def _end(name: str, program: Program) -> list[str]:
    """End the node or the page; say what was wrong with it."""
    code = program.process.poll()
    found = [f'the {name} died, exit code {code}'] if code is not None else []
    if code is None and program.end() != 0:
        found = [f'the {name} ended with exit code {program.process.returncode}']
    for mark in ('Traceback', 'request ignored'):
        lines = [line for line in program.lines if mark in line]
        said = f'{mark} {len(lines)} times in the log of the {name}'
        found += [f'{said}, first: {lines[0]}'] if lines else []
    if found:
        say('\n'.join(program.lines[-50:]))
    return found


def judge(result: Mapping[str, Any]) -> list[str]:
    """Say all that should not be; a short run is not asked for what only a long one can tell."""
    found = list(result['soak']['faults'])
    if result['soak']['seconds'] >= samples.JUDGED_FROM_S:
        found += samples.faults(samples.trends(result['soak']['samples']))
        for of_overload in result['overload']:
            found += overload.faults(of_overload)
    return found


def report(result: Mapping[str, Any]) -> str:
    """Show what was done and what came of it."""
    of_soak = result['soak']
    parts = [f'{result["date"]}; {result["machine"]}; {of_soak["seconds"]:.0f} s', '']
    done = {**of_soak['counts'], **{f'segmented, {k}': v for k, v in of_soak['segmented'].items()}}
    parts += [f'{name}: {count}' for name, count in sorted(done.items())]
    parts += ['', samples.table(samples.trends(of_soak['samples']))]
    if of_soak['seconds'] < samples.JUDGED_FROM_S:
        parts.append(f'not judged: shorter than {samples.JUDGED_FROM_S:.0f} s')
    return '\n'.join([*parts, '', overload.table(result['overload'])])


def say(text: str) -> None:
    """Tell the user."""
    print(text, flush=True)  # noqa: T201


def main() -> int:
    """Run what the command line says; return 1 when anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--seconds', type=float, default=600.0, help='overload: a tenth, twice')
    parser.add_argument('--output', type=Path, default=Path('soak_out'))
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        os.environ['XDG_CACHE_HOME'] = folder  # embeddings of this run, not the user's
        result = {
            'date': datetime.datetime.now(datetime.timezone.utc).strftime('%Y-%m-%d %H:%M UTC'),
            'machine': f'{platform.machine()}, {os.cpu_count()} cores',
            'soak': soak(args.seconds, Path(folder)),
            'overload': [
                overload.measure(rates, args.seconds / 10, Path(folder))
                for rates in (overload.ONE, overload.FOUR)
            ],
        }
    of_soak = result['soak']
    found = samples.trends(of_soak['samples'])
    result['trends'] = {key: asdict(trend) for key, trend in found.items()}
    result['faults'] = judge(result)
    (args.output / 'soak.json').write_text(json.dumps(result, indent=1) + '\n')
    drawing = chart.draw(of_soak['samples'], found, of_soak['moments'])
    cv2.imwrite(str(args.output / 'soak.png'), drawing[..., ::-1])
    say(report(result))
    for fault in result['faults']:
        say(f'soak: {fault}')
    say(f'soak: {"FAILED" if result["faults"] else "passed"}; see {args.output / "soak.png"}')
    return 1 if result['faults'] else 0


if __name__ == '__main__':
    sys.exit(main())
