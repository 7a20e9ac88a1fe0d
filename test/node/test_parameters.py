# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""`ros2 param set`, as the node's services see it."""

import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from harness import array, declared_types
from rcl_interfaces.msg import Parameter, ParameterValue
from rcl_interfaces.srv import (
    DescribeParameters,
    ListParameters,
    SetParameters,
    SetParametersAtomically,
)

from clip_dinoiser_ros.core.vocabulary import parse_prompts

INTERFACE = Path(__file__).parents[2] / 'docs/ros_interface.md'
SEGMENT_YAML = Path(__file__).parents[2] / 'config/segment.yaml'


@pytest.fixture(autouse=True)
def _restored(peer, parameters):
    """Every test starts from the same settings."""
    defaults = {
        'prompts': parameters['prompts'],
        'background': 'background',
        'templates': 'imagenet',
        'gamma': 0.2,
        'delta': 0.99,
        'min_confidence': 0.0,
        'confidence_encoding': 'mono8',
        'max_rate': 0.0,
    }
    yield
    assert all(result.successful for result in peer.set(**defaults))


def test_label_info_comes_before_the_first_labels_of_new_prompts(peer, image, golden_segmenter):
    words = ['grass', 'wooden table', 'car|automobile']
    version = peer.messages('vocabulary')[-1].version
    peer.send(image, 1)
    peer.of_frame('labels', 1)
    assert peer.set(prompts=words)[0].successful
    peer.send(image, 2)
    peer.of_frame('frame_info', 2)
    topics = [(topic.rsplit('/')[-1], message) for topic, message in peer.received]
    first_new = next(
        i for i, (t, m) in enumerate(topics) if t == 'labels' and m.header.stamp.sec == 2
    )
    announced = [m for t, m in topics[:first_new] if t == 'vocabulary' and m.version == version + 1]
    assert len(announced) == 1
    assert announced[0].names == ['grass', 'wooden table', 'car']
    assert announced[0].prompts == words
    named = [m for t, m in topics[:first_new] if t == 'label_info'][-1]
    assert [c.class_name for c in named.class_map] == announced[0].names
    assert peer.of_frame('frame_info', 1).vocabulary_version == version
    assert peer.of_frame('frame_info', 2).vocabulary_version == version + 1
    expected = golden_segmenter.segment(image, golden_segmenter.encode(words))
    ids = np.array(announced[0].ids, np.uint8)[expected.labels]
    np.testing.assert_array_equal(array(peer.of_frame('labels', 2)), ids)


def test_an_id_never_changes_its_meaning(peer):
    meaning = {}
    for words in (['cat', 'dog'], ['dog', 'cow', 'cat'], ['sheep'], ['cow', 'cat', 'background']):
        assert peer.set(prompts=words)[0].successful
        message = peer.wait('vocabulary', lambda m, w=words: list(m.names) == w)
        for name, class_id in zip(message.names, message.ids, strict=True):
            assert meaning.setdefault(class_id, name) == name
            assert class_id != 255
    assert len(set(meaning.values())) == len(meaning)


@pytest.mark.parametrize(
    ('name', 'value', 'reason'),
    [
        ('prompts', ['dog', ' dog '], "'dog' is given twice"),
        ('prompts', ['dog', ''], 'prompt 1'),
        ('prompts', ['dog\x1b[31m'], 'control character U+001B'),
        ('prompts', ['x' * 10_000], '10000 characters'),
        ('prompts', ['dog ' * 100], 'at most 75 are allowed'),
        ('prompts', [f'class {i}' for i in range(1001)], '1001 prompts given; at most 1000'),
        ('templates', 'poem', "'poem'; allowed: imagenet, simple, none"),
        ('templates', '/no/yard.json', "templates '/no/yard.json' cannot be used"),
        ('gamma', 1.5, '0.99'),
        ('gamma', float('nan'), 'Max: 0.99, value: nan'),
        ('delta', -0.5, '0.0'),
        ('min_confidence', float('inf'), '1.0'),
        ('max_rate', -1.0, '1000.0'),
        ('confidence_encoding', 'rgb8', "'rgb8'; allowed: mono8, 32FC1"),
        ('gamma', 'high', 'type'),
        ('gamma', 1, 'Max: 0.99, value: 1.0'),
        ('gamma', True, 'type'),
        ('prompts', 5, 'type'),
        ('prompts', [1, 2], 'type'),
        ('prompts', '', "prompt 0 ('') has an empty name"),
    ],
)
def test_a_refused_change_says_why_and_changes_nothing(peer, image, name, value, reason):
    known = ['prompts', 'templates', 'gamma', 'delta', 'confidence_encoding', 'max_rate']
    before, announced = peer.get(*known), len(peer.messages('vocabulary'))
    result = peer.set(**{name: value})[0]
    assert not result.successful
    assert reason in result.reason
    assert peer.get(*known) == before
    peer.send(image, 5)
    peer.of_frame('labels', 5)
    assert len(peer.messages('vocabulary')) == announced


