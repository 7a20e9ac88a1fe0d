# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Play a recording to the node and record what it makes of it.

    ros2 launch clip_dinoiser_ros replay.launch.py bag:=drive prompts:='background, person'

The node runs on the time of the recording. All arguments of segment.launch.py can be given too.
"""

from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    ExecuteProcess,
    IncludeLaunchDescription,
    LogInfo,
    OpaqueFunction,
    RegisterEventHandler,
    TimerAction,
)
from launch.event_handlers import OnProcessExit, OnProcessStart
from launch.events import Shutdown
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode
from launch_ros.event_handlers import OnStateTransition
from launch_ros.events.lifecycle import ChangeState
from lifecycle_msgs.msg import Transition

from launch import LaunchDescription

# What is written down: what the node publishes of every frame, and what explains it.
OUTPUTS = '/clip_dinoiser/[^/]+/(labels|confidence|frame_info|label_info|vocabulary)$'
CONNECT_S = 3.0  # for player, node and recorder to find each other, the clock standing still
SETTLE_S = 3.0  # for the last frames to be segmented and written


def generate_launch_description():
    arguments = [
        DeclareLaunchArgument('bag', description='recording to play: a folder or a file'),
        DeclareLaunchArgument(
            'output',
            default_value='',
            description='folder for the recording of the outputs; empty: BAG_labelled',
        ),
        DeclareLaunchArgument(
            'record',
            default_value=OUTPUTS,
            description='regular expression of the topics to record; empty: none',
        ),
        DeclareLaunchArgument('rate', default_value='1.0', description='times real time'),
    ]
    segment = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(Path(__file__).parent / 'segment.launch.py')),
        launch_arguments={'use_sim_time': 'true', 'autostart': 'false'}.items(),
    )
    return LaunchDescription([*arguments, OpaqueFunction(function=_replay), segment])


def _replay(context):
    """Say what happens when the node is ready, and when the recording is over."""

    def value(name):
        return LaunchConfiguration(name).perform(context)

    bag = Path(value('bag'))
    output = Path(value('output') or f'{bag.with_suffix("") if bag.is_file() else bag}_labelled')
    _check(bag, output if value('record') else None)
    player = _bag('play', str(bag), '--clock', '--rate', value('rate'), '--start-paused')
    processes = [player]
    if value('record'):
        options = ['--use-sim-time', '--regex', value('record')]
        processes.append(_bag('record', '--output', str(output), *options))
    resume = ExecuteProcess(
        cmd=['ros2', 'service', 'call', '/rosbag2_player/resume', 'rosbag2_interfaces/srv/Resume'],
        output='log',
    )

    def check_resumed(event, _context):
        return _end('the player does not start') if event.returncode else None

    return [
        # brought up from here: one that comes up by itself may be done before launch has found it
        RegisterEventHandler(
            OnProcessStart(target_action=_is_the_node, on_start=[_go('CONFIGURE')])
        ),
        _when('inactive', [_go('ACTIVATE')], start_state='configuring'),
        _when('active', [*processes, TimerAction(period=CONNECT_S, actions=[resume])]),
        _when('unconfigured', _end('the node cannot be configured')),
        RegisterEventHandler(OnProcessExit(target_action=resume, on_exit=check_resumed)),
        RegisterEventHandler(
            OnProcessExit(
                target_action=player,
                on_exit=[TimerAction(period=SETTLE_S, actions=_end('the recording is over'))],
            )
        ),
    ]


def _is_the_node(action):
    return isinstance(action, LifecycleNode)


def _go(transition):
    """Take the node through a transition."""
    number = getattr(Transition, f'TRANSITION_{transition}')
    return EmitEvent(event=ChangeState(lifecycle_node_matcher=_is_the_node, transition_id=number))


def _when(state, actions, **conditions):
    """Do something when the node has come into a state."""
    return RegisterEventHandler(OnStateTransition(goal_state=state, entities=actions, **conditions))


def _end(reason):
    """Stop everything, and say why."""
    return [LogInfo(msg=reason), EmitEvent(event=Shutdown(reason=reason))]


def _bag(*words):
    return ExecuteProcess(cmd=['ros2', 'bag', *words], output='screen')


def _check(bag, output):
    """Refuse what cannot work before anything is started."""
    try:
        get_package_prefix('ros2bag')
    except PackageNotFoundError as error:
        raise RuntimeError(
            'replay.launch.py needs `ros2 bag`, which is not installed here '
            '(ros-$ROS_DISTRO-rosbag2). Without it: start segment.launch.py with '
            f'use_sim_time:=true, then play by: clip-dinoiser play {bag} --clock'
        ) from error
    if not bag.exists():
        raise RuntimeError(f'bag: there is no recording {str(bag)!r}')
    if output is not None and output.exists():
        raise RuntimeError(f'output: {str(output)!r} is there already; name another folder')
