# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The topics in docs/ros_interface.md and those of the running node: names, types, QoS.

The table says of every topic what the test needs: the first word in backquotes is the topic, the
first `package/Type` its type; "subscribed" and "best effort", "latched" and "published" stand where
they are true. NAME is a camera, SLUG a class.
"""

from __future__ import annotations

import dataclasses
import re
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from harness import NAME, NodeProcess, Peer
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy

INTERFACE = Path(__file__).parents[2] / 'docs/ros_interface.md'
CAMERA = 'front'
# every input a camera can have
INPUTS = {
    f'{CAMERA}.image_topic': '/rig/color/image_raw',
    f'{CAMERA}.depth_topic': '/rig/depth/image_rect',
    f'{CAMERA}.camera_info_topic': '/rig/color/camera_info',
}
SETTLED_S = 2.0
# what every (lifecycle) node has
STANDARD = {'/rosout', '/parameter_events', f'{NAME}/transition_event'}


@dataclass(frozen=True)
class TopicRow:
    """One row of the table."""

    topic: str
    type_name: str
    subscribed: bool
    latched: bool
    best_effort: bool

    def matches(self, endpoint: Endpoint) -> bool:
        """Whether an endpoint of the node is the one that this row speaks of."""
        pattern = r'\w+'.join(map(re.escape, self.topic.split('SLUG')))
        return bool(re.fullmatch(pattern, endpoint.topic))


@dataclass(frozen=True)
class Endpoint:
    """A publisher or a subscription of the node."""

    topic: str
    type_name: str
    subscribed: bool
    latched: bool
    best_effort: bool


def topic_of(text: str) -> str:
    """Return the topic that a cell names, for the camera of this test."""
    topic = text.replace('NAME', CAMERA).replace('~', NAME)
    if text.startswith('NAME.'):  # the parameter says which
        return INPUTS[topic]
    if topic == f'{CAMERA}/image_raw':  # the default of NAME.image_topic
        return INPUTS[f'{CAMERA}.image_topic']
    return topic


def rows() -> list[TopicRow]:
    """Read the table under "Topics"; a cell with several topics makes several rows."""
    section = INTERFACE.read_text().split('\n## Topics\n')[1].split('\n## ')[0]
    lines = [line.strip('|').split('|') for line in section.splitlines() if line.startswith('| `')]
    found = []
    for topics, type_name, notes in lines:
        subscribed = 'subscribed' in topics
        types = re.findall(r'\w+/\w+', type_name)
        names = re.findall('`([^`]+)`', topics)
        for index, name in enumerate(names):
            package, message = types[min(index, len(types) - 1)].split('/')
            found.append(
                TopicRow(
                    topic=topic_of(name),
                    type_name=f'{package}/msg/{message}',
                    subscribed=subscribed,
                    latched='latched' in notes,
                    best_effort=subscribed and 'best effort' in notes,
                )
            )
    return found


def endpoints(peer: Peer) -> set[Endpoint]:
    """List what the node publishes and subscribes to, without what every node has."""
    node, found = peer.node, set()
    for topic, _ in node.get_topic_names_and_types():
        for subscribed, infos in (
            (False, node.get_publishers_info_by_topic(topic)),
            (True, node.get_subscriptions_info_by_topic(topic)),
        ):
            found |= {
                Endpoint(
                    topic,
                    info.topic_type,
                    subscribed,
                    info.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL,
                    info.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT,
                )
                for info in infos
                if f'/{info.node_name}' == NAME and topic not in STANDARD
            }
    return found


@pytest.fixture(scope='module')
def node(parameters, tmp_path_factory):
    """A node whose camera has all inputs."""
    own = {**parameters, 'cameras': [CAMERA], **INPUTS}
    with NodeProcess(own, tmp_path_factory.mktemp('node')) as process:
        process.wait_for_log('active; waiting for images')
        yield process


@pytest.fixture(scope='module')
def peer(node):
    with Peer() as peer:
        yield peer


@pytest.mark.parametrize('row', rows(), ids=lambda row: row.topic.strip('/'))
def test_a_row_of_the_table_is_true(peer, row):
    peer.until(lambda: any(map(row.matches, endpoints(peer))), timeout_s=20.0)
    for endpoint in filter(row.matches, endpoints(peer)):
        assert dataclasses.replace(endpoint, topic=row.topic) == Endpoint(**vars(row))


def test_the_table_leaves_nothing_out(peer):
    for row in rows():
        peer.until(lambda row=row: any(map(row.matches, endpoints(peer))), timeout_s=20.0)
    time.sleep(SETTLED_S)  # for what is not in the table and may still be on its way
    known = rows()
    missing = {e.topic for e in endpoints(peer) if not any(row.matches(e) for row in known)}
    assert not missing, f'not in docs/ros_interface.md: {sorted(missing)}'
