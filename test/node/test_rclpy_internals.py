# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""What is used of rclpy's private names is there, in the versions it was checked for."""

from pathlib import Path
from xml.etree import ElementTree

import rclpy
from harness import Peer, spinning
from lifecycle_msgs.srv import ChangeState
from rclpy.lifecycle import LifecycleNode

from clip_dinoiser_ros.node.rclpy_internals import refuse_unavailable_transitions

CHECKED = {'7.1': 'Jazzy', '9.1': 'Kilted'}


def version():
    """The version of the rclpy that is imported, from the package.xml that it is installed with."""
    for folder in Path(rclpy.__file__).parents:
        manifest = folder / 'share/rclpy/package.xml'
        if manifest.exists():
            return ElementTree.parse(manifest).findtext('version')
    raise FileNotFoundError('rclpy has no package.xml')


def test_the_version_is_one_that_was_checked():
    minor, _ = version().rsplit('.', 1)
    assert minor in CHECKED, 'look at rclpy_internals.py with this rclpy and add it here'


def test_a_transition_that_the_state_does_not_have_is_answered():
    rclpy.init()
    node = LifecycleNode('clip_dinoiser')
    refuse_unavailable_transitions(node)
    try:
        with spinning(node), Peer() as peer:
            request = ChangeState.Request()
            request.transition.id = 3  # activate; the node is not configured
            assert not peer.call(ChangeState, 'change_state', request).success
            assert peer.change_state('configure')
            assert peer.change_state('activate')
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
