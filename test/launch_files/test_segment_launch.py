# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""launch/segment.launch.py unfolded, without starting anything; test_ros2_command.py runs it."""

import re

import pytest
import yaml
from unfolding import FOLDER, describe, node, unfold

from clip_dinoiser_ros.node.parameters import CAMERA_SPECS, SPECS

ROOT = FOLDER.parent
pytestmark = pytest.mark.usefixtures('launch_packages')
TEXTS = ['model', 'pretrained', 'heads', 'device']


def segment(**arguments):
    return node(*unfold('segment.launch.py', **arguments))


def declared(file='segment.launch.py', **arguments):
    """Return name -> default of the arguments that a file declares."""
    from launch.actions import DeclareLaunchArgument
    from launch.utilities import perform_substitutions

    actions, context = unfold(file, **arguments)
    return {
        action.name: perform_substitutions(context, action.default_value or [])
        for action in actions
        if isinstance(action, DeclareLaunchArgument)
    }


def test_without_arguments_the_node_gets_the_file_alone():
    started = segment()
    assert started.parameters == [yaml.safe_load((ROOT / 'config/segment.yaml').read_text())]
    program, *rest = started.command
    assert program.endswith('lib/clip_dinoiser_ros/segmentation_node')
    level = ['--ros-args', '--log-level', 'clip_dinoiser:=info']
    assert rest == [*level, '--ros-args', '-r', '__node:=clip_dinoiser', '-r', '__ns:=/']
    assert (started.respawn, started.output, started.emulate_tty) == (True, 'screen', True)
    assert started.respawn_delay > 0


def test_another_file(tmp_path):
    file = tmp_path / 'mine.yaml'
    file.write_text(yaml.safe_dump({'/**': {'ros__parameters': {'gamma': 0.5}}}))
    assert segment(params_file=str(file)).parameters == [yaml.safe_load(file.read_text())]


@pytest.mark.parametrize(
    ('text', 'prompts'),
    [
        ('person', ['person']),
        ('background, red ball ,person|human', ['background', 'red ball', 'person|human']),
        ('yes, 12, 1e3, null, #1, "a": b', ['yes', '12', '1e3', 'null', '#1', '"a": b']),
        ('人, Tür', ['人', 'Tür']),
    ],
)
def test_prompts_are_texts_separated_by_commas(text, prompts):
    assert segment(prompts=text).overrides() == {'prompts': prompts}


@pytest.mark.parametrize('name', TEXTS)
@pytest.mark.parametrize('text', ['demo', '0', 'true', '/a b/c: d.yaml'])
def test_a_text_stays_a_text(name, text):
    assert segment(**{name: text}).overrides() == {name: text}


@pytest.mark.parametrize('name', ['use_sim_time', 'autostart'])
@pytest.mark.parametrize('value', [True, False])
def test_a_switch_is_a_bool(name, value):
    overrides = segment(**{name: str(value).lower()}).overrides()
    assert overrides == {name: value}
    assert isinstance(overrides[name], bool)


def test_the_camera():
    overrides = segment(image_topic='/lens', transport='compressed').overrides()
    assert overrides == {'camera.image_topic': '/lens', 'camera.transport': 'compressed'}


def test_every_override_is_a_parameter_of_its_type():
    values = dict.fromkeys(TEXTS, 'x') | {'autostart': 'true', 'prompts': 'a, b'}
    overrides = segment(image_topic='/lens', transport='raw', **values).overrides()
    for name, value in overrides.items():
        camera, _, field = name.rpartition('.')
        spec = CAMERA_SPECS[field] if camera else SPECS[name]
        assert isinstance(value, type(spec.default)), name


def page(**arguments):
    return node(*unfold('segment.launch.py', web='true', **arguments), kind='Node')


def test_the_page_is_started_on_demand():
    program, *rest = page().command
    assert program.endswith('lib/clip_dinoiser_ros/web')
    node_name = ['-r', '__node:=clip_dinoiser_web', '-r', '__ns:=/']
    assert rest == ['--node', '/clip_dinoiser', '--ros-args', *node_name]
    assert segment(web='true') == segment()
    for silent in ({}, {'web': 'false', 'web_port': '9000'}):
        with pytest.raises(ValueError, match='not enough values'):
            node(*unfold('segment.launch.py', **silent), kind='Node')


def test_the_page_asks_the_node_of_its_namespace():
    command = page(namespace='arm', ros_namespace='/fleet', web_host='::', web_port='9').command
    asked = command[1 : command.index('--ros-args')]
    assert asked == ['--node', '/fleet/arm/clip_dinoiser', '--host', '::', '--port', '9']
    assert '__ns:=/fleet/arm' in command


TOKEN = 'CLIP_DINOISER_WEB_TOKEN'


def told(actions, context):
    """The lines that the launch file logs."""
    return [line for kind, line in describe(actions, context) if kind == 'LogInfo']


