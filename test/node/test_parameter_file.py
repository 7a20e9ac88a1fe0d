# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""A parameter file as hands write it: integers for floats, one string, names that are mistyped."""

from pathlib import Path

import pytest
import yaml
from harness import WAIT_S, NodeProcess, Peer, declared_types

CONFIG = Path(__file__).parents[2] / 'config'
UNKNOWN = 'unknown parameters, ignored: '


def test_lenient_types_in_a_parameter_file_are_accepted(parameters, tmp_path):
    written = {
        **parameters,
        'prompts': 'grass',
        'negative_prompts': [],
        'delta': 1,
        'diagnostics_period': 2,
        'camera.max_rate': 5,
        'camera.region': [0, 0, 1, 1],
    }
    with NodeProcess(written, tmp_path) as node, Peer() as peer:
        node.wait_for_log('active; waiting for images')
        names = ['prompts', 'negative_prompts', 'delta', 'diagnostics_period']
        names += ['camera.max_rate', 'camera.region']
        assert peer.get(*names) == [['grass'], [], 1.0, 2.0, 5.0, [0.0, 0.0, 1.0, 1.0]]
        assert declared_types(peer, *names) == [9, 9, 3, 3, 3, 8]
        assert peer.set(**{'camera.max_rate': 2, 'prompts': 'sky'})[1].successful
        assert node.end() == 0


def test_names_that_are_not_known_are_warned_of_with_near_ones(parameters, tmp_path):
    written = {
        **parameters,
        'promts': ['background', 'person'],
        'min_confidenc': 0.5,
        'image_topic': '/rgb',
        'camera.depht_topic': '/depth',
        'rear.image_topic': '/rear',
        'robot_radius': 0.3,  # of another node, in a file for all
        'use_sim_time': False,
        'qos_overrides./camera/image_raw.subscription.reliability': 'reliable',
        'qos_overrides.camera/image_raw.subscription.depth': 3,
        'qos_overrides./clip_dinoiser/camera/labels.publisher.depth': 3,
    }
    with NodeProcess(written, tmp_path) as node:
        node.wait_for_log('active; waiting for images')
        told = [line.split(UNKNOWN)[1] for line in node.lines if UNKNOWN in line]
        assert [sorted(line.split(', ')) for line in told] == [
            [
                'camera.depht_topic (did you mean camera.depth_topic?)',
                'image_topic (did you mean camera.image_topic?)',
                'min_confidenc (did you mean min_confidence?)',
                'promts (did you mean prompts?)',
                "rear.image_topic (no camera 'rear' in cameras)",
                'robot_radius',
            ],
            [
                'qos_overrides.camera/image_raw.subscription.depth (did you mean '
                'qos_overrides./camera/image_raw.subscription.depth?)'
            ],
        ]
        assert all('WARN' in line for line in node.lines if UNKNOWN in line)
        assert node.end() == 0


def test_names_are_warned_of_when_the_node_cannot_be_configured(parameters, tmp_path):
    written = {**parameters, 'camera.depth_topic': '/d', 'camera.camera_info_topc': '/i'}
    with NodeProcess(written, tmp_path) as node:
        node.wait_for_log('cannot configure: ')
        assert f'{UNKNOWN}camera.camera_info_topc (did you mean camera.camera_info_topic?)' in (
            node.log
        )
        assert node.end() == 0


def test_a_file_without_such_names_is_not_warned_of(parameters, tmp_path):
    with NodeProcess(parameters, tmp_path) as node:
        node.wait_for_log('active; waiting for images')
        assert UNKNOWN not in node.log
        assert node.end() == 0


def test_a_list_of_prompts_that_is_one_text(parameters, tmp_path):
    with NodeProcess({**parameters, 'prompts': 'dog, cat'}, tmp_path) as node, Peer() as peer:
        node.wait_for_log("for several prompts give a list: ['dog', 'cat']")
        assert peer.get('prompts') == [['dog, cat']]
        assert node.end() == 0


