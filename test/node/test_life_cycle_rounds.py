# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Every transition from every state, over and over, while frames come in."""

import contextlib
import gc
import os
import statistics
import threading
from weakref import ReferenceType

import pytest
import rclpy
from golden_data import golden
from harness import (
    RELIABLE,
    STATELESS,
    WAIT_S,
    InstalledNode,
    Peer,
    holdings,
    numbered_frame,
    spinning,
    ticking,
)
from lifecycle_msgs.srv import ChangeState
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from sensor_msgs.msg import Image

from clip_dinoiser_ros.node.segmentation_node import SegmentationNode

ROUNDS = 5
FRAME_S = 0.02
MORE_MIB = 20.0  # in the second half of the rounds; the model takes more than that in one of them
# what leads where, by number: 1 to 4 as in harness, 5 to 7 shut down from each state
ALLOWED = {
    'unconfigured': {1: 'inactive', 5: 'finalized'},
    'inactive': {2: 'unconfigured', 3: 'active', 6: 'finalized'},
    'active': {4: 'inactive', 7: 'finalized'},
    'finalized': {},
}
NUMBERS = (*range(9), 99)  # those above, and some that no state has


def change(peer, number):
    """Ask for a transition by its number; return whether it was made."""
    request = ChangeState.Request()
    request.transition.id = number
    return peer.call(ChangeState, 'change_state', request).success


def refuses_all_others(peer, state):
    for number in NUMBERS:
        if number not in ALLOWED[state]:
            assert not change(peer, number), (state, number)
    return peer.state() == state


@contextlib.contextmanager
def frames_coming():
    """A camera that sends all the time, stamped 1, 2, ... seconds; yields the newest stamp."""
    image = golden('image_160x208_plain')['image']
    sent = [0]
    with Peer() as camera:
        publisher = camera.node.create_publisher(Image, '/camera/image_raw', RELIABLE)

        def send(index):
            sent[0] = index
            publisher.publish(numbered_frame(image, index))

        with ticking(send, FRAME_S):
            yield sent


@pytest.mark.long
def test_every_transition_over_and_over(parameters, tmp_path):
    waiting = {**parameters, 'autostart': False, 'short_side': 64}
    held = {state: [] for state in ('unconfigured', 'inactive', 'active')}
    with InstalledNode(waiting, tmp_path) as node, Peer() as peer, frames_coming() as sent:

        def reaches(number, state):
            assert change(peer, number)
            assert peer.state() == state
            if state == 'active':  # frames that were sent since go through
                now = sent[0]
                peer.until(lambda: any(stamp > now for stamp in peer.stamps('frame_info')))
            held[state].append(holdings(node.process.pid))

        assert refuses_all_others(peer, 'unconfigured')
        assert change(peer, 1)
        assert refuses_all_others(peer, 'inactive')
        assert change(peer, 3)
        peer.listen()
        assert refuses_all_others(peer, 'active')
        assert change(peer, 4)
        assert change(peer, 2)
        for _ in range(ROUNDS):
            for number, state in (
                (1, 'inactive'),
                (3, 'active'),
                (4, 'inactive'),
                (3, 'active'),
                (4, 'inactive'),
                (2, 'unconfigured'),
            ):
                reaches(number, state)
        versions = [m.version for m in peer.messages('vocabulary')]
        assert versions == sorted(versions)
        assert max(versions) == ROUNDS + 1
        assert change(peer, 5)
        assert refuses_all_others(peer, 'finalized')
        for of_state in held.values():
            stays_the_same(of_state, {'threads': 0, 'fds': 0, 'rss_mib': MORE_MIB})
        assert node.end() == 0
        assert 'Traceback' not in node.log
        assert 'request ignored' not in node.log


@pytest.mark.long
@pytest.mark.parametrize('state', ['unconfigured', 'inactive', 'active'])
def test_shut_down_over_and_over(parameters, state):
    """One node after the other in this process, where nothing of them may stay."""
    held = []
    steps = {'inactive': ['configure'], 'active': ['configure', 'activate']}.get(state, [])
    with frames_coming():
        for _ in range(ROUNDS):
            with served_node({**parameters, 'short_side': 64}) as trigger:
                for step in [*steps, 'shutdown']:
                    assert trigger(step) == TransitionCallbackReturn.SUCCESS
            held.append(holdings(os.getpid()))
    # not memory: without `main` every thread has a heap of its own
    stays_the_same(held, {'threads': 0, 'fds': 0})


@pytest.mark.long
def test_an_activation_leaves_nothing_in_rclpy(parameters):
    """Of a subscription that is gone a callback group keeps a reference, as long as it lives."""
    held = []
    with served_node({**parameters, 'short_side': 64}) as trigger:
        trigger('configure')
        for _ in range(ROUNDS):
            trigger('activate')
            trigger('deactivate')
            gc.collect()
            held.append({'references': sum(isinstance(o, ReferenceType) for o in gc.get_objects())})
    stays_the_same(held, {'references': 0})


@contextlib.contextmanager
def served_node(parameters):
    """A node in this process whose executor spins in a thread; yields how to change its state."""
    rclpy.init(args=['--ros-args', *STATELESS])
    node = SegmentationNode()
    results = node.set_parameters([Parameter(k, value=v) for k, v in parameters.items()])
    assert all(result.successful for result in results)
    try:
        with spinning(node) as executor:

            def trigger(step):
                done = threading.Event()
                task = executor.create_task(getattr(node, f'trigger_{step}'))
                task.add_done_callback(lambda _: done.set())
                assert done.wait(WAIT_S)
                return task.result()

            yield trigger
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
        gc.collect()  # rclpy's node and its services refer to each other


def stays_the_same(held, allowed):
    """No more is held in the later half than in the earlier one, but for what is allowed.

    Memory by its median: a sample may fall into the work on a frame.
    """
    half = len(held) // 2
    for key, more in allowed.items():
        figures = [h[key] for h in held]
        middle = statistics.median if key == 'rss_mib' else max
        assert middle(figures[half:]) <= middle(figures[:half]) + more, (key, figures)
