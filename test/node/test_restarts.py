# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""A node that is started again: ids, version and prompts, over DDS."""

import signal

import numpy as np
import pytest
from faulty_node import CUDA_ERROR, STEADY_S, install
from golden_data import golden
from harness import NAME, WAIT_S, NodeProcess, Peer
from rcl_interfaces.msg import Parameter, ParameterValue
from rcl_interfaces.srv import SetParameters

from clip_dinoiser_ros.node.state_file import State, read_state, write_state

OF_THE_FILE = ['dog', 'cat']
AT_RUNTIME = ['cow', 'cat', 'red ball']


@pytest.fixture
def state_file(tmp_path):
    return tmp_path / 'state.json'


@pytest.fixture
def given(parameters, state_file):
    return {**parameters, 'prompts': OF_THE_FILE, 'state_file': str(state_file)}


def vocabulary(peer, names=None):
    """Wait for the newest vocabulary, that of these names."""
    peer.listen()
    return peer.wait('vocabulary', lambda m: names is None or list(m.names) == names)


def ids(message):
    return dict(zip(message.names, message.ids, strict=True))


@pytest.mark.long
def test_killed_and_started_again_and_ended_and_started_again(given, tmp_path, state_file):
    with NodeProcess(given, tmp_path) as node, Peer() as peer:
        first = vocabulary(peer, OF_THE_FILE)
        assert (ids(first), first.version) == ({'dog': 0, 'cat': 1}, 1)
        assert peer.set(prompts=AT_RUNTIME, templates='simple')[1].successful
        second = peer.wait('vocabulary', lambda m: m.templates == 'simple')
        assert ids(second) == {'cow': 2, 'cat': 1, 'red ball': 3}
        assert second.run_id == first.run_id != ''
        node.process.kill()
        node.process.wait(WAIT_S)
    with NodeProcess(given, tmp_path) as node, Peer() as peer:
        node.wait_for_log('the last run did not end cleanly (1 in a row)')
        node.wait_for_log(
            f'its runtime parameters are set again: prompts {AT_RUNTIME}, templates simple'
        )
        third = vocabulary(peer)
        assert ids(third) == ids(second)
        assert (third.templates, third.version) == ('simple', second.version + 1)
        assert third.run_id != second.run_id
        assert peer.get('prompts', 'templates') == [AT_RUNTIME, 'simple']
        peer.send(golden('image_160x208_plain')['image'], 1)
        assert peer.of_frame('frame_info', 1).vocabulary_version == third.version
        assert node.end() == 0
    with NodeProcess(given, tmp_path) as node, Peer() as peer:
        fourth = vocabulary(peer)
        assert (ids(fourth), fourth.version) == (ids(first), third.version + 1)
        assert peer.set(prompts=[*OF_THE_FILE, 'owl', 'cow'])[0].successful
        fifth = peer.wait('vocabulary', lambda m: 'owl' in m.names)
        assert ids(fifth) == {**ids(first), 'owl': 4, 'cow': 2}
        assert node.end(signal.SIGTERM) == 0
        assert 'did not end cleanly' not in node.log
    assert read_state(state_file).ids == {'dog': 0, 'cat': 1, 'cow': 2, 'red ball': 3, 'owl': 4}


@pytest.mark.parametrize('changes', [1, 7])
def test_state_file_of_a_killed_node_has_the_announced_vocabulary(
    given, tmp_path, state_file, changes
):
    with NodeProcess({**given, 'templates': 'none'}, tmp_path) as node, Peer() as peer:
        vocabulary(peer)
        request = SetParameters.Request()
        for number in range(2 * changes):  # more than are waited for: some are on their way
            value = ParameterValue(type=9, string_array_value=['dog', f'new {number}'])
            request.parameters = [Parameter(name='prompts', value=value)]
            peer._client(SetParameters, f'{NAME}/set_parameters').call_async(request)
        peer.until(lambda: len(peer.messages('vocabulary')) > changes / 2)
        node.process.kill()
        node.process.wait(WAIT_S)
        announced = peer.messages('vocabulary')
    known = read_state(state_file)
    assert known.version >= max(message.version for message in announced)
    for message in announced:
        assert ids(message).items() <= known.ids.items()


