# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Entry point of the node."""

from __future__ import annotations

import gc
import math
import os
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType

import rclpy
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.signals import SignalHandlerOptions

from clip_dinoiser_ros.core.errors import one_line
from clip_dinoiser_ros.core.memory import share_heaps
from clip_dinoiser_ros.node.log import forward_log
from clip_dinoiser_ros.node.parameters import ParameterError
from clip_dinoiser_ros.node.rclpy_internals import current_state
from clip_dinoiser_ros.node.run_marker import STEADY_S, restart_delay_s
from clip_dinoiser_ros.node.segmentation_node import STOP_TIMEOUT_S, SegmentationNode

SPIN_PERIOD_S = 0.2  # delay until a signal is noticed
END_TIMEOUT_S = 1.3  # how long loading, a frame or prompts may delay the end


def main(args: list[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM; return the exit code."""
    stop = threading.Event()
    node: SegmentationNode | None = None

    def end() -> None:
        if node is not None:
            node.kept.end_cleanly()

    _stop_on_signals(stop, end)
    share_heaps()
    try:
        # not the handlers of rclpy, which do not wait for loading or for a frame
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
        node = SegmentationNode()
        forward_log(node.get_logger())
        _run(node, stop)
        end()
    except ExternalShutdownException:
        end()
    except (ParameterException, ParameterError, RuntimeError) as error:  # rcl raises RuntimeErrors
        reason = one_line(error)
        rclpy.logging.get_logger('clip_dinoiser').fatal(f'cannot start: {reason}')
        return 1
    finally:
        if node is not None and node.stop(STOP_TIMEOUT_S):
            node.destroy_node()
            node = None
        rclpy.try_shutdown()
        gc.collect()  # DDS deletes its shared memory only when nothing of the node is left
        signal.setitimer(signal.ITIMER_REAL, 0)  # Python removes its own handlers at exit
    return 0


def _stop_on_signals(stop: threading.Event, end: Callable[[], None]) -> None:
    """Set `stop` on SIGINT and SIGTERM, and end the process if that does not suffice.

    An exception in the handler would interrupt any code, including rclpy.

    Args:
        stop: The event to set.
        end: Called before the process is ended.
    """

    def request(_signal: int, _frame: FrameType | None) -> None:
        stop.set()
        signal.setitimer(signal.ITIMER_REAL, END_TIMEOUT_S)

    def end_anyhow(_signal: int, _frame: FrameType | None) -> None:
        try:
            end()
        finally:
            os._exit(0)

    signal.signal(signal.SIGALRM, end_anyhow)
    signal.signal(signal.SIGINT, request)
    signal.signal(signal.SIGTERM, request)


def _run(node: SegmentationNode, stop: threading.Event) -> None:
    """Start the node, configure it if `autostart` is set, and serve it."""
    with SingleThreadedExecutor() as executor:
        executor.add_node(node)
        if node.get_parameter('autostart').value:
            _wait_after_failures(node, executor, stop)
            if (
                not stop.is_set()
                and current_state(node) == 'unconfigured'
                and node.trigger_configure() == TransitionCallbackReturn.SUCCESS
                and not stop.is_set()
            ):
                node.trigger_activate()
        _serve(node, executor, stop, STEADY_S)
        node.kept.last()
        _serve(node, executor, stop)


def _wait_after_failures(
    node: SegmentationNode, executor: SingleThreadedExecutor, stop: threading.Event
) -> None:
    """Wait longer the more runs have failed; configuring the node by hand ends the wait."""
    failures = node.kept.unclean_ends
    delay_s = restart_delay_s(failures)
    if failures:
        node.get_logger().warning(
            f'the last run did not end cleanly ({failures} in a row); '
            f'the node will be configured in {delay_s:g} s'
        )
    _serve(node, executor, stop, delay_s, lambda: current_state(node) != 'unconfigured')


def _serve(
    node: SegmentationNode,
    executor: SingleThreadedExecutor,
    stop: threading.Event,
    time_s: float = math.inf,
    until: Callable[[], bool] = lambda: False,
) -> None:
    """Serve the node until `stop` is set, a timeout expires or a condition holds."""
    end_s = time.monotonic() + time_s
    while rclpy.ok() and not stop.is_set() and time.monotonic() < end_s and not until():
        try:
            executor.spin_once(timeout_sec=SPIN_PERIOD_S)
        except ExternalShutdownException:
            raise
        except Exception as error:
            # one malformed request, such as an unknown parameter type, must not end the node
            node.get_logger().error(f'request ignored: {type(error).__name__}: {error}')