def test_one_request_with_a_good_and_a_bad_value(peer):
    results = peer.set(gamma=0.3, delta=7.0)
    assert [result.successful for result in results] == [True, False]
    assert peer.get('gamma', 'delta') == [0.3, 0.99]


def test_an_empty_list_of_prompts_is_refused(peer, parameters):
    """It arrives as a list of some other type, since an empty list has none."""
    for list_type in (5, 6, 9):
        empty = Parameter(name='prompts', value=ParameterValue(type=list_type))
        request = SetParameters.Request(parameters=[empty])
        result = peer.call(SetParameters, 'set_parameters', request).results[0]
        assert (result.successful, result.reason) == (
            False,
            'prompts is empty; give at least one class',
        )
    unset = Parameter(name='prompts', value=ParameterValue(type=0))
    request = SetParameters.Request(parameters=[unset])
    assert not peer.call(SetParameters, 'set_parameters', request).results[0].successful
    assert peer.get('prompts') == [parameters['prompts']]


def test_a_parameter_without_a_name_is_refused(peer):
    nameless = Parameter(name='', value=ParameterValue(type=3, double_value=0.5))
    request = SetParameters.Request(parameters=[nameless])
    (result,) = peer.call(SetParameters, 'set_parameters', request).results
    assert not result.successful
    assert 'has no name' in result.reason


def test_any_script_is_announced_as_it_was_given(peer, image):
    """Right to left, mixed directions, letters of several code points, emoji."""
    words = [
        '\u0642\u0637\u0629',
        '\u05db\u05dc\u05d1 dog',
        '\u0915\u094d\u0937\u092e\u093e',
        '\U0001f469\u200d\U0001f680',
    ]
    assert peer.set(prompts=words)[0].successful
    assert peer.get('prompts') == [words]
    peer.wait('vocabulary', lambda m: list(m.names) == list(m.prompts) == words)
    peer.wait('label_info', lambda m: [c.class_name for c in m.class_map] == words)
    heard = peer.hear_classes(*words)
    peer.send_until(image, 60, 'labels', *heard)


def test_a_malformed_request_is_refused(peer, image):
    """An unknown parameter type, at which rclpy's own services raise."""
    malformed = Parameter(name='gamma', value=ParameterValue(type=99))
    request = SetParameters.Request(parameters=[malformed])
    (result,) = peer.call(SetParameters, 'set_parameters', request).results
    assert (result.successful, '99 is not a valid' in result.reason) == (False, True)
    together = SetParametersAtomically.Request(parameters=[malformed])
    result = peer.call(SetParametersAtomically, 'set_parameters_atomically', together).result
    assert (result.successful, '99 is not a valid' in result.reason) == (False, True)
    assert peer.get('gamma') == [0.2]
    peer.send(image, 6)
    peer.of_frame('labels', 6)


def test_lenient_types_of_param_set_are_accepted(peer):
    """Integers for floats, one string for a list of one: as `ros2 param set` reads it."""
    names = ['delta', 'max_rate', 'prompts', 'negative_prompts', 'camera.region']
    before = declared_types(peer, *names)
    results = peer.set(delta=1, max_rate=5, prompts='a red, round ball')
    assert all(result.successful for result in results)
    assert [result.reason for result in results] == [
        '',
        '',
        "prompts: one string is a list of one, ['a red, round ball']; commas stay part of it",
    ]
    whole = Parameter(
        name='camera.region', value=ParameterValue(type=7, integer_array_value=[0, 0, 1, 1])
    )
    none = Parameter(name='negative_prompts', value=ParameterValue(type=6))
    request = SetParametersAtomically.Request(parameters=[whole, none])
    result = peer.call(SetParametersAtomically, 'set_parameters_atomically', request).result
    assert result.successful, result.reason
    values = peer.get(*names)
    assert values == [1.0, 5.0, ['a red, round ball'], [], [0.0, 0.0, 1.0, 1.0]]
    assert [type(value) for value in values[:2]] == [float, float]
    assert declared_types(peer, *names) == before == [3, 3, 9, 9, 8]
    peer.wait('vocabulary', lambda m: list(m.prompts) == ['a red, round ball'])


def test_gamma_and_delta_reach_the_model(peer, image, golden_segmenter, golden_prompts):
    vocabulary = golden_segmenter.encode(golden_prompts)
    assert all(result.successful for result in peer.set(gamma=0.5, delta=0.3))
    peer.send(image, 10)
    expected = golden_segmenter.segment(image, vocabulary, gamma=0.5, delta=0.3).labels
    assert (expected != golden_segmenter.segment(image, vocabulary).labels).any()
    np.testing.assert_array_equal(array(peer.of_frame('labels', 10)), expected)


