# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The files in config/ that wire consumers to the node: every topic in them is one of the node's.

For a costmap or an elevation map the node is started with the file itself; what it then publishes,
with names and types, is held against what the consumer's part of the file subscribes to. RViz and
Foxglove show the camera of the default parameters; neither runs here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from harness import NAME, NodeProcess, Peer

from clip_dinoiser_ros.core.vocabulary import parse_prompts
from clip_dinoiser_ros.frames.class_ids import ClassIds

CONFIG = Path(__file__).parents[2] / 'config'
IMAGE = 'sensor_msgs/msg/Image'
CLOUD = 'sensor_msgs/msg/PointCloud2'


def load(name: str) -> dict:
    return yaml.safe_load((CONFIG / name).read_text())


def node_parameters(file: dict) -> dict:
    return file['/**/clip_dinoiser']['ros__parameters']


def class_names(file: dict) -> list[str]:
    return [prompt.name for prompt in parse_prompts(node_parameters(file)['prompts'])]


def layer_parameters() -> dict:
    costmap = load('nav2_semantic_costmap.yaml')['local_costmap']['local_costmap']
    return costmap['ros__parameters']['semantic_segmentation_layer']


def check_topics(name: str, wanted: dict[str, str], folder: Path) -> None:
    """Start the node with a file and wait until it publishes the topics, each with its type."""
    small = {'model': 'demo', 'device': 'cpu'}
    arguments = ['--params-file', str(CONFIG / name)]
    with NodeProcess(small, folder, arguments) as process, Peer() as peer:
        process.wait_for_log('active; waiting for images')
        own = node_parameters(load(name))
        for key in ('image_topic', 'depth_topic', 'camera_info_topic'):
            peer.until(lambda topic=own[f'camera.{key}']: peer.node.count_subscribers(topic))
        for topic, type_name in wanted.items():
            peer.until(lambda topic=topic: peer.node.count_publishers(topic))
            (publisher,) = peer.node.get_publishers_info_by_topic(topic)
            assert publisher.topic_type == type_name
        assert peer.get('prompts') == [own['prompts']]
        assert process.end() == 0


def test_the_costmap_subscribes_to_what_the_node_publishes(tmp_path):
    source = layer_parameters()['camera']
    wanted = {
        source['segmentation_topic']: IMAGE,
        source['confidence_topic']: IMAGE,
        source['labels_topic']: 'vision_msgs/msg/LabelInfo',
        source['pointcloud_topic']: CLOUD,
    }
    assert wanted.keys() == {value for key, value in source.items() if key.endswith('_topic')}
    check_topics('nav2_semantic_costmap.yaml', wanted, tmp_path)


def test_every_class_has_its_cost_and_no_other():
    file = load('nav2_semantic_costmap.yaml')
    source = layer_parameters()['camera']
    costed = [name for kind in source['class_types'] for name in source[kind]['classes']]
    assert sorted(costed) == sorted(class_names(file))
    assert len(ClassIds().with_names(class_names(file)).known) < 255  # ids that fit into a byte
    for kind in source['class_types']:
        costs = source[kind]
        assert 0 <= costs['base_cost'] <= costs['max_cost'] <= 254  # the highest means lethal
        assert 0 <= costs['mark_confidence'] < 255  # it must be passed, and 255 is the highest


def test_the_layer_is_given_what_it_reads():
    """Maps of one byte, a cloud with a point for every pixel, and a plugin that is loaded."""
    file = load('nav2_semantic_costmap.yaml')
    own = node_parameters(file)
    assert own['confidence_encoding'] == 'mono8'
    assert own['cloud'] == 'organised'
    costmap = file['local_costmap']['local_costmap']['ros__parameters']
    assert costmap['plugins'][-1] == 'inflation_layer'  # inflates what the others marked
    assert all('plugin' in costmap[name] for name in costmap['plugins'])


def test_the_elevation_map_subscribes_to_what_the_node_publishes(tmp_path):
    map_ = load('elevation_mapping.yaml')['elevation_mapping_node']['ros__parameters']
    wanted = {}
    for source in map_['subscribers'].values():
        wanted[source['topic_name']] = {'pointcloud': CLOUD, 'image': IMAGE}[source['data_type']]
        if source['data_type'] == 'image':
            wanted[source['camera_info_topic_name']] = 'sensor_msgs/msg/CameraInfo'
    assert f'{NAME}/camera/class_confidences' in wanted
    check_topics('elevation_mapping.yaml', wanted, tmp_path)


