# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The node in a process of its own, and a peer that talks to it over DDS on loopback."""

from __future__ import annotations

import contextlib
import itertools
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import ros_domain

os.environ['ROS_DOMAIN_ID'] = str(ros_domain.claim())
os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'

import numpy as np
import rclpy
import yaml
from builtin_interfaces.msg import Time
from clip_dinoiser_ros.msg import FrameInfo, Vocabulary
from forked_node import ForkedNode
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import DescribeParameters, GetParameters, SetParameters
from rclpy.exceptions import InvalidHandle
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.parameter import Parameter, parameter_value_to_python
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header
from vision_msgs.msg import LabelInfo

from clip_dinoiser_ros.frames import compressed, images
from clip_dinoiser_ros.frames.class_slugs import class_slug
from clip_dinoiser_ros.frames.outputs import CLASS_OUTPUTS
from clip_dinoiser_ros.node.services import SERVICES as ASKED

NAME = '/clip_dinoiser'
TRANSITIONS = {
    'configure': (1, 'inactive'),
    'cleanup': (2, 'unconfigured'),
    'activate': (3, 'active'),
    'deactivate': (4, 'inactive'),
}
SERVICES = {
    'get_state': GetState,
    'change_state': ChangeState,
    'get_parameters': GetParameters,
    'set_parameters': SetParameters,
}
STATELESS = ('-p', "state_file:=''")  # class ids begin at 0, nothing is kept
RETRY_S = 5.0
PROBE_S = 0.1
LOST_S = 15.0
RCLError = rclpy_implementation.RCLError
WAIT_S = 60.0  # for what must come; only a failing test waits so long
LATCHED = QoSProfile(
    depth=10,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
RELIABLE = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
BEST_EFFORT = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)


def executable() -> Path:
    """The installed node, as `ros2 run` would find it."""
    for prefix in os.environ['AMENT_PREFIX_PATH'].split(os.pathsep):
        path = Path(prefix) / 'lib/clip_dinoiser_ros/segmentation_node'
        if path.exists():
            return path
    raise FileNotFoundError('segmentation_node is not installed; run make setup')


def environment() -> dict[str, str]:
    """That of this process, for a log as plain lines, at once."""
    return {**os.environ, 'RCUTILS_COLORIZED_OUTPUT': '0', 'PYTHONUNBUFFERED': '1'}


def ros_arguments(parameters: dict, folder: Path, arguments: list[str] | None) -> list[str]:
    """The arguments of a node, its parameters in a file of the folder; it keeps no state."""
    path = folder / 'parameters.yaml'
    parameters = {'state_file': '', **parameters}
    path.write_text(yaml.safe_dump({'/**': {'ros__parameters': parameters}}))
    return ['--ros-args', '--params-file', str(path), *(arguments or [])]


class LoggedProcess:
    """A process whose output is kept, line by line; it ends with the `with` block."""

    def __init__(self, process: subprocess.Popen | ForkedNode) -> None:
        self.process = process
        self.lines: list[str] = []
        self._new = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._new:
                self.lines.append(line.rstrip())
                self._new.notify_all()

    def __enter__(self) -> LoggedProcess:
        return self

    def __exit__(self, error: type[BaseException] | None, *_) -> None:
        ended_with = self.process.poll()
        if ended_with is None:  # killed, it would leave its shared memory behind
            with contextlib.suppress(subprocess.TimeoutExpired, TimeoutError):
                self.end(signal.SIGTERM)
        self.process.kill()
        self.process.wait()
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()
        if error is not None:  # pytest shows it with the test that failed
            sys.stdout.write(f'exit code of the node so far: {ended_with}; its log:\n{self.log}\n')

    @property
    def log(self) -> str:
        return '\n'.join(self.lines)

    def wait_for_log(self, text: str, count: int = 1) -> None:
        """Wait until `text` stands in so many lines of the log."""

        def there() -> bool:
            return sum(text in line for line in self.lines) >= count

        with self._new:
            deadline = time.monotonic() + WAIT_S
            while not there():
                ended = self.process.poll() is not None
                if time.monotonic() > deadline or (ended and not self._reader.is_alive()):
                    raise AssertionError(f'{text!r} is not in the log:\n{self.log}')
                self._new.wait(0.2)

    def end(self, number: int = signal.SIGINT, timeout_s: float = WAIT_S) -> int:
        """Send a signal, return the exit code."""
        self.process.send_signal(number)
        code = self.process.wait(timeout_s)
        self._reader.join(timeout_s)
        return code