def test_a_new_token_is_logged_once(monkeypatch):
    monkeypatch.delenv(TOKEN, raising=False)
    actions, context = unfold('segment.launch.py', web='true', web_host='0.0.0.0')
    started = node(actions, context, kind='Node')
    token = started.environment[TOKEN]
    assert re.fullmatch('[0-9a-f]{32}', token)
    assert not any(token in word for word in started.command)  # logged when the process dies
    assert ' '.join(told(actions, context)).count(token) == 1
    assert page(web_host='0.0.0.0').environment[TOKEN] != token
    assert page().environment == {}


def test_a_given_token_is_not_logged(monkeypatch):
    monkeypatch.delenv(TOKEN, raising=False)
    actions, context = unfold('segment.launch.py', web='true', web_host='::', web_token='a' * 16)
    started = node(actions, context, kind='Node')
    assert started.environment == {TOKEN: 'a' * 16}
    assert 'a' * 16 not in started.command
    assert told(actions, context) == []
    monkeypatch.setenv(TOKEN, 'b' * 16)  # the page inherits it
    actions, context = unfold('segment.launch.py', web='true', web_host='::')
    assert node(actions, context, kind='Node').environment == {}
    assert told(actions, context) == []


@pytest.mark.parametrize('token', ['secret', 'a' * 15, 'a b' * 9, 'ä' * 16, 'a' * 16 + '!'])
def test_a_token_that_the_page_would_refuse_again_and_again(monkeypatch, token):
    monkeypatch.delenv(TOKEN, raising=False)
    with pytest.raises(RuntimeError, match='web_token: give at least 16 letters') as refused:
        page(web_token=token)
    assert token not in str(refused.value)
    monkeypatch.setenv(TOKEN, token)
    with pytest.raises(RuntimeError, match=f'{TOKEN}: give at least 16 letters'):
        page()
    assert page(web_token='a' * 16).environment == {TOKEN: 'a' * 16}
    unfold('segment.launch.py')  # without a page, its token and port do not matter
    unfold('segment.launch.py', web_port='http')


@pytest.mark.parametrize('port', ['http', '-1', '65536', '8o'])
def test_a_port_that_is_none(port):
    with pytest.raises(RuntimeError, match=f"web_port: '{port}' is not a number up to 65535"):
        page(web_port=port)


def test_respawn():
    assert segment(respawn='false').respawn is False
    assert page(respawn='false').respawn is False
    assert page().respawn is True
    assert page().respawn_delay > 0


@pytest.mark.parametrize(
    ('arguments', 'namespace', 'logger'),
    [
        ({'namespace': 'robot1/arm'}, '/robot1/arm', 'robot1.arm.clip_dinoiser'),
        ({'namespace': 'arm', 'ros_namespace': '/fleet'}, '/fleet/arm', 'fleet.arm.clip_dinoiser'),
        ({'namespace': '/arm', 'ros_namespace': '/fleet'}, '/arm', 'arm.clip_dinoiser'),
    ],
)
def test_namespace_and_logger_agree(arguments, namespace, logger):
    command = segment(log_level='debug', **arguments).command
    assert f'__ns:={namespace}' in command
    assert f'{logger}:=debug' in command


@pytest.mark.parametrize(
    ('arguments', 'text'),
    [
        ({'params_file': '/no/such.yaml'}, "params_file: there is no file '/no/such.yaml'"),
        ({'autostart': 'maybe'}, 'provided value "maybe" is not valid'),
        ({'use_sim_time': '1'}, 'provided value "1" is not valid'),
        ({'respawn': ''}, 'provided value "" is not valid'),
        ({'transport': 'jpeg'}, 'provided value "jpeg" is not valid'),
        ({'web': 'yes'}, 'provided value "yes" is not valid'),
        ({'log_level': 'loud'}, 'provided value "loud" is not valid'),
    ],
)
def test_nonsense_is_refused(arguments, text):
    with pytest.raises(RuntimeError, match=re.escape(text)):
        segment(**arguments)


def test_every_argument_is_used(monkeypatch):
    from launch.substitutions import LaunchConfiguration

    used = set()
    perform = LaunchConfiguration.perform

    def record(self, context):
        name = self.variable_name
        used.add(name if isinstance(name, str) else ''.join(part.text for part in name))
        return perform(self, context)

    monkeypatch.setattr(LaunchConfiguration, 'perform', record)
    assert set(declared(web='true')) == used


@pytest.mark.usefixtures('ros2_bag')
def test_every_argument_is_documented_with_its_default(bag):
    segments, both = declared(), declared('replay.launch.py', bag=str(bag))
    shown = {'params_file': 'config/segment.yaml', 'output': 'BAG_labelled'}
    told = documented()
    assert set(told) == set(segments) | set(both)
    for name, default in (both | segments).items():
        if name != 'record':  # told in words
            assert told[name] == shown.get(name, default), name


def documented():
    """Return name -> default of all arguments in the tables of the pages."""
    rows = {}
    for page in [ROOT / 'README.md', *(ROOT / 'docs').glob('*.md')]:
        for table in re.findall(
            r'^\| argument \|.*\n((?:\|.*\n)+)', page.read_text(), re.MULTILINE
        ):
            for row in table.splitlines()[1:]:
                names, default = row.split('|')[1:3]
                for name in names.split(','):
                    rows[name.strip(' `')] = default.strip(' `')
    return rows
