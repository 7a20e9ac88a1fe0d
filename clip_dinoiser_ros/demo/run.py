# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""`make demo`: a recorded drive, a real node, and prompts that change half way."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from clip_dinoiser_ros.bag.partial import PartialBag
from clip_dinoiser_ros.bag.recording import Message, make_topic
from clip_dinoiser_ros.bag.video import VideoFile
from clip_dinoiser_ros.core.segmenter import find_device, find_precision
from clip_dinoiser_ros.demo.live import CAMERA, DemoError, Received, segment_live
from clip_dinoiser_ros.demo.overview import draw_overview
from clip_dinoiser_ros.demo.record import write_drive
from clip_dinoiser_ros.demo.results import ComparedFrame, Result, collect, compare, total_miou
from clip_dinoiser_ros.frames.outputs import NODE, OUTPUTS
from clip_dinoiser_ros.frames.overlay import draw_overlay
from clip_dinoiser_ros.world.drives import PROMPTS_AFTER, demo_drive


def run_demo(output: Path, seconds: float = 20.0, rate_hz: float = 10.0) -> dict[str, Any]:
    """Record a drive, play it to a real node, change the prompts half way, draw the results.

    Args:
        output: Folder for drive.mcap, segmented.mcap, overview.png, drive.mp4, report.json and
            node.log; those of an earlier run are replaced.
        seconds: Length of the drive.
        rate_hz: Frames per second of the camera.

    Returns:
        The report, as in report.json.

    Raises:
        DemoError: The result is not as it should be.
    """
    from ament_index_python.packages import get_package_share_directory

    output.mkdir(parents=True, exist_ok=True)
    drive = output / 'drive.mcap'
    say(f'recording a drive of {seconds:.0f} s')
    frames_in = write_drive(drive, demo_drive(seconds, rate_hz), force=True)
    params_file = Path(get_package_share_directory('clip_dinoiser_ros')) / 'config' / 'demo.yaml'
    say('playing it to the node in real time; the prompts change half way')
    received = segment_live(drive, params_file, PROMPTS_AFTER, output / 'node.log')
    say('comparing with the true labels, drawing')
    write_received(output / 'segmented.mcap', received)
    results = collect(received)
    frames = list(compare(drive, results))
    halves = split(frames)
    report = make_report(frames_in, results, halves)
    draw(output, halves, report)
    (output / 'report.json').write_text(json.dumps(report, indent=2) + '\n')
    return report


def say(text: str) -> None:
    """Print a line about the progress."""
    print(f'demo: {text}', flush=True)  # noqa: T201


def split(frames: Sequence[ComparedFrame]) -> tuple[list[ComparedFrame], list[ComparedFrame]]:
    """Split the frames by their vocabulary.

    Raises:
        DemoError: There are not exactly two, or the second is not the requested one.
    """
    versions = sorted({frame.result.vocabulary.version for frame in frames})
    if len(versions) != 2:
        raise DemoError(f'frames were segmented with {len(versions)} vocabularies, wanted 2')
    before, after = (
        [frame for frame in frames if frame.result.vocabulary.version == version]
        for version in versions
    )
    if list(after[0].result.vocabulary.names) != list(PROMPTS_AFTER):
        raise DemoError(f'after the change the names are {after[0].result.vocabulary.names}')
    return before, after


def make_report(
    frames_in: int,
    results: Sequence[Result],
    halves: tuple[list[ComparedFrame], list[ComparedFrame]],
) -> dict[str, Any]:
    """Return counts, agreement with the true labels, and times in milliseconds."""
    last = results[-1].info
    latency = [result.info.total_ms for result in results]
    span_s = (results[-1].received_ns - results[0].received_ns) * 1e-9
    before, after = halves
    device = find_device('auto')
    return {
        'frames_in': frames_in,
        'frames_segmented': len(results),
        'frames_replaced': int(last.frames_replaced),
        'frames_rejected': int(last.frames_rejected),
        'miou': round(total_miou(before), 4),
        'miou_after_prompt_change': round(total_miou(after), 4),
        'latency_ms': {f'p{q}': round(float(np.percentile(latency, q)), 1) for q in (50, 95)},
        'fps': round((len(results) - 1) / span_s, 2) if span_s > 0 else 0.0,
        'prompts_before': list(before[0].result.vocabulary.prompts),
        'prompts_after': list(after[0].result.vocabulary.prompts),
        'ros_distro': ros_distro(),
        'device': str(device),
        'precision': find_precision('auto', device),
    }


def ros_distro() -> str:
    """Return the ROS distribution, from the environment or the version of rclpy."""
    from importlib.metadata import version

    names = {'7': 'jazzy', '9': 'kilted'}
    return os.environ.get('ROS_DISTRO') or names.get(version('rclpy').split('.')[0], 'unknown')


def write_received(path: Path, received: Sequence[Received]) -> None:
    """Write the messages of the node as a bag, in the order of their arrival."""
    topics = {
        name: make_topic(f'/{NODE}/{CAMERA}/{name}', kind.type_name, kind.latched)
        for name, kind in OUTPUTS.items()
    }
    with PartialBag(path, 'mcap', {}, resume=False, force=True) as bag:
        for message in received:
            bag.write(Message(topics[message.output], message.time_ns, message.data))
        bag.close()
        bag.finish()


def draw(
    output: Path, halves: tuple[list[ComparedFrame], list[ComparedFrame]], report: dict[str, Any]
) -> None:
    """Write overview.png and drive.mp4."""
    before, after = halves
    rows = [
        (f'First prompts: mIoU {report["miou"]:.2f} over {len(before)} frames', _typical(before)),
        (
            'New prompts while it runs: '
            f'mIoU {report["miou_after_prompt_change"]:.2f} over {len(after)} frames',
            _typical(after),
        ),
    ]
    overview = draw_overview(rows)
    if not cv2.imwrite(str(output / 'overview.png'), overview[..., ::-1]):
        raise OSError(f'cannot write {output / "overview.png"}')
    video = None
    for frame in (*before, *after):
        vocabulary = frame.result.vocabulary
        labelled = frame.result.labels != vocabulary.unlabelled_id
        names, ids = list(vocabulary.names), vocabulary.ids.tolist()
        background = names.index(vocabulary.background) if vocabulary.background else None
        confidence = frame.result.confidence.astype(np.float32) / 255
        overlay = draw_overlay(
            frame.image, frame.labels, names, ids, labelled, background, confidence
        )
        if video is None:
            video = VideoFile(output / 'drive.mp4', overlay, frame.result.stamp_ns)
        video.add(overlay, frame.result.stamp_ns)
    if video is not None:
        video.close()


def _typical(frames: Sequence[ComparedFrame]) -> ComparedFrame:
    """Return the frame whose agreement with the true labels is the median."""
    return sorted(frames, key=lambda frame: frame.confusion().miou())[len(frames) // 2]