class NodeProcess(LoggedProcess):
    """The node with parameters from a file, in a process that has its imports done already.

    `prepare` is called there before the node starts.
    """

    def __init__(
        self,
        parameters: dict,
        folder: Path,
        arguments: list[str] | None = None,
        prepare: Callable[[], None] | None = None,
    ) -> None:
        words = ros_arguments(parameters, folder, arguments)
        super().__init__(ForkedNode(['segmentation_node', *words], environment(), prepare))


class Program(LoggedProcess):
    """A program from its start on; its output comes as lines."""

    def __init__(self, *command: str | Path, **kwargs) -> None:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors='replace',
            env=environment(),
            **kwargs,
        )
        super().__init__(process)


class InstalledNode(Program):
    """The node with parameters from a file as users start it; some seconds slower."""

    def __init__(
        self,
        parameters: dict,
        folder: Path,
        arguments: list[str] | None = None,
        program: Path | None = None,
    ) -> None:
        words = ros_arguments(parameters, folder, arguments)
        super().__init__(sys.executable, program or executable(), *words)


@contextlib.contextmanager
def ticking(act, period_s: float):
    """Call `act` with 1, 2, ... in a thread of its own, so many seconds apart, for a while."""
    stop = threading.Event()

    def tick():
        for index in itertools.count(1):
            if stop.wait(period_s):
                return
            act(index)

    thread = threading.Thread(target=tick)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@contextlib.contextmanager
def spinning(node):
    """Serve a node of this process in a thread for a while; yields its executor."""
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        with ticking(lambda _: executor.spin_once(timeout_sec=0.05), 0.0):
            yield executor
    finally:
        executor.shutdown()


def every_vocabulary(camera: str) -> dict[str, int]:
    """Parameters with which a vocabulary that is soon replaced arrives nevertheless.

    Only the newest is kept otherwise: one that was lost on its way is not sent again then.
    """
    return {f'qos_overrides.{NAME}/{camera}/vocabulary.publisher.depth': 10}


def numbered_frame(image, index: int, encoding: str = 'rgb8') -> Image:
    """Make a message whose stamp is `index` seconds."""
    header = Header(stamp=Time(sec=index, nanosec=123456789), frame_id=f'lens_{index}')
    return images.to_message(image, encoding, header, Image)


def small_frame(message_type: type) -> Image | CompressedImage:
    """Make a black image of a type that the node subscribes to."""
    picture = np.zeros((64, 64, 3), np.uint8)
    if message_type is CompressedImage:
        return CompressedImage(data=bytes(compressed.encode_jpeg(picture)))
    return images.to_message(picture, 'rgb8', Header(), Image)


