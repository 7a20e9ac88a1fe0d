# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The security policy allows what the node really does, and little more.

There is no sros2 among the wheels and no security in their Fast DDS, so the policy cannot be
enforced here: what it says is compared with the topics and services of a running node, and its form
with the rules of sros2's policy.xsd.
"""

from __future__ import annotations

import time
from fnmatch import fnmatchcase
from pathlib import Path
from xml.etree import ElementTree

import pytest
import rclpy
from harness import BEST_EFFORT, STATELESS
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from sensor_msgs.msg import Image

from clip_dinoiser_ros.node.segmentation_node import SegmentationNode
from clip_dinoiser_ros.web.robot import RobotSource

POLICY = Path(__file__).parents[2] / 'config/sros2_policy.xml'
NODE, OPERATOR, CONSUMER = '/clip_dinoiser', '/clip_dinoiser_operator', '/clip_dinoiser_consumer'
PAGE = '/clip_dinoiser_web'
ALIAS = 'policy_under_test'
# element -> (its children, the attributes that say what is allowed)
LISTS = {
    'topics': ('topic', {'publish', 'subscribe'}),
    'services': ('service', {'request', 'reply'}),
    'actions': ('action', {'call', 'execute'}),
}
# allowed although a node with the parameters of this test does not have them
ON_DEMAND = {
    'subscribe': {
        '/clock',
        '/tf',
        '/tf_static',
        '/camera/image_raw/compressed',
        '/camera/depth',
        '/camera/camera_info',
    },
    'publish': {
        '/clip_dinoiser/camera/points',
        '/clip_dinoiser/camera/detections_3d',
        '/clip_dinoiser/camera/markers',
        '/clip_dinoiser/camera/camera_info',
    },
    'reply': set(),
}
CHANGES = {'set_parameters', 'set_parameters_atomically', 'change_state'}


def allowed(enclave: str) -> dict[str, set[str]]:
    """What an enclave may do: qualifier -> patterns of full names."""
    found: dict[str, set[str]] = {key: set() for _, keys in LISTS.values() for key in keys}
    for element in ElementTree.parse(POLICY).getroot().iter('enclave'):
        if element.get('path') != enclave:
            continue
        for profile in element.iter('profile'):
            home = f'{profile.get("ns")}{profile.get("node")}'
            for group in profile:
                names = {(entry.text or '').replace('~', home, 1) for entry in group}
                for qualifier in group.attrib:
                    found[qualifier] |= names
    return found


def whole_graph(node):
    """What a node has; the graph shows it a moment later, what rcl makes itself first."""
    made = {
        *(publisher.topic_name for publisher in node.publishers),
        *(subscription.topic_name for subscription in node.subscriptions),
        *(service.service_name for service in node.services),
    }
    where = (node.get_name(), node.get_namespace())
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        kinds = {
            'publish': node.get_publisher_names_and_types_by_node(*where),
            'subscribe': node.get_subscriber_names_and_types_by_node(*where),
            'reply': node.get_service_names_and_types_by_node(*where),
            'request': node.get_client_names_and_types_by_node(*where),
        }
        graph = {kind: {name for name, _ in found} for kind, found in kinds.items()}
        if made <= set().union(*graph.values()):
            return graph
        time.sleep(0.05)
    raise AssertionError(f'not in the graph: {made}')


@pytest.fixture(scope='module')
def names(parameters):
    """The names of what an active node has: qualifier -> full names."""
    # a name that no node of another test has had: the graph may still know those
    rclpy.init(args=['--ros-args', '-r', f'__node:={ALIAS}', *STATELESS])
    node = SegmentationNode()
    try:
        node.set_parameters([Parameter(k, value=v) for k, v in parameters.items()])
        assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
        assert node.trigger_activate() == TransitionCallbackReturn.SUCCESS
        graph = whole_graph(node)
        yield {
            kind: {name.replace(f'/{ALIAS}/', f'{NODE}/', 1) for name in found}
            for kind, found in graph.items()
        }
        assert node.stop(10)
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


def test_the_node_may_do_what_it_does_and_no_more(names):
    policy = allowed(NODE)
    for qualifier, patterns in policy.items():
        has = names.get(qualifier, set())
        denied = {n for n in has if not any(fnmatchcase(n, p) for p in patterns)}
        assert not denied, f'{qualifier}: not in {POLICY.name}'
        useless = {p for p in patterns if not any(fnmatchcase(n, p) for n in has)}
        assert useless <= ON_DEMAND.get(qualifier, set()), f'{qualifier}: more than the node needs'


def test_only_an_operator_may_change_the_node(names):
    asked = {
        name
        for name in names['reply']
        if any(fnmatchcase(name, p) for p in allowed(OPERATOR)['request'])
    }
    assert names['reply'] - asked == {'/clip_dinoiser/get_type_description'}
    changes = {f'/clip_dinoiser/{name}' for name in CHANGES}
    assert changes <= asked
    others = [e.get('path') for e in ElementTree.parse(POLICY).getroot().iter('enclave')]
    for enclave in set(others) - {OPERATOR, PAGE}:
        for pattern in allowed(enclave)['request']:
            assert not any(fnmatchcase(name, pattern) for name in changes)


def test_a_consumer_can_read_all_outputs_and_write_none(names):
    policy = allowed(CONSUMER)
    outputs = {name for name in names['publish'] if name.startswith('/clip_dinoiser/camera/')}
    assert len(outputs) > 6
    for name in outputs:
        assert any(fnmatchcase(name, pattern) for pattern in policy['subscribe'])
        for enclave in (CONSUMER, OPERATOR, PAGE):
            assert not any(fnmatchcase(name, pattern) for pattern in allowed(enclave)['publish'])


def test_the_page_may_do_what_it_does_and_no_more(names):
    source = RobotSource(NODE)
    try:
        source.watch('camera', print)
        watched = source._watches['camera']
        watched._subscribe_to('/camera/image_raw', False, True, BEST_EFFORT)
        source._client.subscribe(Image, f'{NODE}/camera/class_confidences', print)
        has = whole_graph(source._client.node)
    finally:
        source.close()
    policy = {qualifier: patterns for qualifier, patterns in allowed(PAGE).items() if patterns}
    policy['subscribe'] -= {'/camera/image_raw/compressed'}
    assert policy == {kind: found for kind, found in has.items() if found}
    assert policy['request'] <= names['reply']
    assert policy['subscribe'] & ON_DEMAND['publish'] == {f'{NODE}/camera/detections_3d'}
    outputs = {name for name in policy['subscribe'] if name.startswith(f'{NODE}/')}
    assert outputs <= names['publish'] | ON_DEMAND['publish']


def test_the_form_is_that_of_the_schema():
    root = ElementTree.parse(POLICY).getroot()
    assert (root.tag, root.attrib) == ('policy', {'version': '0.2.0'})
    (enclaves,) = root
    assert enclaves.tag == 'enclaves'
    for enclave in enclaves:
        assert (enclave.tag, enclave.keys()) == ('enclave', ['path'])
        for profiles in enclave:
            assert profiles.tag == 'profiles'
            assert set(profiles.keys()) <= {'type'}
            for profile in profiles:
                assert (profile.tag, set(profile.keys())) == ('profile', {'ns', 'node'})
                for group in profile:
                    entry, qualifiers = LISTS[group.tag]
                    assert len(group)
                    assert group.keys()
                    assert set(group.keys()) <= qualifiers
                    assert set(group.attrib.values()) == {'ALLOW'}
                    assert {child.tag for child in group} == {entry}
                    assert all((child.text or '')[:1] in ('/', '~') for child in group)