def test_every_prompt_has_its_channel_in_the_order_of_the_vocabulary():
    file = load('elevation_mapping.yaml')
    map_ = file['elevation_mapping_node']['ros__parameters']
    channels = map_['subscribers']['classes']['channels']
    assert channels == [f'sem_{name}' for name in class_names(file)]
    for published in map_['publishers'].values():
        assert {x for x in published['layers'] if x.startswith('sem_')} <= set(channels)


@pytest.mark.parametrize('name', ['nav2_semantic_costmap.yaml', 'elevation_mapping.yaml'])
def test_the_command_in_the_file_names_the_file(name):
    assert f'config/{name}\n' in (CONFIG / name).read_text()


# Display of RViz2 -> what it shows; the classes of rviz_default_plugins that the file may use
RVIZ_DISPLAYS = {
    'rviz_default_plugins/Grid': None,
    'rviz_default_plugins/TF': None,
    'rviz_default_plugins/Image': IMAGE,
    'rviz_default_plugins/PointCloud2': CLOUD,
    'rviz_default_plugins/MarkerArray': 'visualization_msgs/msg/MarkerArray',
}
RVIZ_PANELS = {'rviz_common/Displays', 'rviz_common/Views', 'rviz_common/Time'}
RVIZ_TOPIC = {
    'Depth',
    'Durability Policy',
    'History Policy',
    'Reliability Policy',
    'Value',
}
FOXGLOVE_PANELS = {'Image', '3D', 'DiagnosticSummary', 'Parameters', 'RawMessages'}


@pytest.fixture(scope='module')
def types(tmp_path_factory):
    """Type of every topic that a node with one depth camera has, also of those it subscribes to."""
    inputs = {
        'camera.depth_topic': '/camera/depth/image_rect',
        'camera.camera_info_topic': '/camera/camera_info',
    }
    own = {'model': 'demo', 'device': 'cpu', **inputs}
    with NodeProcess(own, tmp_path_factory.mktemp('node')) as process, Peer() as peer:
        process.wait_for_log('active; waiting for images')
        peer.until(lambda: peer.node.count_publishers(f'{NAME}/camera/points'))
        peer.until(lambda: peer.node.count_publishers('/diagnostics'))
        peer.until(lambda: peer.node.count_subscribers('/camera/image_raw'))
        yield {topic: kinds[0] for topic, kinds in peer.node.get_topic_names_and_types()}


def test_rviz_shows_topics_of_the_node(types):
    config = yaml.safe_load((CONFIG / 'segment.rviz').read_text())
    assert {panel['Class'] for panel in config['Panels']} <= RVIZ_PANELS
    manager = config['Visualization Manager']
    shown = set()
    for display in manager['Displays']:
        kind = RVIZ_DISPLAYS[display['Class']]
        assert display['Enabled'] == display['Value']
        if kind is not None:
            topic = display['Topic']
            assert topic.keys() - {'Filter size'} == RVIZ_TOPIC
            assert topic['Reliability Policy'] == 'Best Effort'  # reaches any publisher
            assert types[topic['Value']] == kind
            shown.add(topic['Value'])
    assert shown >= {f'{NAME}/camera/{x}' for x in ('overlay', 'confidence', 'points', 'markers')}
    assert '/camera/image_raw' in shown
    fields = {d['Channel Name'] for d in manager['Displays'] if 'Channel Name' in d}
    assert fields == {'label', 'confidence'}


def test_foxglove_shows_topics_of_the_node(types):
    layout = json.loads((CONFIG / 'foxglove.json').read_text())
    panels = layout['configById']
    assert sorted(placed(layout['layout'])) == sorted(panels)
    assert {panel.split('!')[0] for panel in panels} == FOXGLOVE_PANELS
    for panel, config in panels.items():
        kind = panel.split('!')[0]
        if kind == 'Image':
            topic = config['imageMode']['imageTopic']
            compressed = topic.endswith('/compressed')
            assert types[topic] == ('sensor_msgs/msg/CompressedImage' if compressed else IMAGE)
        elif kind == '3D':
            assert {types[topic] for topic in config['topics']} == {CLOUD}
        elif kind == 'DiagnosticSummary':
            assert types[config['topicToRender']] == 'diagnostic_msgs/msg/DiagnosticArray'
        elif kind == 'RawMessages':
            assert config['topicPath'] in types


def placed(layout: dict | str) -> Iterator[str]:
    """Yield the panels that stand somewhere in a layout of Foxglove."""
    if isinstance(layout, str):
        yield layout
        return
    assert layout['direction'] in ('row', 'column')
    for side in ('first', 'second'):
        yield from placed(layout[side])
