# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The command with a stand-in for the model, and an image."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from golden_data import golden

pytest.importorskip('rosbags', reason='recordings need rosbags')
sys.path.append(str(Path(__file__).parents[1] / 'bag'))

import quick_model

from clip_dinoiser_ros import arguments, cli


@pytest.fixture(scope='session')
def picture():
    return np.ascontiguousarray(golden('image_160x208_background')['image'])


@pytest.fixture
def quickly(monkeypatch):
    """Run a verb with the stand-in for the model."""
    monkeypatch.setattr(arguments, 'load_segmenter', lambda args: quick_model.QuickSegmenter())

    def run(verb, *words):
        return cli.main([verb, *map(str, words), *quick_model.ARGUMENTS])

    return run


@pytest.fixture
def three_nodes():
    """A cluster of three nodes with one CPU each."""
    from ray_nodes import NODE

    ray_cluster = pytest.importorskip('ray.cluster_utils')
    cluster = ray_cluster.Cluster(initialize_head=True, head_node_args=dict(NODE))
    cluster.others = [cluster.add_node(**NODE) for _ in range(2)]
    yield cluster
    cluster.shutdown()
