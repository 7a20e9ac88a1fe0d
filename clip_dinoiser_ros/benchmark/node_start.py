# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Time from the start of the node's process to the first label image over DDS.

Run as a module, it is that process: a node that prints each step it reaches.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

MODULE = 'clip_dinoiser_ros.benchmark.node_start'
SIZE = (480, 640)  # (H, W) of the images
PERIOD_S = 0.01  # seconds between images; short, so that little of the time is waiting
TIMEOUT_S = 600.0
END_TIMEOUT_S = 30.0

# steps and what is done when each is reached; the last two are observed from outside
STEPS = {
    'imports': 'Python has started; this package, torch and rclpy are imported',
    'rclpy': 'DDS runs',
    'node': 'the node exists and its parameters are declared',
    'model': 'the weights are loaded',
    'configure': 'prompts are encoded, the device is warmed up, the publishers exist',
    'activate': 'the subscriptions exist',
    'frame': 'the first image that the node used is published',
    'labels': 'its labels have arrived',
}


def measure_node_start(parameters: Mapping[str, Any], cpu_time: bool = False) -> dict[str, float]:
    """Start the node beside a running camera, and wait for its first label image.

    Args:
        parameters: Parameters of the node.
        cpu_time: Measure CPU time of all threads of the node instead of elapsed time.

    Returns:
        Seconds from the start of the process until each of `STEPS`.

    Raises:
        ValueError: The node ended, or sent nothing in ten minutes. The message has its log.
        ImportError: ROS is not available.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file, log = folder / 'parameters.yaml', folder / 'log'
        given = {'state_file': '', **parameters}
        file.write_text(json.dumps({'/**': {'ros__parameters': given}}))  # JSON is valid YAML
        with _Camera(f'/start_{os.getpid()}') as camera, log.open('w') as output:
            command = [sys.executable, '-m', MODULE, '--ros-args', '--params-file', str(file)]
            command += ['-r', f'__ns:={camera.namespace}']
            start = time.monotonic()
            process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
            try:
                frame_s = camera.wait_for_labels(process)
                end_s, cpu_s = time.monotonic(), _cpu_seconds(process.pid)
            except ValueError as error:
                raise ValueError(f'{error}: {log.read_text().strip()[-500:]}') from error
            finally:
                process.terminate()
                process.wait(END_TIMEOUT_S)
        lines = [line.split() for line in log.read_text().splitlines()]
    reached = {words[1]: words[2:] for words in lines if words[:1] == ['reached']}
    if cpu_time:
        return {**{step: float(cpu) for step, (_, cpu) in reached.items()}, 'labels': cpu_s}
    clock = {step: float(clock) - start for step, (clock, _) in reached.items()}
    return {**clock, 'frame': frame_s - start, 'labels': end_s - start}


class _Camera:
    """Publishes images and receives labels; a ROS node in its own context."""

    def __init__(self, namespace: str) -> None:
        import rclpy
        from rclpy.executors import SingleThreadedExecutor
        from sensor_msgs.msg import Image
        from std_msgs.msg import Header

        from clip_dinoiser_ros.frames import images

        self.namespace = namespace
        self._context = rclpy.Context()
        rclpy.init(args=[], context=self._context)
        self._node = rclpy.create_node('camera', namespace=namespace, context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._publisher = self._node.create_publisher(Image, 'camera/image_raw', 1)
        self._answers: list[Any] = []
        self._node.create_subscription(
            Image, 'clip_dinoiser/camera/labels', self._answers.append, 1
        )
        black = np.zeros((*SIZE, 3), np.uint8)
        self._image = images.to_message(black, 'rgb8', Header(frame_id='camera'), Image)

    def __enter__(self) -> _Camera:
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown()
        self._node.destroy_node()
        self._context.try_shutdown()

    def wait_for_labels(self, process: subprocess.Popen[bytes]) -> float:
        """Send images until labels arrive; return when the image of these labels was sent."""
        sent_s: list[float] = []
        deadline = time.monotonic() + TIMEOUT_S
        while not self._answers:
            if process.poll() is not None:
                raise ValueError(f'the node ended with exit code {process.returncode}')
            if time.monotonic() > deadline:
                raise ValueError(f'the node sent no labels within {TIMEOUT_S:.0f} s')
            self._image.header.stamp.sec = len(sent_s)
            sent_s.append(time.monotonic())
            self._publisher.publish(self._image)
            self._executor.spin_once(timeout_sec=PERIOD_S)
        return sent_s[self._answers[0].header.stamp.sec]


def _cpu_seconds(pid: int) -> float:
    """Return the CPU time of a running process, all threads together."""
    fields = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def _reached(step: str) -> None:
    print('reached', step, time.monotonic(), time.process_time(), flush=True)  # noqa: T201


def main() -> int:
    """Run the node and print each step reached."""
    from clip_dinoiser_ros.core import Segmenter
    from clip_dinoiser_ros.node import main as program

    init, load = program.rclpy.init, Segmenter.load

    def timed_init(**arguments: Any) -> None:
        init(**arguments)
        _reached('rclpy')

    def timed_load(*arguments: Any, **options: Any) -> Segmenter:
        segmenter = load(*arguments, **options)
        _reached('model')
        return segmenter

    class Timed(program.SegmentationNode):
        def __init__(self) -> None:
            super().__init__()
            _reached('node')

        def trigger_configure(self) -> Any:
            return self._succeeded('configure', super().trigger_configure())

        def trigger_activate(self) -> Any:
            return self._succeeded('activate', super().trigger_activate())

        def _succeeded(self, step: str, result: Any) -> Any:
            if result != program.TransitionCallbackReturn.SUCCESS:
                raise RuntimeError(f'{step} failed')  # ends the node with exit code 1
            _reached(step)
            return result

    _reached('imports')
    program.rclpy.init, program.SegmentationNode, Segmenter.load = timed_init, Timed, timed_load
    code = program.main()
    sys.stdout.flush()
    os._exit(code)  # as the installed program does


if __name__ == '__main__':
    main()
