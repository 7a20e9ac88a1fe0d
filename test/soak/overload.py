# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Cameras far faster than the model: how old is what is published, and does memory grow."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from clip_dinoiser_ros.msg import FrameInfo
from harness import NAME, RELIABLE, InstalledNode, Peer, holdings
from load import header
from sensor_msgs.msg import Image

from clip_dinoiser_ros.frames import images

SETTLES_S = 3.0  # until memory before is taken
SIZE = (160, 208)  # height, width
ONE = {'camera': 60.0}  # Hz
FOUR = {'flood': 240.0, 'left': 15.0, 'right': 15.0, 'rear': 15.0}
MAX_AGE = 2.0  # inference times, for 99 of 100 frames
MAX_GROWTH_MIB = 10.0


class Ages(Peer):
    """A peer that takes note of the age of everything that is published.

    Attributes:
        seen: By camera (age when it came here, age when published, inference), in seconds. The
            first is by the clock that stamps, the others by the node's steady clock, from the
            arrival of the frame.
        last: The newest FrameInfo by camera.
    """

    def __init__(self, cameras: Mapping[str, float]) -> None:
        super().__init__()
        self.seen: dict[str, list[tuple[float, float, float]]] = {name: [] for name in cameras}
        self.last: dict[str, FrameInfo] = {}
        for name in cameras:
            self.node.create_subscription(
                FrameInfo,
                f'{NAME}/{name}/frame_info',
                lambda info, name=name: self._see(name, info),
                RELIABLE,
            )

    def _see(self, camera: str, info: FrameInfo) -> None:
        stamp = info.header.stamp
        age_s = 1e-9 * (time.time_ns() - stamp.sec * 10**9 - stamp.nanosec)
        self.seen[camera].append((age_s, 1e-3 * info.total_ms, 1e-3 * info.segment_ms))
        self.last[camera] = info


def measure(rates_hz: Mapping[str, float], seconds: float, folder: Path) -> dict[str, Any]:
    """Let cameras send at these rates to a model of 5 Hz; return what became of the frames."""
    parameters = {
        'model': 'demo',
        'prompts': ['background', 'person', 'road'],
        'short_side': 64,
        'cameras': list(rates_hz),
    }
    program = Path(__file__).with_name('slow_node.py')
    stop = threading.Event()
    with InstalledNode(parameters, folder, program=program) as node, Ages(rates_hz) as peer:
        node.wait_for_log('active; waiting for images')
        threads = [
            threading.Thread(target=_send, args=(peer, camera, rate, stop))
            for camera, rate in rates_hz.items()
        ]
        for thread in threads:
            thread.start()
        try:
            peer.until(lambda: all(peer.seen.values()))
            time.sleep(SETTLES_S)
            for seen in peer.seen.values():
                seen.clear()
            first, before, ticks = dict(peer.last), holdings(node.process.pid), _cpu_ticks()
            time.sleep(seconds)
            last, after = dict(peer.last), holdings(node.process.pid)
            passed, stolen = _cpu_ticks() - ticks
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        code = node.end()
    return {
        'seconds': seconds,
        'exit_code': code,
        'rss_mib': [before['rss_mib'], after['rss_mib']],
        'stolen': stolen / passed,
        'cameras': {
            camera: {
                'rate_hz': rate,
                'received': last[camera].frames_received - first[camera].frames_received,
                'segmented': last[camera].frames_segmented - first[camera].frames_segmented,
                'replaced': last[camera].frames_replaced - first[camera].frames_replaced,
                **_ages(peer.seen[camera]),
            }
            for camera, rate in rates_hz.items()
        },
    }


def _cpu_ticks() -> np.ndarray:
    """Return the time of all cores so far, and what of it the host of this machine kept back."""
    ticks = [int(word) for word in Path('/proc/stat').read_text().splitlines()[0].split()[1:9]]
    return np.array([sum(ticks), ticks[7]])


def _send(peer: Peer, camera: str, rate_hz: float, stop: threading.Event) -> None:
    picture = np.random.default_rng(0).integers(0, 255, (*SIZE, 3), np.uint8)
    publisher = peer.node.create_publisher(Image, f'/{camera}/image_raw', RELIABLE)
    next_s = time.monotonic()
    while not stop.wait(max(0.0, next_s - time.monotonic())):
        publisher.publish(images.to_message(picture, 'rgb8', header(), Image))
        next_s = max(next_s + 1 / rate_hz, time.monotonic() - 1.0)


def _ages(seen: list[tuple[float, float, float]]) -> dict[str, float]:
    """Return percentiles of the age; in inference times, those of the median inference."""
    here_s, published_s, inference_s = np.array(seen).T
    unit_s = float(np.median(inference_s))
    return {
        'inference_ms': 1e3 * unit_s,
        **{
            f'{name}_p{percent}': float(np.percentile(ages_s, percent)) / unit_s
            for name, ages_s in (('age_here', here_s), ('age', published_s))
            for percent in (50, 99)
        },
    }


def faults(result: Mapping[str, Any]) -> list[str]:
    """Say what is too old, and what grew."""
    before, after = result['rss_mib']
    found = [
        f'{camera}: the oldest of 100 frames is {of_camera[key]:.2f} inference times old, '
        f'{MAX_AGE} are allowed ({result["stolen"]:.1%} of the processor was not given to us)'
        for camera, of_camera in result['cameras'].items()
        for key in ('age_p99', 'age_here_p99')
        if of_camera[key] > MAX_AGE
    ]
    if result['exit_code'] != 0:
        found.append(f'the node ended with exit code {result["exit_code"]} under overload')
    if after - before > MAX_GROWTH_MIB:
        found.append(f'memory grew from {before:.0f} to {after:.0f} MiB under overload')
    return found


def table(results: list[Mapping[str, Any]]) -> str:
    """Show results as Markdown; ages in inference times."""
    lines = [
        '| cameras | camera | Hz | inference ms | received | segmented | age p50 | age p99 '
        '| p99 at the reader | memory MiB | stolen |',
        '| --- ' * 11 + '|',
    ]
    for result in results:
        before, after = result['rss_mib']
        for camera, of in result['cameras'].items():
            lines.append(
                f'| {len(result["cameras"])} | {camera} | {of["rate_hz"]:.0f} '
                f'| {of["inference_ms"]:.0f} | {of["received"]} | {of["segmented"]} '
                f'| {of["age_p50"]:.2f} | {of["age_p99"]:.2f} | {of["age_here_p99"]:.2f} '
                f'| {before:.0f}, {after:.0f} | {result["stolen"]:.1%} |'
            )
    return '\n'.join(lines)
