"""Entry point of the node: start, spin, end."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

import rclpy
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.signals import SignalHandlerOptions

from clip_dinoiser_ros.node.segmentation_node import SegmentationNode

SPIN_PERIOD_S = 0.2  # how late a signal may be noticed
STOP_TIMEOUT_S = 1.0  # how long a frame in work may hold up the end


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main(args: list[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM; return the exit code."""
    # our own handlers: rclpy's would let a load of several seconds run to its end first
    signal.signal(signal.SIGINT, _interrupt)
    signal.signal(signal.SIGTERM, _interrupt)
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    node = None
    try:
        node = SegmentationNode()
        _run(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        return 0
    except ParameterException as error:
        rclpy.logging.get_logger('clip_dinoiser').fatal(f'cannot start: {error}')
        return 1
    finally:
        # a second signal must not interrupt the end
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        stopped = node is None or node.stop(STOP_TIMEOUT_S)
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()
        if not stopped:
            # a thread inside the model cannot be ended, and Python would wait for it
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(0)


def _run(node: SegmentationNode) -> None:
    """Bring the node up if it wants to and serve it."""
    if (
        node.get_parameter('autostart').value
        and node.trigger_configure() == TransitionCallbackReturn.SUCCESS
    ):
        node.trigger_activate()
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    while rclpy.ok():
        try:
            executor.spin_once(timeout_sec=SPIN_PERIOD_S)
        except ExternalShutdownException:
            raise
        except Exception as error:
            # one malformed request, such as an unknown parameter type, must not end the node
            node.get_logger().error(f'request ignored: {type(error).__name__}: {error}')
