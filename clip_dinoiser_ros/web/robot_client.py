# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""A ROS node that only asks another one: its topics, its parameters, its services."""

from __future__ import annotations

import contextlib
import functools
import queue
import threading
import time
from collections.abc import Callable, Sequence, Set
from typing import Any

import rclpy
from rcl_interfaces.msg import ParameterType
from rcl_interfaces.srv import GetParameters, SetParametersAtomically
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.exceptions import InvalidHandle
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.parameter import parameter_value_to_python
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from rclpy.subscription import Subscription

from clip_dinoiser_ros.core.errors import one_line
from clip_dinoiser_ros.srv import Segment
from clip_dinoiser_ros.web.source import RefusedError

NAME = 'clip_dinoiser_web'
FIND_S = 3.0  # from the start on, for a service to be found; later it is there or not
ASK_S, ASK_AGAIN = 2.0, 3  # an answer is lost now and then while two nodes find each other
LOOK_S = 0.2
LATCHED = QoSProfile(
    depth=10,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
RELIABLE = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
BEST_EFFORT = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
SERVICES = {
    'get_parameters': GetParameters,
    'set_parameters_atomically': SetParametersAtomically,
    'segment': Segment,
}


def _while_open(method: Callable[..., Any]) -> Callable[..., Any]:
    """Let a method refuse what is asked of a client that is closed meanwhile."""

    @functools.wraps(method)
    def asked(client: RobotClient, *args: Any, **kwargs: Any) -> Any:
        try:
            return method(client, *args, **kwargs)
        except InvalidHandle as error:
            raise RefusedError(f'{client.target} is not asked any more') from error

    return asked


class RobotClient:
    """Asks one node, from a thread of its own; the methods may be called from any thread.

    Args:
        target: Full name of the node.
        args: Command line with arguments of ROS, such as an enclave.

    Attributes:
        target: As given.
        node: The node that asks.
    """

    def __init__(self, target: str, args: Sequence[str] = ()) -> None:
        self.target = target
        self._context = rclpy.Context()
        rclpy.init(
            args=[*args], context=self._context, signal_handler_options=SignalHandlerOptions.NO
        )
        self.node = rclpy.create_node(
            NAME, context=self._context, enable_rosout=False, start_parameter_services=False
        )
        # from the start on: a node does not answer a client that it has not found yet
        self._clients = {
            name: self.node.create_client(kind, f'{target}/{name}')
            for name, kind in SERVICES.items()
        }
        self._found_s = time.monotonic() + FIND_S
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._spin, name='robot', daemon=True)
        self._thread.start()

    def _spin(self) -> None:
        while self._context.ok():
            try:
                self._executor.spin_once(timeout_sec=LOOK_S)
            except ExternalShutdownException:
                return
            except Exception as error:  # one bad message must not end the page
                self.node.get_logger().error(f'{type(error).__name__}: {one_line(error)}')

    def close(self) -> None:
        """End the thread and leave the network."""
        self._context.try_shutdown()
        self._thread.join()
        self._executor.shutdown()
        self.node.destroy_node()

    @_while_open
    def subscribe(
        self, kind: type, topic: str, callback: Callable[[Any], None], qos: QoSProfile = RELIABLE
    ) -> Subscription:
        """Call `callback` in the thread of the client with each message of a topic."""
        return self.node.create_subscription(
            kind,
            topic,
            callback,
            qos,
            # a group of its own: groups keep traces of destroyed subscriptions
            callback_group=MutuallyExclusiveCallbackGroup(),
        )

    def unsubscribe(self, subscription: Subscription) -> None:
        """End a subscription, in the thread that may be about to use it."""
        self._executor.create_task(lambda: self.node.destroy_subscription(subscription))

    @_while_open
    def first(self, kind: type, topic: str, timeout_s: float, qos: QoSProfile = RELIABLE) -> Any:
        """Subscribe to a topic for one message; None: none came in time."""
        messages: queue.SimpleQueue[Any] = queue.SimpleQueue()
        subscription = self.subscribe(kind, topic, messages.put, qos)
        try:
            return messages.get(timeout=timeout_s)
        except queue.Empty:
            return None
        finally:
            self.unsubscribe(subscription)

    @_while_open
    def offered(self, topic: str) -> QoSProfile:
        """Return how to subscribe to images: reliable unless a publisher is best effort.

        Best effort loses parts of most raw images, and a reliable subscription gets nothing from a
        best-effort camera.
        """
        found = self.node.get_publishers_info_by_topic(topic)
        kinds = {one.qos_profile.reliability for one in found}
        return BEST_EFFORT if ReliabilityPolicy.BEST_EFFORT in kinds else RELIABLE

    @_while_open
    def publishers(self, topic: str) -> Set[bytes]:
        """Return the ids of the publishers of a topic; those of another run of a node differ."""
        return {bytes(one.endpoint_gid) for one in self.node.get_publishers_info_by_topic(topic)}

    @_while_open
    def is_there(self) -> bool:
        """Return whether the node, or one that was killed moments ago, is on the network."""
        return self._clients['get_parameters'].service_is_ready()

    @_while_open
    def call(self, service: str, request: Any, timeout_s: float) -> Any:
        """Call a service of the node and return its answer.

        Raises:
            RefusedError: There is no such service, or no answer in time.
        """
        client = self._clients[service]
        if not client.wait_for_service(max(0.0, self._found_s - time.monotonic())):
            if service != 'get_parameters' and self.is_there():
                raise RefusedError(
                    f'{self.target} has no service {service}; the parameter services may be false'
                )
            raise RefusedError(f'nothing is heard of {self.target}')
        answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
        future = client.call_async(request)
        future.add_done_callback(answers.put)
        end_s = time.monotonic() + timeout_s
        while time.monotonic() < end_s and client.service_is_ready():
            with contextlib.suppress(queue.Empty):
                return answers.get(timeout=LOOK_S).result()
        client.remove_pending_request(future)
        raise RefusedError(f'{self.target} gives no answer to {service}')

    def parameters(self, *names: str) -> list[Any]:
        """Return the values of parameters of the node, lists as tuples.

        Raises:
            RefusedError: No answer, or the node does not have one of them.
        """
        request = GetParameters.Request(names=names)
        for left in reversed(range(ASK_AGAIN)):
            try:
                values = self.call('get_parameters', request, ASK_S).values
                break
            except RefusedError:
                if not left or not self.is_there():
                    raise
        is_set = [value.type != ParameterType.PARAMETER_NOT_SET for value in values]
        if is_set != [True] * len(names):
            raise RefusedError(f'{self.target} does not have all of {", ".join(names)}')
        found = map(parameter_value_to_python, values)
        return [v if isinstance(v, (bool, int, float, str)) else tuple(v) for v in found]
