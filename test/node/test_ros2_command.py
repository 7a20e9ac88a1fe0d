# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The node as users start and steer it: `ros2 launch`, `ros2 param`, `ros2 run`.

The wheels have no `ros2` command, a ROS installation has: without one these tests are skipped.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from golden_data import golden
from harness import NAME, Peer, Program, array

from clip_dinoiser_ros.bag.recording import Recording
from clip_dinoiser_ros.demo.record import START_NS, write_drive
from clip_dinoiser_ros.world.drives import demo_drive

TIMEOUT_S = 60.0
DEMO = Path(__file__).parents[2] / 'config' / 'demo.yaml'


class Ros2Process(Program):
    """`ros2 ...` and whatever it starts: a process group, which ends with the `with` block."""

    def __init__(self, *arguments: str) -> None:
        super().__init__('ros2', *arguments, start_new_session=True)

    def __exit__(self, *error) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        super().__exit__(*error)

    def ctrl_c(self) -> int:
        """Interrupt the whole group, as a terminal does; return the exit code."""
        os.killpg(self.process.pid, signal.SIGINT)
        code = self.process.wait(TIMEOUT_S)
        self._reader.join(TIMEOUT_S)
        return code

    def is_gone(self) -> bool:
        """Whether no process of the group is left."""
        deadline = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline:
            try:
                os.killpg(self.process.pid, 0)
            except ProcessLookupError:
                return True
            time.sleep(0.05)
        return False


def ros2(*arguments: str) -> str:
    """Run a `ros2` command to its end; return what it prints."""
    with Ros2Process(*arguments) as process:
        process.process.wait(TIMEOUT_S)
        process._reader.join(TIMEOUT_S)
        return process.log


def set_parameter(name: str, value: str) -> str:
    # without the daemon, which would outlive the tests
    return ros2('param', 'set', '--no-daemon', '--timeout', '30', NAME, name, value)


@pytest.fixture(scope='module', autouse=True)
def _command():
    if shutil.which('ros2') is None:
        pytest.skip('there is no ros2 command here')
    for verb in ('launch', 'param', 'run'):
        command = ['ros2', verb, '--help']
        if subprocess.run(command, capture_output=True, timeout=TIMEOUT_S).returncode:
            pytest.skip(f'there is no ros2 command here that knows {verb}')


def file_of(folder: Path, parameters: dict) -> Path:
    """Write a parameter file under the key that those in config/ have; the node keeps no state."""
    parameters = {'state_file': '', **parameters}
    path = folder / 'parameters.yaml'
    path.write_text(yaml.safe_dump({'/**/clip_dinoiser': {'ros__parameters': parameters}}))
    return path


def launch(**arguments: object) -> Ros2Process:
    words = [f'{name}:={value}' for name, value in arguments.items()]
    return Ros2Process('launch', 'clip_dinoiser_ros', 'segment.launch.py', *words)


def check_golden_labels(peer: Peer, topic: str) -> None:
    expected = golden('image_170x215_background')
    for index in range(60):  # the first can come before the node has heard of its sender
        peer.send(expected['image'], index, topic)
        with suppress(AssertionError):
            peer.until(lambda: peer.messages('labels'), timeout_s=1.0)
            break
    labels = array(peer.wait('labels'))
    assert (labels == expected['labels']).mean() >= 0.9999


def check_clean_end(process: Ros2Process, code: int) -> None:
    assert code == 0, process.log
    assert process.is_gone(), process.log
    assert 'Traceback' not in process.log


def test_launch_and_param(parameters, golden_prompts, tmp_path):
    file = file_of(tmp_path, {**parameters, 'prompts': ['what the file says']})
    prompts = ' , '.join(golden_prompts)  # an argument wins over the file
    with Peer() as peer, launch(params_file=file, prompts=prompts, image_topic='/lens') as process:
        process.wait_for_log('active; waiting for images on /lens')
        peer.listen()
        check_golden_labels(peer, '/lens')

        assert 'Set parameter successful' in set_parameter('prompts', "['background', 'red ball']")
        vocabulary = peer.wait(f'{NAME}/camera/vocabulary', lambda m: m.version == 2)
        assert vocabulary.names == ['background', 'red ball']

        assert 'Set parameter successful' in set_parameter('max_rate', '5')
        assert peer.get('max_rate') == [5.0]
        told = set_parameter('prompts', 'a red, round ball')
        assert "Set parameter successful: prompts: one string is a list of one, ['a red, " in told
        assert 'Set parameter successful' in set_parameter('negative_prompts', '[]')
        set_parameter('prompts', "['background', 'red ball']")

        refused = set_parameter('prompts', "['dog', 'dog']")
        assert "Setting parameter failed: 'dog' is given twice" in refused
        assert peer.get('prompts') == [['background', 'red ball']]

        check_clean_end(process, process.end(signal.SIGINT, TIMEOUT_S))
        assert 'process has finished cleanly' in process.log


