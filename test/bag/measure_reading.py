# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Measure how fast recordings are read, and whether memory grows with their size.

    python test/bag/measure_reading.py --gigabytes 5 --compare OLDER_CHECKOUT

It writes bags of images (1280x720, rgb8) and of small messages, in mcap and sqlite3, and reads
every message, in processes of their own and in turn with another checkout. Processor time is that
of the process without its imports, memory the peak above what the imports take.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from bags import PLUGINS, START_NS, image_message
from rosbags.rosbag2 import Writer

from clip_dinoiser_ros.bag.types import typestore

ROOT = Path(__file__).resolve().parents[2]
SMALL = 'std_msgs/msg/String', b'\0\1\0\0' + (200).to_bytes(4, 'little') + b'a' * 199 + b'\0'
SMALL_PER_IMAGE = 10
READ = """
import sys, time
from pathlib import Path
from clip_dinoiser_ros.bag.recording import Recording
def mib(field):
    return int(Path('/proc/self/status').read_text().partition(field)[2].split()[0]) / 1024
Path('/proc/self/clear_refs').write_text('5')  # the peak is that of the reading
imported = mib('VmRSS:')
before = time.process_time(), time.perf_counter()
messages = size = 0
with Recording(Path(sys.argv[1])) as recording:
    for message in recording.messages():
        messages += 1
        size += len(message.data)
    assert not recording.damage, recording.damage
spent = time.process_time() - before[0], time.perf_counter() - before[1]
print(messages, size, *spent, mib('VmHWM:') - imported)
"""


def main() -> None:
    """Write, read and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--gigabytes', type=float, default=5, help='of the larger bag (5)')
    parser.add_argument('--repeats', type=int, default=3, help='of each reading (3)')
    parser.add_argument('--compare', type=Path, help='another checkout, read with in turn')
    parser.add_argument('--storage', nargs='+', default=[*PLUGINS], choices=PLUGINS)
    args = parser.parse_args()
    checkouts = {'this': ROOT} | ({'other': args.compare} if args.compare else {})
    print('storage, GB, reader: messages, CPU s (median), s (median), GB/CPU s, MiB')  # noqa: T201
    for storage in args.storage:
        for gigabytes in (args.gigabytes / 10, args.gigabytes):
            folder = Path(tempfile.mkdtemp(prefix='measure_reading_'))
            try:
                _write(folder / 'bag', storage, int(gigabytes * 1e9))
                _compare(folder / 'bag', f'{storage}, {gigabytes:g}', checkouts, args.repeats)
            finally:
                shutil.rmtree(folder)


def _write(path: Path, storage: str, size: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (720, 1280, 3), np.uint8)
    camera = image_message(image, START_NS)
    with Writer(path, version=9, storage_plugin=PLUGINS[storage]) as writer:
        topics = [
            (writer.add_connection(topic, type_name, typestore=typestore()), data)
            for topic, (type_name, data) in (('/camera/image_raw', camera), ('/talk', SMALL))
        ]
        for index in range(size // len(camera[1])):
            for place in range(1 + SMALL_PER_IMAGE):
                connection, data = topics[min(place, 1)]
                writer.write(connection, START_NS + index * 33_000_000 + place * 3_000_000, data)


def _compare(path: Path, what: str, checkouts: dict[str, Path], repeats: int) -> None:
    found: dict[str, list[list[float]]] = {name: [] for name in checkouts}
    for _ in range(repeats):
        for name, checkout in checkouts.items():
            ended = subprocess.run(
                [sys.executable, '-P', '-c', READ, str(path)],
                env={**os.environ, 'PYTHONPATH': str(checkout)},
                capture_output=True,
                text=True,
                check=True,
            )
            found[name].append([float(number) for number in ended.stdout.split()])
    for name, runs in found.items():
        messages, size, cpu, elapsed, _ = map(statistics.median, zip(*runs, strict=True))
        peak = max(run[-1] for run in runs)
        line = f'{messages:.0f}, {cpu:.2f}, {elapsed:.2f}, {size / 1e9 / cpu:.2f}, {peak:.0f}'
        print(f'{what}, {name}: {line}', flush=True)  # noqa: T201


if __name__ == '__main__':
    main()
