# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The device fails under a real node: what can be lived with is, the rest ends it with code 1."""

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from faulty_node import (
    CUDA_ERROR,
    HANGS,
    HOLDS_LOCK,
    OUT_OF_MEMORY,
    PASSING,
    TOO_LARGE,
    UNUSED,
    install,
)
from harness import NAME, WAIT_S, NodeProcess, Peer
from lifecycle_msgs.srv import ChangeState


@pytest.fixture
def faulty(parameters, tmp_path):
    """An active node with the faulty model, and a peer that listens."""
    quick = {**parameters, 'inference_timeout_s': 20.0}
    with NodeProcess(quick, tmp_path, prepare=install) as node, Peer() as peer:
        node.wait_for_log('active; waiting for images')
        peer.listen()
        peer.connect()
        yield node, peer


def image(fault=0):
    return np.full((64, 96, 3), fault, np.uint8)


def test_too_little_memory_costs_the_frame(faulty):
    node, peer = faulty
    peer.send(image(OUT_OF_MEMORY), 1)
    node.wait_for_log('frame dropped (1 so far): OutOfMemoryError: CUDA out of memory')
    peer.send(image(), 2)
    assert peer.of_frame('frame_info', 2).frames_rejected == 1
    assert sum('not enough memory on the device' in line for line in node.lines) == 1
    assert node.end() == 0, node.log


def test_an_error_after_which_the_device_computes_costs_the_frame(faulty):
    node, peer = faulty
    peer.send(image(PASSING), 1)
    node.wait_for_log('frame dropped (1 so far): RuntimeError: cuDNN error')
    peer.send(image(), 2)
    assert peer.of_frame('frame_info', 2).frames_rejected == 1
    assert node.end() == 0, node.log


@pytest.mark.parametrize(
    ('fault', 'reason'),
    [
        (CUDA_ERROR, 'the device fails: CUDA error: device-side assert triggered'),
        pytest.param(HANGS, 'the model did not return within 20 s', marks=pytest.mark.long),
    ],
)
def test_unrecoverable_device_errors_end_the_process(faulty, fault, reason):
    node, peer = faulty
    told = []
    peer.node.create_subscription(DiagnosticArray, '/diagnostics', told.append, 10)
    peer.until(lambda: told)
    peer.send(image(fault), 1)
    assert node.process.wait(WAIT_S) == 1
    node.wait_for_log(f'{reason}')
    assert 'exits with code 1, to be restarted' in node.log
    peer.until(lambda: any(reason in s.message for m in told for s in m.status))


def test_diagnostics_that_hang_do_not_keep_the_process(parameters, tmp_path):
    """As with an allocator whose lock the hanging call holds."""
    quick = {**parameters, 'inference_timeout_s': 1.0}
    with NodeProcess(quick, tmp_path, prepare=install) as node, Peer() as peer:
        node.wait_for_log('active; waiting for images')
        peer.listen()
        peer.connect()
        peer.send(image(HOLDS_LOCK), 1)
        assert node.process.wait(WAIT_S) == 1
        node.wait_for_log('most recent call first')  # where every thread hangs
        assert 'in figures' in node.log


@pytest.mark.parametrize('transition', [4, 7])
def test_a_model_that_does_not_return_at_the_end_ends_the_process(parameters, tmp_path, transition):
    """Deactivated (4) or shut down (7): no state may free what the worker still uses."""
    endless = {**parameters, 'inference_timeout_s': 0.0}
    with NodeProcess(endless, tmp_path, prepare=install) as node, Peer() as peer:
        node.wait_for_log('active; waiting for images')
        peer.listen()
        peer.connect()
        peer.send(image(HANGS), 1)
        node.wait_for_log('the model hangs')
        request = ChangeState.Request()
        request.transition.id = transition
        peer._client(ChangeState, f'{NAME}/change_state').call_async(request)  # never answered
        assert node.process.wait(WAIT_S) == 1
        node.wait_for_log('the model did not return 3 s after it was told to stop')


def test_a_gpu_that_is_not_used_is_told(parameters, tmp_path, monkeypatch):
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')  # the CPU, whatever this machine has
    with NodeProcess({**parameters, 'device': 'auto'}, tmp_path, prepare=install) as node:
        node.wait_for_log(
            f'on the CPU although there is an NVIDIA GPU: {UNUSED}; set device to cpu'
        )
        assert node.end() == 0, node.log


def test_too_little_memory_at_configure_is_said_and_the_node_waits(parameters, tmp_path):
    small = {**parameters, 'gamma': TOO_LARGE}
    with NodeProcess(small, tmp_path, prepare=install) as node, Peer() as peer:
        node.wait_for_log('cannot configure: OutOfMemoryError: CUDA out of memory')
        node.wait_for_log('a smaller short_side or precision fp16 need less')
        assert peer.state() == 'unconfigured'
        assert peer.set(gamma=0.2)[0].successful
        assert peer.change_state('configure')
        assert node.end() == 0, node.log