def test_by_default_in_ros_home_by_namespace_and_name(parameters, tmp_path, monkeypatch):
    monkeypatch.setenv('ROS_HOME', str(tmp_path / 'home'))
    own = {**parameters, 'state_file': 'auto'}
    with NodeProcess(own, tmp_path, ['-r', '__ns:=/robot']) as node:
        node.wait_for_log('active; waiting')
        path = tmp_path / 'home/clip_dinoiser_ros/robot/clip_dinoiser.json'
        assert list(read_state(path).ids) == [p.split('|')[0] for p in parameters['prompts']]
        assert node.end() == 0


def test_a_damaged_file_is_as_none_with_a_warning(given, tmp_path, state_file):
    write_state(state_file, State({'cat': 9}, 5))
    state_file.write_bytes(state_file.read_bytes().replace(b'9', b'8'))
    with NodeProcess(given, tmp_path) as node, Peer() as peer:
        node.wait_for_log('cannot be used: its content does not match its checksum')
        assert ids(vocabulary(peer)) == {'dog': 0, 'cat': 1}
        assert node.end() == 0


def test_a_place_that_cannot_be_written_costs_a_warning(given, tmp_path):
    (tmp_path / 'file').touch()  # below a file nobody can write, not even root
    given['state_file'] = str(tmp_path / 'file/state.json')
    with NodeProcess(given, tmp_path) as node, Peer() as peer:
        node.wait_for_log('cannot be written: File exists; after a restart class ids begin')
        assert ids(vocabulary(peer)) == {'dog': 0, 'cat': 1}
        assert peer.set(prompts=AT_RUNTIME)[0].successful
        assert node.end() == 0
        assert node.log.count('WARN') == 1


def test_ids_that_are_used_up_are_given_away_at_a_start_only(given, tmp_path, state_file):
    old = {f'class {number}': number for number in range(255)}
    write_state(state_file, State(old, 5))
    own = {**given, 'prompts': ['dog', 'class 0'], 'max_class_id': 254}
    with NodeProcess(own, tmp_path) as node, Peer() as peer:
        node.wait_for_log("longest unused are reused: 'class 1' (1), 'class 2' (2), ")
        assert "'class 32' (32)" in node.log
        assert "'class 33'" not in node.log
        assert ids(vocabulary(peer)) == {'dog': 1, 'class 0': 0}
        new = [f'new {number}' for number in range(32)]
        refused = peer.set(prompts=new)[0]
        assert not refused.successful
        assert "no class id is left for 'new 31': all ids up to 254" in refused.reason
        assert peer.set(prompts=new[:31])[0].successful
        message = peer.wait('vocabulary', lambda m: 'new 0' in m.names)
        assert list(message.ids) == list(range(2, 33))
        peer.send(golden('image_160x208_plain')['image'], 1)
        assert peer.of_frame('labels', 1).encoding == 'mono8'
        assert node.end() == 0
        assert node.log.count('longest unused are reused') == 1


def test_fixed_ids_over_those_of_earlier_runs(given, tmp_path, state_file):
    write_state(state_file, State({'cat': 7, 'cow': 3}, 5))
    own = {**given, 'class_ids': ['dog:7', 'red ball:1']}
    with NodeProcess(own, tmp_path) as node, Peer() as peer:
        node.wait_for_log("change ids of earlier runs, which were 'cat' (7)")
        assert ids(vocabulary(peer)) == {'dog': 7, 'cat': 0}
        assert peer.set(prompts=[*AT_RUNTIME, 'owl'])[0].successful
        message = peer.wait('vocabulary', lambda m: 'owl' in m.names)
        assert ids(message) == {'cow': 3, 'cat': 0, 'red ball': 1, 'owl': 2}
        assert node.end() == 0


