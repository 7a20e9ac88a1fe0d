"""Start the segmentation node: ros2 launch clip_dinoiser_ros segment.launch.py."""

from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import LifecycleNode
from launch_ros.substitutions import FindPackageShare

from launch import LaunchDescription

# Arguments that become parameters of the same name. Empty: what the parameter file says.
PARAMETERS = {
    'prompts': 'what to look for, separated by commas: "background, person, red ball"',
    'model': 'OpenCLIP architecture, or path of an OpenCLIP JSON config',
    'pretrained': 'OpenCLIP tag, or weights file',
    'heads': "file with the two heads' weights, or authors",
    'device': 'auto, cpu, cuda, cuda:N',
}


def generate_launch_description():
    default_file = PathJoinSubstitution(
        [FindPackageShare('clip_dinoiser_ros'), 'config', 'segment.yaml']
    )
    arguments = [
        DeclareLaunchArgument(
            'params_file', default_value=default_file, description='parameters of the node'
        ),
        DeclareLaunchArgument('namespace', default_value='', description='of the node'),
        DeclareLaunchArgument(
            'image_topic', default_value='', description='images of the first camera'
        ),
        *(
            DeclareLaunchArgument(name, default_value='', description=text)
            for name, text in PARAMETERS.items()
        ),
        DeclareLaunchArgument(
            'use_sim_time',
            default_value='false',
            choices=['true', 'false'],
            description='take the time from /clock, for recordings and simulators',
        ),
        DeclareLaunchArgument(
            'autostart',
            default_value='true',
            choices=['true', 'false'],
            description='configure and activate; false: a lifecycle manager does',
        ),
        DeclareLaunchArgument('log_level', default_value='info', description='of the node'),
    ]
    return LaunchDescription([*arguments, OpaqueFunction(function=_node)])


def _node(context):
    """Make the node once the arguments have their values."""

    def value(name):
        return LaunchConfiguration(name).perform(context)

    overrides = {
        'use_sim_time': value('use_sim_time') == 'true',
        'autostart': value('autostart') == 'true',
    }
    for name in PARAMETERS:
        if value(name):
            overrides[name] = value(name)
    if 'prompts' in overrides:
        overrides['prompts'] = [prompt.strip() for prompt in overrides['prompts'].split(',')]
    if value('image_topic'):
        overrides['camera.image_topic'] = value('image_topic')
    return [
        LifecycleNode(
            package='clip_dinoiser_ros',
            executable='segmentation_node',
            name='clip_dinoiser',
            namespace=value('namespace'),
            output='screen',
            emulate_tty=True,
            parameters=[value('params_file'), overrides],
            arguments=['--ros-args', '--log-level', f'clip_dinoiser:={value("log_level")}'],
        )
    ]
