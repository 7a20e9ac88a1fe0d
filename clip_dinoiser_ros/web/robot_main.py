# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""`ros2 run clip_dinoiser_ros web`: the page of a running node."""

from __future__ import annotations

import argparse
import contextlib
import signal
from collections.abc import Sequence

from rclpy.exceptions import NameValidationException
from rclpy.utilities import remove_ros_args

from clip_dinoiser_ros.arguments import say
from clip_dinoiser_ros.core.errors import one_line
from clip_dinoiser_ros.web.robot import NODE, RobotSource
from clip_dinoiser_ros.web.server import add_arguments, serve


def main(argv: Sequence[str]) -> int:
    """Serve the page until SIGINT or SIGTERM; return the exit code.

    Args:
        argv: The command line with the program's name and arguments of ROS.
    """
    parser = argparse.ArgumentParser(
        prog='web', description='A page to watch the cameras of a node and to choose its words.'
    )
    parser.add_argument('--node', default=NODE, metavar='NAME', help='full name (%(default)s)')
    add_arguments(parser)
    args = parser.parse_args(remove_ros_args([*argv])[1:])
    # after the server has ended, uvicorn sends itself the signal that ended it
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt):
        try:
            name = '/' + args.node.strip('/')
            serve(RobotSource(name, argv, can_change=not args.read_only), args)
        except (OSError, ValueError, RuntimeError, NameValidationException) as error:
            say(f'web: {one_line(error)}')
            return 1
    return 0