@pytest.mark.parametrize(
    ('wrong', 'said'),
    [
        ({'class_ids': ['dog']}, "class_ids: 'dog' is not 'NAME:ID'"),
        ({'class_ids': ['dog:20'], 'max_class_id': 9}, 'ids go from 0 to 9 (max_class_id)'),
        ({'max_class_id': 0}, "no class id is left for 'cat': all ids up to 0"),
    ],
)
def test_ids_that_cannot_be_are_refused_with_the_reason(given, tmp_path, wrong, said):
    with NodeProcess({**given, **wrong}, tmp_path) as node:
        node.wait_for_log('cannot configure:')
        assert said in node.log
        assert node.end() == 0


def test_a_second_node_of_one_name_keeps_nothing(given, tmp_path, state_file):
    (tmp_path / 'second').mkdir()
    with NodeProcess(given, tmp_path) as node:
        node.wait_for_log('active; waiting')
        with NodeProcess({**given, 'prompts': ['owl']}, tmp_path / 'second') as second:
            second.wait_for_log('is in use: another node has the same name')
            second.wait_for_log('active; waiting')
            assert second.end() == 0
        assert list(read_state(state_file).ids) == OF_THE_FILE
        assert node.end() == 0
    with NodeProcess(given, tmp_path) as node:
        node.wait_for_log('active; waiting')
        assert 'did not end cleanly' not in node.log
        assert node.end() == 0


def marker(state_file):
    return state_file.with_name('state.json.running')


def test_failures_in_a_row_delay_the_next_start(given, tmp_path, state_file):
    marker(state_file).write_text('2')
    with NodeProcess(given, tmp_path) as node:
        node.wait_for_log('did not end cleanly (2 in a row); the node will be configured in 2 s')
        node.wait_for_log('active; waiting')
        node.process.kill()
        node.process.wait(WAIT_S)
    assert marker(state_file).read_text().strip() == '3'
    marker(state_file).write_text('20')
    with NodeProcess(given, tmp_path) as node, Peer() as peer:
        node.wait_for_log('(20 in a row); the node will be configured in 58 s')
        assert peer.state() == 'unconfigured'  # services answer
        assert peer.change_state('configure')
        assert node.end() == 0
    assert not marker(state_file).exists()
    marker(state_file).write_text('20')
    with NodeProcess(given, tmp_path) as node:
        node.wait_for_log('the node will be configured in 58 s')
        assert node.end() == 0  # nor does it wait to end


def test_a_run_that_lasts_begins_a_new_row(given, tmp_path, state_file):
    marker(state_file).write_text('1')
    with NodeProcess(given, tmp_path, prepare=install) as node, Peer() as peer:
        node.wait_for_log('active; waiting')
        peer.until(lambda: marker(state_file).read_text().strip() == '1', WAIT_S + STEADY_S)
        node.process.kill()
        node.process.wait(WAIT_S)
    with NodeProcess(given, tmp_path) as node:
        node.wait_for_log('did not end cleanly (1 in a row); the node will be configured in 0 s')
        assert node.end() == 0


def test_a_device_that_fails_is_a_run_that_did_not_end_cleanly(given, tmp_path, state_file):
    with NodeProcess(given, tmp_path, prepare=install) as node, Peer() as peer:
        node.wait_for_log('active; waiting')
        peer.listen()
        assert peer.set(prompts=AT_RUNTIME)[0].successful
        peer.send(np.full((64, 96, 3), CUDA_ERROR, np.uint8), 1)
        assert node.process.wait(WAIT_S) == 1
    with NodeProcess(given, tmp_path) as node, Peer() as peer:
        assert ids(vocabulary(peer)) == {'cow': 2, 'cat': 1, 'red ball': 3}
        assert node.end() == 0