def test_background_can_be_another_class_or_none(peer, image, golden_segmenter, golden_prompts):
    for index, background in enumerate(['grass', ''], start=20):
        assert peer.set(background=background)[0].successful
        peer.send(image, index)
        vocabulary = golden_segmenter.encode(golden_prompts, background=background)
        expected = golden_segmenter.segment(image, vocabulary).labels
        np.testing.assert_array_equal(array(peer.of_frame('labels', index)), expected)
        assert peer.messages('vocabulary')[-1].background == background


def test_uncertain_pixels_are_unlabelled(peer, image, golden_segmenter, golden_prompts):
    result = golden_segmenter.segment(image, golden_segmenter.encode(golden_prompts))
    least = float(np.median(result.confidence))
    assert peer.set(min_confidence=least)[0].successful
    peer.send(image, 30)
    labels = array(peer.of_frame('labels', 30))
    assert golden_prompts[0] == 'background'
    sure = (result.confidence >= least) | (result.labels == 0)  # what the filter takes is not cut
    clear = np.abs(result.confidence - least) > 1e-4
    assert 0.2 < sure.mean() < 0.9
    assert ((result.confidence < least) & sure).any()
    expected = np.where(sure, result.labels, 255)
    np.testing.assert_array_equal(labels[clear], expected[clear])
    assert peer.messages('label_info')[-1].threshold == pytest.approx(least)


def test_confidence_as_floats(peer, image, golden_segmenter, golden_prompts):
    assert peer.set(confidence_encoding='32FC1')[0].successful
    peer.send(image, 40)
    message = peer.of_frame('confidence', 40)
    assert (message.encoding, message.step) == ('32FC1', 4 * 208)
    expected = golden_segmenter.segment(image, golden_segmenter.encode(golden_prompts)).confidence
    np.testing.assert_allclose(array(message), expected, atol=1e-4)


def test_more_classes_than_a_byte_holds(peer, image):
    words = [f'thing {i}' for i in range(300)]
    assert peer.set(templates='none')[0].successful
    assert peer.set(prompts=words)[0].successful
    peer.send(image, 50)
    message = peer.of_frame('labels', 50)
    assert (message.encoding, message.step) == ('mono16', 2 * 208)
    vocabulary = peer.messages('vocabulary')[-1]
    assert vocabulary.unlabelled_id == 65535
    assert len(vocabulary.ids) == 300
    assert set(np.unique(array(message))) <= set(vocabulary.ids)


def defaults_in_the_readme() -> dict[str, str]:
    section = INTERFACE.read_text().split('## Parameters')[1].split('\n## ')[0]
    return dict(re.findall(r'^\| `([\w.]+)` \| `([^`]*)` \|', section, re.MULTILINE))


def test_every_parameter_is_described_and_in_the_readme(peer):
    listed = peer.call(ListParameters, 'list_parameters', ListParameters.Request())
    ours = [
        name
        for name in listed.result.names
        if not name.startswith('qos_overrides')
        and name not in ('use_sim_time', 'start_type_description_service')
    ]
    request = DescribeParameters.Request(names=ours)
    for descriptor in peer.call(DescribeParameters, 'describe_parameters', request).descriptors:
        assert descriptor.description, descriptor.name
        if descriptor.type in (2, 3):
            assert descriptor.integer_range or descriptor.floating_point_range, descriptor.name
    documented = {name.replace('NAME', 'camera') for name in defaults_in_the_readme()}
    assert documented == set(ours)


def test_the_defaults_in_the_readme_are_the_nodes():
    from clip_dinoiser_ros.node.parameters import SPECS

    rows = defaults_in_the_readme()
    for name, spec in SPECS.items():
        default = spec.default
        shown = str(default).lower() if isinstance(default, bool) else str(default)
        assert rows[name].strip("'") == shown.replace("'", ''), name
    parse_prompts(SPECS['prompts'].default)


def test_segment_yaml_sets_every_parameter_to_its_default():
    from clip_dinoiser_ros.node.parameters import CAMERA_SPECS, SPECS

    content = yaml.safe_load(SEGMENT_YAML.read_text())['/**/clip_dinoiser']['ros__parameters']
    defaults = {name: spec.default for name, spec in SPECS.items()}
    del defaults['gamma']  # by default that of the model
    found = {name: value for name, value in content.items() if '.' not in name}
    assert found == defaults
    of_camera = {name: value for name, value in content.items() if name not in found}
    for name, value in of_camera.items():
        camera, key = name.split('.')
        default = CAMERA_SPECS[key].default
        assert camera == 'camera'
        assert value == (default.format(camera=camera) if isinstance(default, str) else default)
