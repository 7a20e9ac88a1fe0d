# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""launch/replay.launch.py unfolded, without starting anything; test_ros2_command.py runs it."""

import re

import pytest
from unfolding import command, unfold

pytestmark = pytest.mark.usefixtures('launch_packages')


def replay(**arguments):
    return unfold('replay.launch.py', **arguments)


def commands(actions, context):
    """The command lines of `ros2 bag`, split into words."""
    from launch.actions import ExecuteProcess
    from launch_ros.actions import LifecycleNode

    words = [
        command(action, context)
        for action in actions
        if isinstance(action, ExecuteProcess) and not isinstance(action, LifecycleNode)
    ]
    return {line[2]: line for line in words if line[:2] == ['ros2', 'bag']}


@pytest.mark.usefixtures('ros2_bag')
def test_the_bag_is_played_and_recorded_once_the_node_is_active(bag):
    from launch.actions import ExecuteProcess, RegisterEventHandler
    from launch_ros.actions import LifecycleNode
    from launch_ros.event_handlers import OnStateTransition

    actions, context = replay(bag=str(bag), rate='2.0', prompts='background, person')
    handlers = [a.event_handler for a in actions if isinstance(a, RegisterEventHandler)]
    (ready,) = [
        h
        for h in handlers
        if isinstance(h, OnStateTransition)
        and any(isinstance(e, ExecuteProcess) for e in h.describe()[1])
    ]
    found = commands(ready.describe()[1], context)
    play = found['play']
    assert play[3] == str(bag)
    assert '--clock' in play
    assert play[play.index('--rate') + 1] == '2.0'
    record = found['record']
    assert record[record.index('--output') + 1] == str(bag.parent / 'drive_labelled')
    assert '--use-sim-time' in record
    assert context.launch_configurations['use_sim_time'] == 'true'
    assert context.launch_configurations['autostart'] == 'false'  # launch brings it up
    assert sum(isinstance(action, LifecycleNode) for action in actions) == 1


@pytest.mark.usefixtures('ros2_bag')
def test_the_default_records_what_explains_a_frame_and_nothing_large(bag):
    actions, context = replay(bag=str(bag))
    record = commands(actions, context)['record']
    pattern = record[record.index('--regex') + 1]
    base = '/robot/clip_dinoiser/front'
    for output in ('labels', 'confidence', 'frame_info', 'label_info', 'vocabulary'):
        assert re.search(pattern, f'{base}/{output}')
    for other in ('overlay', 'overlay/compressed', 'points', 'classes/person/confidence'):
        assert not re.search(pattern, f'{base}/{other}')


@pytest.mark.usefixtures('ros2_bag')
def test_without_a_pattern_nothing_is_recorded(bag):
    (bag.parent / 'drive_labelled').mkdir()  # would be in the way otherwise
    assert set(commands(*replay(bag=str(bag), record=''))) == {'play'}


@pytest.mark.usefixtures('ros2_bag')
def test_a_wrong_path_is_refused_before_anything_starts(bag):
    with pytest.raises(RuntimeError, match="there is no recording '/no/such'"):
        replay(bag='/no/such')
    (bag.parent / 'drive_labelled').mkdir()
    with pytest.raises(RuntimeError, match='is there already'):
        replay(bag=str(bag))


def test_without_ros2_bag_it_says_what_to_do(bag, monkeypatch):
    monkeypatch.setenv('AMENT_PREFIX_PATH', str(bag.parent))
    with pytest.raises(RuntimeError, match=r'needs `ros2 bag`.*clip-dinoiser play .*--clock'):
        replay(bag=str(bag))
