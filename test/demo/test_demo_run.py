# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""`clip-dinoiser demo run`, in short: a real node over real DDS, then the same frames offline."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import ros_domain

pytest.importorskip('rclpy', reason='no ROS here: the node cannot run')

from clip_dinoiser_ros.bag.recording import Recording
from clip_dinoiser_ros.bag.types import typestore
from clip_dinoiser_ros.demo.live import Received
from clip_dinoiser_ros.demo.results import collect, compare, total_miou
from clip_dinoiser_ros.demo.run import split

FIELDS = {
    'frames_in',
    'frames_segmented',
    'frames_replaced',
    'miou',
    'miou_after_prompt_change',
    'latency_ms',
    'fps',
    'prompts_before',
    'prompts_after',
    'ros_distro',
    'device',
    'precision',
}


@pytest.mark.long
def test_the_demo_shows_what_offline_segmentation_gives(tmp_path):
    output = tmp_path / 'out'
    command = [sys.executable, '-m', 'clip_dinoiser_ros.cli', 'demo', 'run', '--seconds', '6']
    environment = {**os.environ, 'ROS_DOMAIN_ID': str(ros_domain.claim())}
    done = subprocess.run(
        [*command, '--rate', '5', '--output', str(output)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads((output / 'report.json').read_text())
    assert report.keys() >= FIELDS
    assert report['frames_in'] == 30
    assert 4 <= report['frames_segmented'] <= 30
    for name in ('overview.png', 'drive.mp4', 'drive.mcap', 'segmented.mcap'):
        assert (output / name).stat().st_size > 10_000, name

    # the bag holds what was published; offline, the same frames with the same words
    with Recording(output / 'segmented.mcap') as recording:
        received = [
            Received(m.topic.name.rsplit('/')[-1], m.time_ns, m.data) for m in recording.messages()
        ]
    results = collect(received)
    assert len(results) == report['frames_segmented']
    halves = split(list(compare(output / 'drive.mcap', results)))
    for frames, miou in zip(
        halves, (report['miou'], report['miou_after_prompt_change']), strict=True
    ):
        assert total_miou(frames) == pytest.approx(miou, abs=1e-4)
    for name, frames in zip(('before', 'after'), halves, strict=True):
        offline = segment_offline(output, name, report[f'prompts_{name}'])
        for frame in frames:
            np.testing.assert_array_equal(frame.labels, offline[frame.result.stamp_ns])


def segment_offline(folder, name, prompts):
    """Run `clip-dinoiser bag`; return the indices of the classes by stamp."""
    path = folder / f'{name}.mcap'
    command = [sys.executable, '-m', 'clip_dinoiser_ros.cli', 'bag', folder / 'drive.mcap', path]
    model = ['--model', 'demo', '--batch', '1']
    words = ['--topic', '/camera/image_raw', '--prompts', *prompts]
    subprocess.run([*command, *model, *words], check=True, capture_output=True)
    labels = {}
    with Recording(path) as recording:
        for message in recording.messages(['/clip_dinoiser/camera/labels']):
            image = typestore().deserialize_cdr(message.data, message.topic.type_name)
            labels[message.time_ns] = image.data.reshape(image.height, image.width)
    return labels