def test_launch_brings_a_dead_node_back(parameters, golden_prompts, tmp_path):
    """kill -9 while a consumer listens: it gets the vocabulary again, and labels."""
    file = file_of(tmp_path, {**parameters, 'prompts': golden_prompts})
    with Peer() as peer, launch(params_file=file, image_topic='/lens') as process:
        process.wait_for_log('active; waiting for images on /lens')
        peer.listen()
        check_golden_labels(peer, '/lens')
        peer.received.clear()
        os.kill(node_pid(process), signal.SIGKILL)
        process.wait_for_log('active; waiting for images on /lens', count=2)
        assert peer.wait('vocabulary').names == golden_prompts
        check_golden_labels(peer, '/lens')
        check_clean_end(process, process.end(signal.SIGINT, TIMEOUT_S))


def node_pid(process: Ros2Process) -> int:
    """The node among the processes of a launch."""
    for path in Path('/proc').glob('[0-9]*/cmdline'):
        pid = int(path.parent.name)
        with suppress(OSError):
            ours = os.getpgid(pid) == process.process.pid
            if ours and b'lib/clip_dinoiser_ros/segmentation_node' in path.read_bytes():
                return pid
    raise AssertionError(process.log)


def test_launch_leaves_alone_what_the_file_says(parameters, tmp_path):
    file = file_of(tmp_path, {**parameters, 'autostart': False, 'use_sim_time': True})
    with Peer() as peer, launch(params_file=file) as process:
        process.wait_for_log('process started')
        assert peer.state() == 'unconfigured'
        assert peer.get('use_sim_time') == [True]
        check_clean_end(process, process.end(signal.SIGINT, TIMEOUT_S))


def test_launch_with_a_camera_that_sends_jpeg(parameters, tmp_path):
    file = file_of(tmp_path, parameters)
    with launch(params_file=file, transport='compressed', image_topic='/lens') as process:
        process.wait_for_log('active; waiting for images on /lens/compressed')
        check_clean_end(process, process.end(signal.SIGINT, TIMEOUT_S))


def test_launch_in_a_namespace(parameters, tmp_path):
    file = file_of(tmp_path, {**parameters, 'autostart': False})
    arguments = {'namespace': '/robot1/arm', 'autostart': 'true', 'log_level': 'error'}
    with Peer() as peer, launch(params_file=file, **arguments) as process:
        topic = f'/robot1/arm{NAME}/camera/labels'
        peer.until(lambda: peer.node.count_publishers(topic))
        check_clean_end(process, process.end(signal.SIGINT, TIMEOUT_S))
        assert 'robot1.arm.clip_dinoiser' not in process.log  # which says more at info


@pytest.mark.parametrize(
    ('argument', 'text'),
    [
        ({'params_file': '/no/such.yaml'}, "params_file: there is no file '/no/such.yaml'"),
        ({'autostart': 'maybe'}, 'provided value "maybe" is not valid'),
        ({'transport': 'jpeg'}, 'provided value "jpeg" is not valid'),
        ({'log_level': 'loud'}, 'provided value "loud" is not valid'),
    ],
)
def test_launch_refuses_nonsense_before_it_starts_anything(argument, text):
    with launch(**argument) as process:
        assert process.process.wait(TIMEOUT_S) == 1
        process.wait_for_log(text)
        assert 'process started' not in process.log


def test_run(parameters, tmp_path):
    arguments = ('--ros-args', '--params-file', str(file_of(tmp_path, parameters)))
    command = ('run', 'clip_dinoiser_ros', 'segmentation_node', *arguments)
    with Peer() as peer, Ros2Process(*command) as process:
        process.wait_for_log('active; waiting for images')
        peer.listen()
        check_golden_labels(peer, '/camera/image_raw')
        check_clean_end(process, process.ctrl_c())


def test_replay(tmp_path):
    command = ['ros2', 'bag', 'play', '--help']
    if subprocess.run(command, capture_output=True, timeout=TIMEOUT_S).returncode:
        pytest.skip('there is no ros2 command here that knows bag play')
    count = write_drive(tmp_path / 'drive.mcap', demo_drive(seconds=3.0, rate_hz=4.0))
    arguments = {'bag': tmp_path / 'drive.mcap', 'params_file': DEMO}
    words = [f'{name}:={value}' for name, value in arguments.items()]
    with Ros2Process('launch', 'clip_dinoiser_ros', 'replay.launch.py', *words) as process:
        process.process.wait(3 * TIMEOUT_S)
        process.wait_for_log('the recording is over')
        assert process.is_gone(), process.log
    with Recording(tmp_path / 'drive_labelled') as recording:
        messages = list(recording.messages())
    times: dict[str, list[int]] = {}
    for message in messages:
        times.setdefault(message.topic.name.rsplit('/')[-1], []).append(message.time_ns)
    assert len(times['label_info']) == len(times['vocabulary']) == 1
    assert 1 <= len(times['labels']) <= count
    assert len(times['labels']) == len(times['confidence']) == len(times['frame_info'])
    assert min(times['labels']) >= START_NS  # by the clock of the recording
    assert max(times['labels']) < START_NS + 60 * 10**9
