# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Nodes and peers; nothing is left behind."""

from __future__ import annotations

from multiprocessing import forkserver

import pytest

pytest.importorskip('rclpy', reason='no ROS here: the node cannot run')

import rclpy
from golden_data import golden
from harness import STATELESS, NodeProcess, Peer, spinning
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter

from clip_dinoiser_ros.node.segmentation_node import SegmentationNode


def pytest_collection_finish():
    """Have what harness.NodeProcess forks ready early: its imports take seconds."""
    forkserver.ensure_running()


@pytest.fixture(scope='session')
def parameters(golden_files, golden_prompts):
    """Parameters under which the node gives the golden numbers."""
    return {
        **golden_files,
        'prompts': golden_prompts,
        'device': 'cpu',
        'precision': 'fp32',
        'short_side': 0,
    }


@pytest.fixture
def said():
    """Texts that something warned of; give it `said.append`."""
    return []


@pytest.fixture
def image():
    """The image of the golden numbers, uint8 (160, 208, 3) RGB."""
    return golden('image_160x208_plain')['image']


@pytest.fixture(scope='module')
def node(parameters, tmp_path_factory):
    """An active node with one camera, shared by the tests of a module."""
    with NodeProcess(parameters, tmp_path_factory.mktemp('node')) as process:
        process.wait_for_log('active; waiting for images')
        yield process
        assert process.end() == 0, process.log
        assert 'Traceback' not in process.log


@pytest.fixture(scope='module')
def listener(node):
    """A peer that listens to the shared node, shared as well: to find each other takes seconds."""
    with Peer() as peer:
        peer.listen()
        yield peer


@pytest.fixture
def peer(listener):
    """The shared peer, as if it had just begun to listen."""
    yield listener
    listener.forget()


@pytest.fixture
def inputs():
    """Parameters of the camera of `active_node`; a module may have its own."""
    return {}


@pytest.fixture
def active_node(parameters, inputs):
    """An active node in this process, whose executor spins in a thread."""
    words = [word for key, value in inputs.items() for word in ('-p', f'{key}:={value}')]
    rclpy.init(args=['--ros-args', *STATELESS, *words])
    node = SegmentationNode()
    results = node.set_parameters([Parameter(k, value=v) for k, v in parameters.items()])
    assert all(result.successful for result in results)
    assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    assert node.trigger_activate() == TransitionCallbackReturn.SUCCESS
    with spinning(node):
        yield node
    assert node.stop(10)
    node.destroy_node()
    rclpy.try_shutdown()