DEMO = {'model': 'demo', 'prompts': ['background', 'person'], 'device': 'cpu'}


def test_the_demo_model_alone(parameters, tmp_path):
    """It brings its own gamma, which the parameter shows, and nothing else is said to be loaded."""
    with NodeProcess({**DEMO, 'autostart': False}, tmp_path) as node, Peer() as peer:
        assert peer.get('gamma') == [0.7]
        assert peer.change_state('configure')
        assert node.log.count('loading demo (the small model of this package)') == 1
        for word in ('laion2b', 'authors'):
            assert word not in node.log
        assert peer.get('gamma') == [0.7]
        assert peer.change_state('cleanup')
        # another model has another; what someone sets stays
        other = {key: parameters[key] for key in ('model', 'pretrained', 'heads')}
        assert all(result.successful for result in peer.set(**other))
        assert peer.change_state('configure')
        assert peer.get('gamma') == [0.2]
        assert peer.set(gamma=0.3)[0].successful
        assert peer.change_state('cleanup')
        assert peer.set(model='demo')[0].successful
        assert peer.change_state('configure')
        assert peer.get('gamma') == [0.3]
        assert node.end() == 0


@pytest.mark.parametrize('given', [0.2, 0.5])
def test_a_gamma_in_the_file_wins(tmp_path, given):
    with NodeProcess({**DEMO, 'gamma': given}, tmp_path) as node, Peer() as peer:
        node.wait_for_log('active; waiting for images')
        assert peer.get('gamma') == [given]
        assert node.end() == 0


def test_the_files_that_are_installed_leave_gamma_to_the_model(tmp_path):
    """segment.launch.py model:=demo starts the node with segment.yaml and that."""
    for name in ('demo.yaml', 'segment.yaml'):
        (values,) = yaml.safe_load((CONFIG / name).read_text()).values()
        assert 'gamma' not in values['ros__parameters']
    overrides = tmp_path / 'overrides.yaml'
    changed = {'model': 'demo', 'autostart': False, 'state_file': ''}
    overrides.write_text(yaml.safe_dump({'/clip_dinoiser': {'ros__parameters': changed}}))
    files = ['--params-file', str(CONFIG / 'segment.yaml'), '--params-file', str(overrides)]
    with NodeProcess({}, tmp_path, files) as node, Peer() as peer:
        assert peer.get('gamma', 'model') == [0.7, 'demo']
        assert node.end() == 0


@pytest.mark.parametrize(
    ('line', 'words'),
    [
        ('prompts: [yes, no]', ['prompts', 'STRING_ARRAY', 'BOOL_ARRAY']),
        ('prompts: [on, off]', ['prompts', 'STRING_ARRAY', 'BOOL_ARRAY']),
        ('prompts: [1, 2]', ['prompts', 'STRING_ARRAY', 'INTEGER_ARRAY']),
        ('background: no', ['background', 'STRING', 'BOOL']),
        ("min_confidence: '0.5'", ['min_confidence', 'DOUBLE', 'STRING']),
        ('prompts: [person, 3]', ['Sequence should be of same type', 'line_num']),
    ],
)
def test_unquoted_yaml_booleans_and_numbers_as_prompts_are_refused(tmp_path, line, words):
    file = tmp_path / 'typed.yaml'
    file.write_text(f'/**:\n  ros__parameters:\n    {line}\n')
    with NodeProcess(DEMO, tmp_path, ['--params-file', str(file)]) as node:
        assert node.process.wait(WAIT_S) == 1
        node.wait_for_log('cannot start: ')
        (told,) = [text for text in node.lines if 'cannot start: ' in text]
        for word in words:
            assert word in told


def test_words_in_quotes_are_prompts(tmp_path):
    texts = ['yes', "it's", '#1', 'a: b', '~', '12', 'null']
    with NodeProcess({**DEMO, 'prompts': texts}, tmp_path) as node, Peer() as peer:
        node.wait_for_log('active; waiting for images')
        assert peer.get('prompts') == [texts]
        assert node.end() == 0
