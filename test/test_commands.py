# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Every command of every page is run, or stands in a list with the reason why it is not.

Commands run as they stand, in a folder that has the files they name. Only what is in `INSTEAD` is
put into them, since weights are not downloaded here. Of what is not run, the names are compared:
options, launch arguments, parameters, topics, files, targets.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from pages import ROOT, Block, Command, blocks, commands, spoken_of

from clip_dinoiser_ros import Segmenter, arguments, cli, training
from clip_dinoiser_ros.core import weights

pytest.importorskip('rosbags', reason='recordings need rosbags')
sys.path += [str(ROOT / 'test/bag'), str(ROOT / 'test/launch_files')]

import bags
from bags import info_message

RUN = (
    r'\. scripts/env\.sh',
    r'\. scripts/env\.sh && export ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST',
    r'M=clip_dinoiser_ros/demo/model/clip-dinoiser-demo',
    r'clip-dinoiser (bag|doctor|export|image|play) .*',
    r'clip-dinoiser doctor',
    r'clip-dinoiser train heads_world --world .*',
    r'install/jazzy/clip_dinoiser_ros/lib/clip_dinoiser_ros/segmentation_node .*',
    r"python3 -c '.*'",
)
NOT_RUN = {
    r'ros2 .*': 'needs an installed ROS; its names are compared',
    r'rviz2 .*': 'needs an installed ROS',
    r'(cd ~/ros2_ws|rosdep .*|colcon .*)': 'needs an installed ROS',
    r'(sudo|sysctl) .*': 'changes the machine, or needs its kernel',
    r'trtexec .*': 'needs TensorRT',
    r'docker .*': 'needs docker; test_docker.py compares the Dockerfile',
    r'(pip install|python3 -m venv) .*': 'downloads',
    r'clip-dinoiser download .*': 'downloads; test/readiness has a server of its own',
    r'clip-dinoiser (evaluate|data) .*': 'needs data sets; test/evaluation has small ones',
    r'clip-dinoiser bag .* --rerun .*': 'needs the Rerun SDK; test/bag/test_rerun.py runs it',
    r'rerun .*': 'a viewer, which needs a screen',
    r'clip-dinoiser export-labels .*': 'test/bag/test_export_labels.py runs it, with all formats',
    r'(clip-dinoiser fleet|ray start) .*': 'needs Ray, which is not in the lock; `make test-fleet`',
    r'export RAY_.*': 'for the shell of a Ray cluster',
    r'clip-dinoiser web .*': 'serves until it is stopped; test/web/test_desk.py runs it',
    r'clip-dinoiser adapt .*': 'test/training/test_adapt.py runs it on a recording of its own',
    r'clip-dinoiser quantize .*': 'needs NNCF, which is not in the lock; test/evaluation runs it',
    r'clip-dinoiser benchmark .*': 'takes minutes; test/benchmark runs it small',
    r'clip-dinoiser train heads_yard .*': 'needs weights of DINO and FOUND',
    r'clip-dinoiser train .* \.\.\. .*': 'stands for the command above it',
    r'make .*': 'runs these tests, or what installs; its targets are compared',
    r'export ROS_.*': 'for the shell of an installed ROS',
}
# Pages use the model of the paper, which is downloaded, and numbers that take minutes.
INSTEAD = (
    (r'^(clip-dinoiser (?:bag|doctor|export|image)\b(?!.* --model ).*)', r'\1 --model demo'),
    (r'--images 200', '--images 4'),
    (r'--iterations 400', '--iterations 2'),
    (r'--batch 8', '--batch 2'),
    (r'--lr-drop-after 300', '--lr-drop-after 1'),
    (r'--checkpoint-every 50', '--checkpoint-every 1'),
    (r'^M=', f'M={ROOT}/'),
    (r'\bscripts/env\.sh', f'{ROOT}/scripts/env.sh'),
    (r'\bconfig/', f'{ROOT}/config/'),
    (r'^install/jazzy\b', f'{ROOT}/install/{os.environ.get("ROS_DISTRO", "jazzy")}'),
)
OUTPUTS = ('--output', '--video', '--report')
DEPTH = '/camera/aligned_depth_to_color/image_raw'
COMMANDS = commands()
NODE = '/clip_dinoiser'