class Peer:
    """A ROS node in this process: publishes images, keeps what comes back, in order."""

    def __init__(self) -> None:
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.node = rclpy.create_node('peer', context=self.context, enable_rosout=False)
        self.received: list[tuple[str, object]] = []  # (topic, message), by arrival
        self._new = threading.Condition()
        self._publishers: dict[str, object] = {}
        self.probes_sent = 0
        self.probes_back: list[str] = []  # frame ids
        # from the start on: to a client that the node has not found yet it cannot answer
        self._clients = {
            f'{NAME}/{service}': self.node.create_client(service_type, f'{NAME}/{service}')
            for service, service_type in SERVICES.items()
        }
        self._heard: list = []  # subscriptions of `hear`
        self._flushes = itertools.count(10**6)  # stamps that no test sends
        self._again: Peer | None = None
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _spin(self) -> None:
        while self.context.ok():
            try:
                self._executor.spin_once(timeout_sec=0.1)
            except ExternalShutdownException:
                return
            except InvalidHandle:  # destroyed by a test when the executor was about to wait for it
                pass
            except RCLError:  # closed when it was about to wait
                if self.context.ok():
                    raise

    def close(self) -> None:
        if self._again is not None:
            self._again.close()
        self.context.try_shutdown()
        self._thread.join()
        self._executor.shutdown()
        self.node.destroy_node()

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def listen(self, camera: str = 'camera', *, overlay: bool = False, qos=RELIABLE) -> None:
        """Subscribe to all outputs of a camera and wait until they are matched."""
        topics = {
            'labels': (Image, qos),
            'confidence': (Image, qos),
            'frame_info': (FrameInfo, RELIABLE),
            'label_info': (LabelInfo, LATCHED),
            'vocabulary': (Vocabulary, LATCHED),
        }
        if overlay:
            topics['overlay'] = (Image, qos)
        names = []
        for output, (message_type, profile) in topics.items():
            topic = f'{NAME}/{camera}/{output}'
            self.node.create_subscription(
                message_type, topic, lambda message, t=topic: self._keep(t, message), profile
            )
            names.append(topic)
        self.until(lambda: all(self.node.count_publishers(name) for name in names))
        self.wait(f'{NAME}/{camera}/vocabulary')  # latched: proves that the reader is matched

    def forget(self) -> None:
        """Be as after `listen`: of all that came, only what is newest and latched is left."""
        while self._heard:
            self.node.destroy_subscription(self._heard.pop())
        topic, publisher = next(iter(self._publishers.items()), ('/camera/image_raw', None))
        index = next(self._flushes)  # of a frame that comes after all that is on its way
        message = small_frame(publisher.msg_type if publisher else Image)
        message.header.stamp.sec = index
        self.send_message(message, topic)
        for output in ('labels', 'confidence'):
            self.of_frame(output, index)
        version = self.of_frame('frame_info', index).vocabulary_version
        self.wait(f'{NAME}/camera/vocabulary', lambda m: m.version == version)
        with self._new:
            newest = {
                topic: message
                for topic, message in self.received
                if topic.endswith(('/vocabulary', '/label_info'))
            }
            self.received = list(newest.items())

    def hear(self, output: str, message_type: type = Image, camera: str = 'camera') -> object:
        """Subscribe to one output of a camera; the node may learn of it only frames later."""
        topic = f'{NAME}/{camera}/{output}'
        subscription = self.node.create_subscription(
            message_type, topic, lambda message: self._keep(topic, message), RELIABLE
        )
        self._heard.append(subscription)
        return subscription

    def hear_classes(self, *names: str) -> list[str]:
        """Subscribe to mask and confidence of classes; return the outputs."""
        outputs = [output for name in names for output in class_topics(name)]
        for output in outputs:
            self.hear(output)
        return outputs

    def send_until(self, image, index: int, *outputs: str) -> list:
        """Send an image, with stamps from `index` on, until all outputs of one frame came back."""
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            self.send(image, index)
            with contextlib.suppress(AssertionError):
                self.until(lambda i=index: all(i in self.stamps(o) for o in outputs), 2.0)
                return [self.of_frame(output, index) for output in outputs]
            index += 1
        raise AssertionError(f'never all of {outputs}')

    def stamps(self, output: str) -> list[int]:
        """The frames of which an output came, by their index (see `send`)."""
        return [header_of(message).stamp.sec for message in self.messages(output)]

    def _keep(self, topic: str, message: object) -> None:
        with self._new:
            if header_of(message).frame_id.startswith('probe'):
                if topic.endswith('labels'):
                    self.probes_back.append(header_of(message).frame_id)
            else:
                self.received.append((topic, message))
            self._new.notify_all()

    def until(self, condition, timeout_s: float = WAIT_S) -> None:
        """Wait until a condition holds."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(
                    'waited in vain; received: ' + str([t for t, _ in self.received])
                )
            with self._new:
                self._new.wait(0.02)

    def messages(self, topic: str) -> list:
        """All messages of a topic so far; a bare output name stands for that of `camera`."""
        topic = topic if topic.startswith('/') else f'{NAME}/camera/{topic}'
        return [message for t, message in list(self.received) if t == topic]

    def wait(self, topic: str, condition=lambda message: True):
        """Wait for a message that fulfils a condition; return the first."""
        self.until(lambda: any(condition(m) for m in self.messages(topic)))
        return next(m for m in self.messages(topic) if condition(m))

    def of_frame(self, output: str, index: int, camera: str = 'camera'):
        """Wait for the output that belongs to frame `index` (see `send`)."""
        return self.wait(f'{NAME}/{camera}/{output}', lambda m: header_of(m).stamp.sec == index)

    def send(self, image, index: int, topic: str = '/camera/image_raw', encoding: str = 'rgb8'):
        """Publish an image whose stamp is `index` seconds; return the message."""
        message = numbered_frame(image, index, encoding)
        self.send_message(message, topic)
        return message

    def send_message(self, message, topic: str = '/camera/image_raw') -> None:
        self.connect(topic, type(message))
        self._publishers[topic].publish(message)

    def connect(self, topic: str = '/camera/image_raw', message_type: type = Image) -> None:
        """Publish probes until one comes back segmented; needs `listen`.

        The node subscribes best effort, so what is sent before it has found this publisher is lost,
        and a publisher cannot see whether its subscriber has found it.
        """
        if topic in self._publishers:
            return
        publisher = self.node.create_publisher(message_type, topic, RELIABLE)
        self._publishers[topic] = publisher
        probe = small_frame(message_type)
        mark, sent = f'probe {topic} ', 0
        deadline = time.monotonic() + WAIT_S
        while not any(name.startswith(mark) for name in self.probes_back):
            assert time.monotonic() < deadline, f'nobody segments {topic}'
            if publisher.get_subscription_count():
                sent += 1
                probe.header.frame_id = f'{mark}{sent}'
                publisher.publish(probe)
            with self._new:
                self._new.wait(PROBE_S)
        self.probes_sent += sent
        # so that none is on its way any more; that one too may be lost
        with contextlib.suppress(AssertionError):
            self.until(lambda: f'{mark}{sent}' in self.probes_back, timeout_s=PROBE_S * 20)

    def call(self, service_type: type, service: str, request):
        """Call a service of the node and wait for the answer."""
        name = f'{NAME}/{service}'
        client = self._client(service_type, name)
        answers: queue.Queue = queue.Queue()
        for _ in range(round(WAIT_S / RETRY_S)):
            # again, for an answer that was lost all the same
            future = client.call_async(request)
            future.add_done_callback(lambda future: answers.put(future.result()))
            with contextlib.suppress(queue.Empty):
                return answers.get(timeout=RETRY_S)
        raise AssertionError(f'{name} does not answer')

    def ask(self, service: str, **fields):
        """Ask the node by one of the services that it has while it is active."""
        kind = ASKED[service]
        return self.call(kind, service, kind.Request(**fields))

    def _client(self, service_type: type, name: str):
        """Wait for a service; return a client of it.

        Now and then a participant never learns of an endpoint of another. A fresh one begins anew,
        and pytest tells of it with the warnings.
        """
        if name not in self._clients:
            self._clients[name] = self.node.create_client(service_type, name)
        client = self._clients[name]
        if client.wait_for_service(LOST_S):
            return client
        if self._again is None:
            self._again = Peer()
        again = self._again.node.create_client(service_type, name)
        assert again.wait_for_service(WAIT_S), f'no service {name}; {self._again.seen()}'
        if not client.service_is_ready():
            warnings.warn(f'{name} was lost by a participant; {self.seen()}', stacklevel=2)
        self._clients[name] = again
        return again

    def seen(self) -> str:
        """What this peer has discovered."""
        services = [name for name, _ in self.node.get_service_names_and_types()]
        return f'discovered: nodes {self.node.get_node_names()}, services {services}'

    def set(self, **values) -> list:
        """Set parameters, each on its own; return the results (successful, reason)."""
        request = SetParameters.Request(
            parameters=[Parameter(n, value=v).to_parameter_msg() for n, v in values.items()]
        )
        return self.call(SetParameters, 'set_parameters', request).results

    def get(self, *names: str) -> list:
        response = self.call(GetParameters, 'get_parameters', GetParameters.Request(names=names))
        return [parameter_value_to_python(value) for value in response.values]

    def state(self) -> str:
        return self.call(GetState, 'get_state', GetState.Request()).current_state.label

    def change_state(self, transition: str) -> bool:
        """Trigger a transition; return whether the node is in the state it leads to."""
        number, target = TRANSITIONS[transition]
        request = ChangeState.Request()
        request.transition.id = number
        self.call(ChangeState, 'change_state', request)
        return self.state() == target


def holdings(pid: int) -> dict[str, float]:
    """What a process holds now; raises OSError when there is no such process."""
    folder = Path('/proc') / str(pid)
    status = dict(
        line.split(':', 1) for line in (folder / 'status').read_text().splitlines() if ':' in line
    )
    return {
        'rss_mib': int(status['VmRSS'].split()[0]) / 1024,
        'fds': len(list((folder / 'fd').iterdir())),
        'threads': int(status['Threads']),
    }


def header_of(message):
    """The header of a message; a MarkerArray has that of its first marker."""
    return message.header if hasattr(message, 'header') else message.markers[0].header


def class_topics(name: str) -> list[str]:
    """The outputs of one class: its mask and its confidence."""
    return [f'classes/{class_slug(name)}/{output}' for output in CLASS_OUTPUTS]


def array(message: Image):
    """The pixels of a label image or confidence map, read as the Nav2 layer does: v * width + u."""
    dtype = {'mono8': np.uint8, 'mono16': np.uint16, 'rgb8': np.uint8}
    pixels = np.frombuffer(message.data, dtype.get(message.encoding, np.float32))
    channels = pixels.size // (message.height * message.width)
    shape = (message.height, message.width) + ((channels,) if channels > 1 else ())
    return pixels.reshape(shape)


def declared_types(peer: Peer, *names: str) -> list[int]:
    """The types of parameters, as `ros2 param describe` tells them."""
    request = DescribeParameters.Request(names=names)
    return [
        d.type for d in peer.call(DescribeParameters, 'describe_parameters', request).descriptors
    ]
