# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The node or the network is gone for a while: who listens is served again, without a restart."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from harness import LATCHED, NAME, NodeProcess, Peer
from sensor_msgs.msg import Image

OWN_NETWORK = ('unshare', '--user', '--map-root-user', '--net')


def reason_for_no_network_of_our_own():
    """Say why no network namespaces can be had here, or nothing."""
    missing = [program for program in ('unshare', 'nsenter', 'ip') if not shutil.which(program)]
    if missing:
        return f'there is no {" and no ".join(missing)} here (util-linux, iproute2)'
    command = [*OWN_NETWORK, 'ip', 'link', 'add', 'near', 'type', 'veth', 'peer', 'name', 'far']
    tried = subprocess.run(command, capture_output=True, text=True)
    return f'no network namespaces here: {tried.stderr.strip()}' if tried.returncode else ''


@pytest.mark.long
def test_a_cable_pulled_for_longer_than_the_lease(parameters, tmp_path):
    reason = reason_for_no_network_of_our_own()
    if reason:
        pytest.skip(reason)
    (tmp_path / 'parameters.json').write_text(json.dumps(parameters))
    program = Path(__file__).parent / 'two_hosts.py'
    ended = subprocess.run(
        [*OWN_NETWORK, '--fork', '--kill-child', sys.executable, program, tmp_path],
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)},  # PYTHONSAFEPATH hides ours
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_killed_and_started_again_while_a_consumer_listens(parameters, tmp_path, image):
    with Peer() as peer:
        with NodeProcess(parameters, tmp_path) as node:
            node.wait_for_log('active; waiting for images')
            peer.listen()
            peer.send_until(image, 100, 'labels')
            assert node.end(signal.SIGKILL) == -signal.SIGKILL
        peer.received.clear()
        with NodeProcess(parameters, tmp_path) as node:
            assert peer.wait('vocabulary').names == parameters['prompts']
            assert peer.wait('label_info').class_map
            peer.send_until(image, 200, 'labels', 'confidence', 'frame_info')
            assert node.end() == 0
            assert 'Traceback' not in node.log


def test_a_consumer_that_asks_for_more_than_is_offered_is_named(parameters, tmp_path):
    with NodeProcess(parameters, tmp_path) as node, Peer() as peer:
        node.wait_for_log('active; waiting for images')
        topic = f'{NAME}/camera/labels'
        peer.node.create_subscription(Image, topic, lambda message: None, LATCHED)
        node.wait_for_log('Last incompatible policy: DURABILITY')
        assert "camera/labels', requesting incompatible QoS" in node.log