def is_run(command: Command) -> bool:
    return any(re.fullmatch(pattern, command.text) for pattern in RUN) and not is_left_out(command)


def is_left_out(command: Command) -> bool:
    return any(re.fullmatch(pattern, command.text) for pattern in NOT_RUN)


def instead(text: str) -> str:
    for pattern, replacement in INSTEAD:
        text = re.sub(pattern, replacement, text)
    return text


def of(program: str) -> list[Command]:
    return [command for command in COMMANDS if command.text.startswith(f'{program} ')]


# the lists


def test_the_pages_have_commands():
    assert len(COMMANDS) > 60
    assert len({command.block.page for command in COMMANDS}) > 15


def test_every_command_is_run_or_in_the_list_of_those_that_are_not():
    """A new one is run (RUN, with the files it names in `folder`), or NOT_RUN says why not."""
    assert [str(c) for c in COMMANDS if not is_run(c) and not is_left_out(c)] == []
    for pattern in (*RUN, *NOT_RUN):
        assert any(re.fullmatch(pattern, command.text) for command in COMMANDS), pattern


# names


def parser_of(verb: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(verb)
    importlib.import_module(cli.VERBS[verb][0]).add_arguments(parser)
    return parser


def test_the_verbs_take_their_options():
    for command in of('clip-dinoiser'):
        _, verb, *words = command.words
        if '...' in words:
            assert set(filter(is_option, words)) <= options_of(parser_of(verb)), command
        else:
            parser_of(verb).parse_args(words)


def is_option(word: str) -> bool:
    return word.startswith('--')


def options_of(parser: argparse.ArgumentParser) -> set[str]:
    found = set(parser._option_string_actions)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found |= {option for sub in action.choices.values() for option in options_of(sub)}
    return found


def test_verbs_and_options_in_the_text_exist():
    spoken = spoken_of('clip-dinoiser')
    assert len(spoken) > 20
    for page, line in spoken:
        _, verb, *words = line.split()
        if verb != 'VERB':
            assert set(filter(is_option, words)) <= options_of(parser_of(verb)), (page, line)


def test_launch_files_take_their_arguments():
    from launch_stand_in import in_use

    with in_use():
        for command in COMMANDS:
            words = command.words
            if words[:2] == ['ros2', 'launch'] or 'launch' in words[2:]:
                file, *given = words[words.index('clip_dinoiser_ros') + 1 :]
                names = {word.split(':=')[0] for word in given if ':=' in word}
                assert names <= arguments_of(file), command


def arguments_of(file: str) -> set[str]:
    from launch.actions import DeclareLaunchArgument
    from launch.launch_description_sources import get_launch_description_from_python_launch_file

    from launch import LaunchContext

    description = get_launch_description_from_python_launch_file(str(ROOT / 'launch' / file))
    entities = description.visit(LaunchContext())
    names = {entity.name for entity in entities if isinstance(entity, DeclareLaunchArgument)}
    return names if file == 'segment.launch.py' else names | arguments_of('segment.launch.py')


def table(page: str, pattern: str) -> set[str]:
    """Return what stands in backquotes in the first cells of the rows of a page."""
    return set(re.findall(rf'^\| `({pattern})`', (ROOT / page).read_text(), re.MULTILINE))


PARAMETERS = table('docs/ros_interface.md', r'[\w.]+')
TOPICS = {name.removeprefix('~/NAME/') for name in table('docs/ros_interface.md', r'~/NAME/[^`]+')}
SERVICES = {name.removeprefix('~/') for name in table('docs/ros_interface.md', r'~/[a-z_]+')}


def test_the_node_has_these_parameters_and_topics():
    assert {'prompts', 'min_confidence', 'NAME.image_topic'} <= PARAMETERS
    assert {'labels', 'label_info'} <= TOPICS
    assert sum('param set' in command.text for command in COMMANDS) > 5
    assert sum(NODE + '/camera/' in command.text for command in COMMANDS) > 3
    for command in COMMANDS:
        words = command.words
        if words[:3] == ['ros2', 'param', 'set']:
            node, name, value = words[-3:]
            assert (node, name in PARAMETERS) == (NODE, True), command
            yaml.safe_load(value)
        for word in words:
            if words[:3] == ['ros2', 'service', 'call'] and word.startswith(NODE + '/'):
                assert word.removeprefix(f'{NODE}/') in SERVICES, command
            elif word.startswith(NODE + '/'):
                assert word.removeprefix(f'{NODE}/camera/') in TOPICS, command


def test_parameters_in_files_on_the_pages():
    found = 0
    for block in blocks('yaml'):
        for node in yaml.safe_load(block.text).values():
            own = node['ros__parameters']
            for name in own:
                camera, _, rest = name.partition('.')
                known = f'NAME.{rest}' if camera in own.get('cameras', ['camera']) else name
                assert known in PARAMETERS, f'{block}: {name}'
                found += 1
    assert found >= 5


def test_targets_and_variables_of_make():
    text = (ROOT / 'Makefile').read_text()
    targets = set(re.findall(r'^([a-z-]+):', text, re.MULTILINE))
    settable = set(re.findall(r'^([A-Z_]+) \?=', text, re.MULTILINE))
    for command in of('make'):
        target, *values = command.words[1:]
        assert target in targets, command
        assert {value.split('=')[0] for value in values} <= settable, command


def test_files_and_names_in_other_commands():
    for command in COMMANDS:
        for name in re.findall(r'(?<![\w/~.])((?:docker|scripts|config)/[\w./]+)', command.text):
            assert (ROOT / name).is_file(), command
    assert 'AS check' in (ROOT / 'docker/Dockerfile').read_text()
    assert "'bags'" in (ROOT / 'setup.py').read_text()  # of pip install '.[bags]'
    assert 'segmentation_node' in (ROOT / 'CMakeLists.txt').read_text()  # of ros2 run


# what they do


@pytest.fixture(scope='module')
def demo():
    return Segmenter.load('demo', device='cpu')


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with the files that the pages name."""
    monkeypatch.chdir(tmp_path)
    pixels = np.full((48, 64, 3), 120, np.uint8)
    pixels[:, 20:40] = 200, 30, 30
    for path in ('frame.png', 'door.jpg', 'photos/a.jpg', 'photos/b.png'):
        Path(path).parent.mkdir(exist_ok=True)
        cv2.imwrite(path, pixels)
    depth = np.ones((48, 64), np.float32)
    drive, labelled = [], []
    for second in (0, 6, 8, 14):
        time_ns = bags.START_NS + second * bags.SECOND
        image = bags.image_message(pixels, time_ns)
        drive += [
            ('/camera/image_raw', time_ns, image),
            (DEPTH, time_ns, bags.image_message(depth, time_ns, '32FC1')),
            ('/camera/color/camera_info', time_ns, info_message(time_ns)),
        ]
    for index in range(2):
        time_ns = bags.START_NS + index * bags.SECOND // 10
        labels = bags.image_message(np.zeros((48, 64), np.uint8), time_ns, 'mono8')
        labelled += [('/clip_dinoiser/camera/labels', time_ns, labels)]
        labelled += [('/rgb/image_raw', time_ns, bags.image_message(pixels, time_ns))]
    bags.write(tmp_path / 'drive', drive)
    short = [line for line in drive if line[1] < bags.START_NS + bags.SECOND]
    bags.write_mcap(tmp_path / 'drive.mcap', short)
    bags.write_mcap(tmp_path / 'labelled.mcap', labelled)
    return tmp_path


QUICK = [c for c in COMMANDS if is_run(c) and re.match('clip-dinoiser (bag|image|doctor)', c.text)]


@pytest.mark.parametrize('command', QUICK, ids=str)
def test_a_command_does_what_its_page_says(command, folder, demo, monkeypatch):
    monkeypatch.setattr(arguments, 'load_segmenter', lambda args: demo)
    _, *words = shlex.split(instead(command.text))
    assert cli.main(words) == 0
    for path in written(command):
        assert (folder / path).exists(), path


def written(command: Command) -> list[str]:
    """Return the files that a command is to write."""
    words = command.words
    after = [words[words.index(option) + 1] for option in OUTPUTS if option in words]
    return after + ([words[3]] if words[1] == 'bag' else [])


@pytest.mark.parametrize('block', blocks('python'), ids=str)
def test_python_of_a_page(block, folder, demo, monkeypatch):
    names = {}
    if block.page == 'docs/python.md':
        monkeypatch.setattr(Segmenter, 'load', lambda device: demo)
        names['image'] = cv2.imread('door.jpg')
    elif block.page == 'docs/training.md':
        calls, bind = [], inspect.signature(training.train).bind
        monkeypatch.setattr(weights, 'load_clip', lambda *names: (None, None))
        monkeypatch.setattr(training, 'train', lambda *a, **k: calls.append(bind(*a, **k)))
        names['teacher'] = None
        Path('photos').rename('images')
    elif block.page == 'docs/export.md':
        pytest.skip('test/export runs it')
    elif block.page == 'docs/services.md':
        pytest.skip('test/node/test_services.py runs it')
    exec(compile(block.text, str(block), 'exec'), names)
    if block.page == 'docs/python.md':
        assert names['result'].labels.shape == (48, 64)
    elif block.page == 'docs/recordings.md':
        assert names['labels'].shape == (48, 64)
    elif block.page == 'docs/training.md':
        assert set(calls[0].arguments) >= {'clip', 'teacher', 'recipe', 'running'}


SHELLS = [
    block
    for block in blocks('bash')
    if any(is_run(command) for command in COMMANDS if command.block == block)
]


def script(block: Block) -> str:
    """Return what of a block is run, in a shell that knows the workspace as the page says."""
    lines = [instead(c.text) for c in COMMANDS if c.block == block and is_run(c)]
    if not any('env.sh' in line for line in lines):
        lines.insert(0, f'. {ROOT}/scripts/env.sh')  # "available in a shell that has sourced it"
    return '\n'.join([*lines[:-1], 'exec ' * (' ' in lines[-1][2:]) + lines[-1]])


def fresh_environment(home: Path) -> dict[str, str]:
    """Return the environment of these tests without what `scripts/env.sh` has put into it.

    A workspace of another clone may be on the path as well.
    """
    environment = {**os.environ, 'HOME': str(home), 'PYTHONUNBUFFERED': '1'}
    for name in ('PYTHONSAFEPATH', '_ROS_WHEELS_BOOTSTRAP_COMPLETE'):
        environment.pop(name, None)
    ours = [str(ROOT / 'install'), environment.pop('VIRTUAL_ENV', sys.prefix)]
    known = ('clip-dinoiser', 'clip_dinoiser_ros', 'segmentation_node')
    for name in [name for name in environment if name.endswith('PATH')]:
        entries = environment[name].split(os.pathsep)
        entries = [e for e in entries if not any(e == o or e.startswith(f'{o}/') for o in ours)]
        entries = [e for e in entries if not any(Path(e, one).exists() for one in known)]
        environment[name] = os.pathsep.join(entries)
        if not environment[name]:
            del environment[name]
    return environment


BASH = ['bash', '--noprofile', '--norc', '-e', '-c']


def test_a_fresh_shell_knows_nothing_of_the_workspace(tmp_path):
    environment = fresh_environment(tmp_path)
    for program in ('clip-dinoiser', 'segmentation_node'):
        command = [*BASH, f'command -v {program}']
        assert subprocess.run(command, env=environment, check=False).returncode == 1


@pytest.mark.long
@pytest.mark.parametrize(
    'block', [block for block in SHELLS if 'LOCALHOST' not in block.text], ids=str
)
def test_a_block_in_a_fresh_shell(block, folder):
    if 'export eyes.onnx' in block.text:
        pytest.importorskip('onnxscript', reason='the export needs onnx and onnxscript')
    done = subprocess.run(
        [*BASH, script(block)],
        env=fresh_environment(folder),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert 'Traceback' not in done.stdout


@pytest.mark.long
def test_the_two_shells_of_a_replay(folder, monkeypatch):
    """The node in one shell, the recording in the other."""
    pytest.importorskip('rclpy', reason='no ROS here: nothing can be played')
    sys.path.insert(0, str(ROOT / 'test/node'))
    import harness

    monkeypatch.setattr(harness, 'environment', lambda: fresh_environment(folder))
    node, player = (script(block) for block in SHELLS if 'LOCALHOST' in block.text)
    with harness.Program(*BASH, node) as running, harness.Peer() as peer:
        running.wait_for_log('active; waiting for images on /camera/image_raw')
        peer.listen()
        with harness.Program(*BASH, player) as playing:
            assert playing.process.wait(60) == 0, playing.log
        labels = peer.wait('labels')
        assert (labels.height, labels.width) == (48, 64)
        assert running.end() == 0, running.log
