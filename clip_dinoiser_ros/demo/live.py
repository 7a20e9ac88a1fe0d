# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Plays a recorded drive to a real node in its own process and collects what it publishes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clip_dinoiser_ros.bag.recording import Recording
from clip_dinoiser_ros.demo.record import CAMERA_INFO, DEPTH, IMAGE
from clip_dinoiser_ros.frames.outputs import NODE, OUTPUTS

CAMERA = 'camera'
COLLECTED = ('labels', 'confidence', 'frame_info', 'label_info', 'vocabulary')
START_TIMEOUT_S = 60.0
END_TIMEOUT_S = 10.0


class DemoError(ValueError):
    """The demo did not show what it should; the message says what it did show."""


@dataclass(frozen=True, eq=False)
class Received:
    """One message of the node.

    Attributes:
        output: Last part of its topic.
        time_ns: When it arrived, by the wall clock.
        data: CDR.
    """

    output: str
    time_ns: int
    data: bytes


class NodeProcess:
    """The segmentation node, started as on a robot and killed at the end of the `with` block.

    `end` stops it by SIGINT.

    Args:
        params_file: Its parameters.
        domain_id: A ROS domain for this node only; no packet leaves this machine.
        log: File for its output.
    """

    def __init__(self, params_file: Path, domain_id: int, log: Path) -> None:
        from ament_index_python.packages import get_package_prefix

        executable = Path(get_package_prefix('clip_dinoiser_ros')) / 'lib/clip_dinoiser_ros'
        command = [sys.executable, executable / 'segmentation_node', '--ros-args']
        environment = {
            **os.environ,
            'ROS_DOMAIN_ID': str(domain_id),
            'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
        }
        self._log = log
        with log.open('w') as file:
            self._process = subprocess.Popen(
                [*command, '--params-file', params_file],
                stdout=file,
                stderr=subprocess.STDOUT,
                env=environment,
            )

    def check(self) -> None:
        """Raise DemoError with the end of the log if the node has ended."""
        code = self._process.poll()
        if code is not None:
            tail = '\n'.join(self._log.read_text(errors='replace').splitlines()[-5:])
            raise DemoError(f'the node ended with code {code}:\n{tail}')

    def end(self) -> int:
        """Stop the node; return its exit code.

        Raises:
            DemoError: It did not end in time.
        """
        self._process.send_signal(signal.SIGINT)
        try:
            return self._process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            raise DemoError(f'the node did not end within {END_TIMEOUT_S} s') from error

    def __enter__(self) -> NodeProcess:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()


class Listener:
    """Collects the messages of the node, serialized, and sets its parameters.

    Args:
        context: rclpy's, initialised.
    """

    def __init__(self, context: Any) -> None:
        import rclpy
        from rcl_interfaces.srv import SetParameters
        from rclpy.executors import SingleThreadedExecutor

        self.received: list[Received] = []
        self._context = context
        self._node = rclpy.create_node('demo', context=context)
        for output in COLLECTED:
            self._subscribe(output)
        self._client = self._node.create_client(SetParameters, f'/{NODE}/set_parameters')
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _subscribe(self, output: str) -> None:
        from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

        from clip_dinoiser_ros.bag.play import message_class

        latched = OUTPUTS[output].latched
        self._node.create_subscription(
            message_class(OUTPUTS[output].type_name),
            f'/{NODE}/{CAMERA}/{output}',
            lambda data: self.received.append(Received(output, time.time_ns(), data)),
            QoSProfile(
                depth=50,
                reliability=ReliabilityPolicy.RELIABLE,
                durability=DurabilityPolicy.TRANSIENT_LOCAL
                if latched
                else DurabilityPolicy.VOLATILE,
            ),
            raw=True,
        )

    def _spin(self) -> None:
        from rclpy.executors import ExternalShutdownException

        while self._context.ok():
            try:
                self._executor.spin_once(timeout_sec=0.1)
            except ExternalShutdownException:
                return

    def count(self, output: str) -> int:
        """Return how many messages of an output have arrived."""
        return sum(message.output == output for message in self.received)

    def wait(self, output: str, count: int, node: NodeProcess, timeout_s: float) -> bool:
        """Wait until `count` messages of an output have arrived; return whether they did."""
        deadline = time.monotonic() + timeout_s
        while self.count(output) < count:
            node.check()
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    def set_prompts(self, prompts: Sequence[str]) -> None:
        """Set the prompts by the parameter service, as `ros2 param set` does."""
        from rcl_interfaces.srv import SetParameters
        from rclpy.parameter import Parameter

        if not self._client.wait_for_service(START_TIMEOUT_S):
            raise DemoError('the node has no parameter service')
        parameter = Parameter('prompts', value=list(prompts)).to_parameter_msg()
        done = threading.Event()
        future = self._client.call_async(SetParameters.Request(parameters=[parameter]))
        future.add_done_callback(lambda _: done.set())
        if not done.wait(START_TIMEOUT_S):
            raise DemoError('the node did not answer when its prompts were set')
        result = future.result().results[0]
        if not result.successful:
            raise DemoError(f'the node refused the prompts: {result.reason}')

    def close(self) -> None:
        """End the thread; the context must be shut down first."""
        self._thread.join()
        self._executor.shutdown()


def segment_live(
    drive: Path, params_file: Path, prompts_after: Sequence[str], log: Path
) -> list[Received]:
    """Play a drive to a node in real time, change its prompts half way, collect its outputs.

    Args:
        drive: Bag written by `write_drive`.
        params_file: Parameters of the node.
        prompts_after: For the second half.
        log: File for the output of the node.

    Raises:
        DemoError: The node did not come up, refused the prompts, or did not end well.
    """
    import rclpy
    from rclpy.signals import SignalHandlerOptions

    domain_id = int(os.environ.get('ROS_DOMAIN_ID') or 10 + os.getpid() % 90)
    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    context = rclpy.Context()
    rclpy.init(
        args=[],
        context=context,
        domain_id=domain_id,
        signal_handler_options=SignalHandlerOptions.NO,
    )
    listener = Listener(context)
    try:
        with NodeProcess(params_file, domain_id, log) as node, Recording(drive) as recording:
            if not listener.wait('vocabulary', 1, node, START_TIMEOUT_S):
                raise DemoError(f'the node did not start within {START_TIMEOUT_S} s; see {log}')
            _play(context, recording, listener, node, prompts_after)
            code = node.end()
            if code != 0:
                raise DemoError(f'the node ended with code {code}; see {log}')
        return list(listener.received)
    finally:
        context.try_shutdown()
        listener.close()


def _play(
    context: Any,
    recording: Recording,
    listener: Listener,
    node: NodeProcess,
    prompts_after: Sequence[str],
) -> None:
    """Play the recording in real time in a separate thread; set the prompts half way."""
    from clip_dinoiser_ros.bag.play import Player

    player = Player(context, recording, [IMAGE, DEPTH, CAMERA_INFO], clock=False)
    thread = threading.Thread(target=player.play, args=(1.0, False, 2.0), daemon=True)
    thread.start()
    if not listener.wait('labels', 1, node, START_TIMEOUT_S):
        raise DemoError('nothing was segmented')
    time.sleep((recording.end_ns - recording.start_ns) * 0.5e-9)
    listener.set_prompts(prompts_after)
    while thread.is_alive():
        node.check()
        thread.join(0.1)
    settled = -1
    while listener.count('frame_info') != settled:  # frames that are still being processed
        settled = listener.count('frame_info')
        time.sleep(1.0)
