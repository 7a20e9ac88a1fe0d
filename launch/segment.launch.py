# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Start the segmentation node: ros2 launch clip_dinoiser_ros segment.launch.py."""

import os
import re
import secrets
from pathlib import Path

from launch.actions import DeclareLaunchArgument, LogInfo, OpaqueFunction
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import LifecycleNode, Node
from launch_ros.substitutions import FindPackageShare
from launch_ros.utilities import prefix_namespace

from launch import LaunchDescription

NAME = 'clip_dinoiser'
# Arguments that become parameters of the same name. Empty: what the parameter file says.
TEXTS = {
    'prompts': 'what to look for, separated by commas: "background, person, red ball"',
    'model': 'OpenCLIP architecture, or path of an OpenCLIP JSON config',
    'pretrained': 'OpenCLIP tag, or weights file',
    'heads': "file with the two heads' weights, authors, or the URL of a mirror",
    'device': 'auto, cpu, cuda, cuda:N, intel-gpu, intel-npu',
}
SWITCHES = {
    'use_sim_time': 'take the time from /clock, for recordings and simulators',
    'autostart': 'configure and activate; false: a lifecycle manager does',
}
# Arguments of the page, without `web_`. Empty: as the page has it.
PAGE = {
    'host': 'address that the page listens on; empty: only this machine can open it',
    'port': 'port of the page',
}
# Not on the command line, which ps shows, and launch when a process dies
TOKEN = 'CLIP_DINOISER_WEB_TOKEN'  # noqa: S105  # its name
RESPAWN_DELAY_S = 2.0
LEVELS = ['debug', 'info', 'warn', 'error', 'fatal']


def generate_launch_description():
    default_file = PathJoinSubstitution(
        [FindPackageShare('clip_dinoiser_ros'), 'config', 'segment.yaml']
    )
    arguments = [
        DeclareLaunchArgument(
            'params_file',
            default_value=default_file,
            description='parameters of the node; what is given in the arguments below wins',
        ),
        DeclareLaunchArgument('namespace', default_value='', description='namespace of the node'),
        DeclareLaunchArgument(
            'image_topic',
            default_value='',
            description="images of the camera named 'camera', the only one unless params_file "
            'names others',
        ),
        DeclareLaunchArgument(
            'transport',
            default_value='',
            choices=['', 'raw', 'compressed'],
            description='how that camera sends them; compressed: JPEG or PNG',
        ),
        *(
            DeclareLaunchArgument(name, default_value='', description=text)
            for name, text in TEXTS.items()
        ),
        *(
            DeclareLaunchArgument(
                name, default_value='', choices=['', 'true', 'false'], description=text
            )
            for name, text in SWITCHES.items()
        ),
        DeclareLaunchArgument(
            'respawn',
            default_value='true',
            choices=['true', 'false'],
            description='start the node again when its process ends, as it does when the GPU '
            'fails, and the page too',
        ),
        DeclareLaunchArgument(
            'log_level', default_value='info', choices=LEVELS, description='what the node logs'
        ),
        DeclareLaunchArgument(
            'web',
            default_value='false',
            choices=['true', 'false'],
            description='start the page to watch the cameras and to choose words on',
        ),
        *(
            DeclareLaunchArgument(f'web_{name}', default_value='', description=text)
            for name, text in PAGE.items()
        ),
        DeclareLaunchArgument(
            'web_token',
            default_value='',
            description='token of the page, at least 16 letters and digits; empty: as in '
            f'the environment variable {TOKEN}, or a new one if web_host is given',
        ),
    ]
    return LaunchDescription([*arguments, OpaqueFunction(function=_nodes)])


def _nodes(context):
    """Make the node, and the page, once the arguments have their values."""

    def value(name):
        return LaunchConfiguration(name).perform(context)

    file = Path(value('params_file'))
    if not file.is_file():  # launch would warn and start the node without it
        raise RuntimeError(f'params_file: there is no file {str(file)!r}')
    overrides = {name: value(name) for name in TEXTS if value(name)}
    if 'prompts' in overrides:
        overrides['prompts'] = [prompt.strip() for prompt in overrides['prompts'].split(',')]
    overrides.update({name: value(name) == 'true' for name in SWITCHES if value(name)})
    for name in ('image_topic', 'transport'):
        if value(name):
            overrides[f'camera.{name}'] = value(name)
    names = _full_name(context)
    node = LifecycleNode(
        package='clip_dinoiser_ros',
        executable='segmentation_node',
        name=NAME,
        namespace=value('namespace'),
        output='screen',
        emulate_tty=True,
        respawn=value('respawn') == 'true',
        respawn_delay=RESPAWN_DELAY_S,
        parameters=[file, overrides] if overrides else [file],
        # the name of a logger
        ros_arguments=['--log-level', f'{".".join(names)}:={value("log_level")}'],
    )
    return [node, *_page(names, value)] if value('web') == 'true' else [node]


def _page(names, value):
    """Make the page of a node; a token that nobody knows yet is told once and outlives respawns."""
    token, port, actions = value('web_token'), value('web_port'), []
    # the page would refuse these as well, but be started again every few seconds
    if not re.fullmatch('([A-Za-z0-9]{16,})?', token or os.environ.get(TOKEN, '')):
        name = 'web_token' if token else TOKEN
        raise RuntimeError(f'{name}: give at least 16 letters and digits, and nothing else')
    if port and not (port.isdecimal() and int(port) < 2**16):
        raise RuntimeError(f'web_port: {port!r} is not a number up to 65535')
    if value('web_host') and not token and not os.environ.get(TOKEN):
        token = secrets.token_hex(16)
        actions = [LogInfo(msg=f'the address of the page ends in ?token={token}')]
    options = [(f'--{name}', value(f'web_{name}')) for name in PAGE]
    page = Node(
        package='clip_dinoiser_ros',
        executable='web',
        name=f'{NAME}_web',
        namespace=value('namespace'),
        output='screen',
        emulate_tty=True,
        respawn=value('respawn') == 'true',
        respawn_delay=RESPAWN_DELAY_S,
        arguments=[
            '--node',
            '/' + '/'.join(names),
            *(word for option in options if option[1] for word in option),
        ],
        additional_env={TOKEN: token} if token else {},
    )
    return [*actions, page]


def _full_name(context):
    """Return the parts of the node's name, with the namespace of a file that includes this."""
    configurations = context.launch_configurations
    namespace = prefix_namespace(configurations.get('ros_namespace'), configurations['namespace'])
    return [*filter(None, namespace.split('/')), NAME]
