# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Entry point of the node: start, spin, end."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType

import rclpy
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.signals import SignalHandlerOptions

from clip_dinoiser_ros.core.memory import share_heaps
from clip_dinoiser_ros.core.reasons import one_line
from clip_dinoiser_ros.node.log import forward_log
from clip_dinoiser_ros.node.segmentation_node import STOP_TIMEOUT_S, SegmentationNode

SPIN_PERIOD_S = 0.2  # how late a signal may be noticed
END_TIMEOUT_S = 1.3  # how long a load, a frame or an encoding in work may hold up the end


def main(args: list[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM; return the exit code."""
    stop = threading.Event()
    _stop_on_signals(stop)
    share_heaps()
    node = None
    try:
        # not rclpy's handlers: they know nothing of a load or a frame that takes seconds
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
        node = SegmentationNode()
        forward_log(node.get_logger())
        _run(node, stop)
    except ExternalShutdownException:
        pass
    except (ParameterException, RuntimeError) as error:  # rcl's own errors are RuntimeErrors
        reason = one_line(error)
        rclpy.logging.get_logger('clip_dinoiser').fatal(f'cannot start: {reason}')
        return 1
    finally:
        if node is not None:
            node.stop(STOP_TIMEOUT_S)
            node.destroy_node()
        rclpy.try_shutdown()
        signal.setitimer(signal.ITIMER_REAL, 0)  # Python takes its own handlers away at exit
    return 0


def _stop_on_signals(stop: threading.Event) -> None:
    """Set `stop` on SIGINT and SIGTERM, and end the process anyhow when that is not enough.

    Raising in the handler instead would break off whatever runs just then, in rclpy too.
    """

    def request(_signal: int, _frame: FrameType | None) -> None:
        stop.set()
        signal.setitimer(signal.ITIMER_REAL, END_TIMEOUT_S)

    signal.signal(signal.SIGALRM, lambda *_: os._exit(0))
    signal.signal(signal.SIGINT, request)
    signal.signal(signal.SIGTERM, request)


def _run(node: SegmentationNode, stop: threading.Event) -> None:
    """Bring the node up if it wants to and serve it."""
    if (
        node.get_parameter('autostart').value
        and node.trigger_configure() == TransitionCallbackReturn.SUCCESS
        and not stop.is_set()
    ):
        node.trigger_activate()
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    while rclpy.ok() and not stop.is_set():
        try:
            executor.spin_once(timeout_sec=SPIN_PERIOD_S)
        except ExternalShutdownException:
            raise
        except Exception as error:
            # one malformed request, such as an unknown parameter type, must not end the node
            node.get_logger().error(f'request ignored: {type(error).__name__}: {error}')
