# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""launch/replay.launch.py unfolded, without starting anything; test_ros2_command.py runs it."""

import re
from pathlib import Path

import pytest

pytest.importorskip('launch', reason='there is no launch here')
pytest.importorskip('launch_ros', reason='there is no launch_ros here')

from launch.actions import ExecuteProcess, RegisterEventHandler, TimerAction
from launch.launch_description_sources import get_launch_description_from_python_launch_file
from launch.utilities import perform_substitutions
from launch_ros.actions import LifecycleNode
from launch_ros.event_handlers import OnStateTransition

from launch import LaunchContext

FILE = Path(__file__).parents[1] / 'launch' / 'replay.launch.py'


@pytest.fixture
def ros2_bag(tmp_path, monkeypatch):
    """Pretend that the package of `ros2 bag` is installed."""
    marker = tmp_path / 'prefix/share/ament_index/resource_index/packages/ros2bag'
    marker.parent.mkdir(parents=True)
    marker.touch()
    monkeypatch.setenv('AMENT_PREFIX_PATH', str(tmp_path / 'prefix'), prepend=':')


@pytest.fixture
def bag(tmp_path):
    path = tmp_path / 'drive.mcap'
    path.touch()
    return path


def unfold(**arguments):
    """Return all actions that launch would come to, and the context that knows the arguments."""
    context = LaunchContext()
    context.launch_configurations.update(arguments)
    description = get_launch_description_from_python_launch_file(str(FILE))
    return list(_unfold(description, context)), context


def _unfold(entity, context):
    yield entity
    if isinstance(entity, RegisterEventHandler):
        for inner in getattr(entity.event_handler, 'entities', []):
            yield from _unfold(inner, context)
    elif not isinstance(entity, ExecuteProcess | TimerAction):  # a visit would start it
        for inner in entity.visit(context) or []:
            yield from _unfold(inner, context)


def commands(actions, context):
    """The command lines of `ros2 bag`, split into words."""
    words = [
        [perform_substitutions(context, part) for part in action.cmd]
        for action in actions
        if isinstance(action, ExecuteProcess) and not isinstance(action, LifecycleNode)
    ]
    return {command[2]: command for command in words if command[:2] == ['ros2', 'bag']}


@pytest.mark.usefixtures('ros2_bag')
def test_the_bag_is_played_and_recorded_once_the_node_is_active(bag):
    actions, context = unfold(bag=str(bag), rate='2.0', prompts='background, person')
    handlers = [a.event_handler for a in actions if isinstance(a, RegisterEventHandler)]
    (ready,) = [
        h
        for h in handlers
        if isinstance(h, OnStateTransition)
        and any(isinstance(e, ExecuteProcess) for e in h.entities)
    ]
    found = commands(ready.entities, context)
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
    actions, context = unfold(bag=str(bag))
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
    assert set(commands(*unfold(bag=str(bag), record=''))) == {'play'}


@pytest.mark.usefixtures('ros2_bag')
def test_a_wrong_path_is_refused_before_anything_starts(bag):
    with pytest.raises(RuntimeError, match="there is no recording '/no/such'"):
        unfold(bag='/no/such')
    (bag.parent / 'drive_labelled').mkdir()
    with pytest.raises(RuntimeError, match='is there already'):
        unfold(bag=str(bag))


def test_without_ros2_bag_it_says_what_to_do(bag, monkeypatch):
    monkeypatch.setenv('AMENT_PREFIX_PATH', str(bag.parent))
    with pytest.raises(RuntimeError, match=r'needs `ros2 bag`.*clip-dinoiser play .*--clock'):
        unfold(bag=str(bag))
