"""Nodes and peers; nothing is left behind."""

from __future__ import annotations

import pytest

pytest.importorskip('rclpy', reason='no ROS here: the node cannot run')

from harness import NodeProcess, Peer


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


@pytest.fixture(scope='module')
def node(parameters, tmp_path_factory):
    """An active node with one camera, shared by the tests of a module."""
    with NodeProcess(parameters, tmp_path_factory.mktemp('node')) as process:
        process.wait_for_log('active; waiting for images')
        yield process
        assert process.end() == 0, process.log
        assert 'Traceback' not in process.log


@pytest.fixture
def peer(node):
    """A peer that listens to the shared node."""
    with Peer() as peer:
        peer.listen()
        yield peer
