# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Small recordings, and outputs as those of `clip-dinoiser bag`."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from golden_data import golden

pytest.importorskip('rosbags', reason='recordings need rosbags')
sys.path.append(str(Path(__file__).parents[1] / 'bag'))

import quick_model
from bags import SECOND, START_NS, image_message, raw, text_message, write, write_mcap
from rosbags.rosbag2 import Reader

from clip_dinoiser_ros import arguments, cli
from clip_dinoiser_ros.bag.types import typestore

TOPIC = '/camera/image_raw'
_TIMES = ('decode_ms', 'segment_ms', 'publish_ms', 'total_ms')


@pytest.fixture(autouse=True)
def _one_thread(_two_threads):
    torch.set_num_threads(1)  # as an actor of one CPU: other sums have other bits


@pytest.fixture(scope='session')
def picture():
    return np.ascontiguousarray(golden('image_160x208_background')['image'])


def frames(picture, count, seed=0, topic=TOPIC, damaged=()):
    """Messages of a camera, with some cut off."""
    made = []
    for i in range(count):
        image = np.ascontiguousarray(np.roll(picture, 11 * i + 5 * seed, axis=1))
        kind, data = image_message(image, START_NS + i * SECOND)
        made.append((topic, START_NS + i * SECOND, (kind, data[:99] if i in damaged else data)))
    return made


@pytest.fixture
def quickly(monkeypatch):
    """Run a verb with the stand-in for the model."""
    monkeypatch.setattr(arguments, 'load_segmenter', lambda args: quick_model.QuickSegmenter())

    def run(verb, *words):
        return cli.main([verb, *map(str, words), *quick_model.ARGUMENTS])

    return run


def comparable(path):
    """All messages in order, byte for byte, except for the times that FrameInfo tells."""
    messages = []
    for topic, time_ns, data in raw(path):
        if topic.endswith('/frame_info'):
            info = typestore().deserialize_cdr(data, 'clip_dinoiser_ros/msg/FrameInfo')
            data = {k: v for k, v in vars(info).items() if k not in _TIMES}
        messages.append((topic, time_ns, data))
    return messages


def described(path):
    with Reader(path) as reader:
        return [(c.topic, c.msgtype, c.digest, c.msgcount, c.ext) for c in reader.connections]


__all__ = ['SECOND', 'START_NS', 'TOPIC', 'text_message', 'write', 'write_mcap']
