# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""States, start, end."""

import os
import re
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from golden_data import golden
from harness import InstalledNode, NodeProcess, Peer, array
from rclpy.executors import Executor


def test_managed_by_hand(parameters, tmp_path, golden_segmenter, golden_prompts):
    missing = {**parameters, 'autostart': False, 'heads': str(tmp_path / 'none.safetensors')}
    image = golden('image_160x208_plain')['image']
    expected = golden_segmenter.segment(image, golden_segmenter.encode(golden_prompts)).labels
    with InstalledNode(missing, tmp_path) as node, Peer() as peer:
        assert peer.state() == 'unconfigured'
        assert not peer.change_state('configure')
        assert peer.state() == 'unconfigured'
        node.wait_for_log("cannot configure: heads '")
        assert 'none.safetensors' in node.log
        assert peer.set(heads=parameters['heads'])[0].successful
        refused = peer.set(prompts=['dog', 'dog'])[0]
        assert (refused.successful, refused.reason) == (
            False,
            "'dog' is given twice; names must be unique",
        )
        for index in (1, 2, 3):
            assert peer.change_state('configure')
            assert peer.state() == 'inactive'
            assert peer.change_state('activate')
            assert peer.state() == 'active'
            if index == 1:
                peer.listen()
            peer.send(image, index)
            np.testing.assert_array_equal(array(peer.of_frame('labels', index)), expected)
            assert peer.set(device='nowhere')[0].successful
            node.wait_for_log('device takes effect at the next configure', index)
            assert peer.change_state('deactivate')
            assert peer.change_state('cleanup')
            assert peer.state() == 'unconfigured'
            assert not peer.change_state('configure')
            node.wait_for_log("cannot configure: device 'nowhere'", index)
            assert peer.set(device='cpu')[0].successful
        versions = [m.version for m in peer.messages('vocabulary')]
        assert versions == [1, 2, 3]  # a number never stands for two vocabularies
        assert node.end() == 0
        assert 'Traceback' not in node.log


@pytest.mark.parametrize(
    'number', [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)]
)
def test_signals_end_it_while_it_loads_and_while_it_serves(parameters, tmp_path, number):
    for delay_s in (0.5, 1.5):  # while it imports; the exact moment does not matter
        with InstalledNode(parameters, tmp_path) as node:
            time.sleep(delay_s)
            assert node.end(number) == 0
            assert 'Traceback' not in node.log
    with InstalledNode(parameters, tmp_path) as node:
        node.wait_for_log('loading')
        assert node.end(number) == 0
        assert 'Traceback' not in node.log
    with NodeProcess(parameters, tmp_path) as node:
        node.wait_for_log('active; waiting')
        assert node.end(number) == 0
        assert 'Traceback' not in node.log


def tell_open_executors():
    """Write when an executor is collected that was not shut down: Python may print a traceback."""
    collected = Executor.__del__

    def collect(self):
        if not self._is_shutdown:
            os.write(1, b'an executor was not shut down\n')
        collected(self)

    Executor.__del__ = collect


def test_an_ended_node_leaves_no_executor(parameters, tmp_path):
    with NodeProcess(parameters, tmp_path, prepare=tell_open_executors) as process:
        process.wait_for_log('active; waiting for images')
        assert process.end() == 0
        assert 'not shut down' not in process.log
        assert 'Traceback' not in process.log


def test_an_ended_node_leaves_no_shared_memory(parameters, tmp_path):
    """Fast DDS has a segment of half a MiB for each process, until its last entity is deleted."""
    of_others = set(Path('/dev/shm').iterdir())  # a node also maps those that it sends to
    with NodeProcess(parameters, tmp_path) as process:
        process.wait_for_log('active; waiting for images')
        maps = Path(f'/proc/{process.process.pid}/maps').read_text()
        segments = {Path(path) for path in re.findall(r'/dev/shm/fast[a-z]+_[0-9a-f]{16}\b', maps)}
        own = segments - of_others
        assert own
        assert process.end(signal.SIGTERM) == 0
    assert not [path for path in own if path.exists()]


@pytest.mark.parametrize(
    ('wrong', 'said'),
    [
        ({'gamma': 7.0}, 'gamma'),
        ({'gamma': 'high'}, "gamma is 'high' of type STRING; must be of type DOUBLE"),
        ({'prompts': 5}, 'prompts is 5 of type INTEGER; must be of type STRING_ARRAY'),
        ({'short_side': 0.5}, 'short_side'),
        ({'short_side': -1}, 'short_side'),
    ],
)
def test_a_parameter_file_with_nonsense_ends_it_with_a_reason(parameters, tmp_path, wrong, said):
    with NodeProcess({**parameters, **wrong}, tmp_path) as node:
        assert node.process.wait(60) == 1
        node.wait_for_log('cannot start:')
        assert said in node.log
        assert 'Traceback' not in node.log


@pytest.mark.parametrize(
    ('arguments', 'said'),
    [(['--log-level', 'loud'], 'loud'), (['--params-file', 'nowhere.yaml'], 'nowhere.yaml')],
)
def test_arguments_with_nonsense_end_it_with_a_reason(parameters, tmp_path, arguments, said):
    with InstalledNode(parameters, tmp_path, arguments) as node:
        assert node.process.wait(60) == 1
        node.wait_for_log('cannot start:')
        assert said in node.log
        assert 'Traceback' not in node.log


def test_failed_activate_is_logged_and_the_node_waits(parameters, tmp_path):
    wrong = {'qos_overrides./camera/image_raw.subscription.reliability': 'sometimes'}
    with NodeProcess({**parameters, **wrong}, tmp_path) as node, Peer() as peer:
        node.wait_for_log('cannot activate:')
        assert 'sometimes' in node.log
        assert peer.state() == 'inactive'
        assert peer.set(prompts=['dog'])[0].successful
        assert node.end() == 0
        assert 'Traceback' not in node.log


@pytest.mark.parametrize(
    ('wrong', 'said'),
    [
        ({'qos_overrides./clip_dinoiser/camera/labels.publisher.reliability': 'never'}, 'never'),
        ({'model': 'ViT-B16'}, 'similar architectures'),
        ({'prompts': ['dog', 'dog']}, "'dog' is given twice"),
        ({'prompts': []}, 'prompts is empty; give at least one class'),
        ({'cameras': []}, 'cameras is empty; give at least one name'),
        ({'cameras': ['front', 'front']}, 'names must be unique'),
        ({'cameras': ['front/left']}, "camera name 'front/left'"),
        ({'camera.image_topic': ''}, "camera.image_topic is ''"),
        ({'camera.image_topic': 'a b'}, "camera.image_topic is 'a b'"),
        ({'camera.transport': 'pigeon'}, "'pigeon'; allowed: raw, compressed"),
        ({'precision': 'int3'}, "precision is 'int3'"),
    ],
)
def test_failed_configure_is_logged_and_the_node_waits(parameters, tmp_path, wrong, said):
    with NodeProcess({**parameters, **wrong}, tmp_path) as node, Peer() as peer:
        node.wait_for_log('cannot configure:')
        assert said in node.log
        assert peer.state() == 'unconfigured'
        assert node.end() == 0
        assert 'Traceback' not in node.log
