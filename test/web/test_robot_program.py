# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""`ros2 run clip_dinoiser_ros web`, as installed: it serves and it ends."""

import signal
import sys
import urllib.request

import pytest

pytest.importorskip('rclpy', reason='no ROS here: the node cannot run')
pytest.importorskip('nicegui', reason='the extra `web` is not installed')

from harness import Program, executable

PROGRAM = executable().with_name('web')
NAMESPACE = ['--ros-args', '-r', '__ns:=/robot1']


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_a_signal(number):
    arguments = ['--node', '/robot1/clip_dinoiser', '--port', '0', *NAMESPACE]
    with Program(sys.executable, PROGRAM, *arguments) as program:
        program.wait_for_log('page: http://127.0.0.1:')
        address = program.lines[-1].removeprefix('page: ')
        with urllib.request.urlopen(address, timeout=30) as page:
            assert 'clip_dinoiser' in page.read().decode()
        assert program.end(number) == 0
        assert 'Traceback' not in program.log


@pytest.mark.parametrize(
    ('arguments', 'reason'),
    [
        (['--node', 'no name'], 'web: Invalid service name'),
        (['--token', 'short'], 'web: the token must have'),
        (['--host', '203.0.113.1'], 'web: '),
    ],
)
def test_what_it_cannot_do_is_one_line(arguments, reason):
    with Program(sys.executable, PROGRAM, *arguments) as program:
        assert program.process.wait(60) == 1
    assert program.lines[-1].startswith(reason)
    assert 'Traceback' not in program.log
