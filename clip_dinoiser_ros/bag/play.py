# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""`clip-dinoiser play`: publishes a recording over DDS. Needs ROS."""

from __future__ import annotations

import argparse
import importlib
import math
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rosbags.interfaces import Qos, QosReliability

from clip_dinoiser_ros.arguments import DAMAGED, say
from clip_dinoiser_ros.bag.pauses import WithoutPauses
from clip_dinoiser_ros.bag.recording import BagError, Message, Recording, Topic
from clip_dinoiser_ros.bag.types import in_current_form
from clip_dinoiser_ros.core.errors import one_line

SECOND = 10**9
CLOCK_PERIOD_S = 0.01
ACK_TIMEOUT_S = 5.0
QUIET_S = 0.5  # without a new subscriber, discovery is assumed to be complete
_DEPTH = 100  # messages kept for a slow reliable subscriber


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    parser.add_argument('input', type=Path, metavar='BAG', help='bag folder, .mcap or .db3 file')
    parser.add_argument(
        '--rate', type=float, default=1.0, help='speed, as a multiple of real time (%(default)s)'
    )
    parser.add_argument('--loop', action='store_true', help='repeat until Ctrl-C')
    parser.add_argument('--clock', action='store_true', help='publish /clock, for use_sim_time')
    parser.add_argument(
        '--topic',
        action='append',
        default=[],
        metavar='T',
        help='publish only this topic; repeatable',
    )
    parser.add_argument(
        '--remap',
        action='append',
        nargs='+',
        default=[],
        metavar='OLD:=NEW',
        help='publish topic OLD as NEW, as ros2 bag play does; repeatable',
    )
    parser.add_argument(
        '--wait',
        type=float,
        default=5.0,
        metavar='S',
        help='wait at most S seconds for subscribers before starting (%(default)s)',
    )


def run(args: argparse.Namespace) -> int:
    """Play until the end or Ctrl-C, which both are success; return the exit code."""
    for name, least in (('rate', 1e-3), ('wait', 0.0)):
        if not least <= getattr(args, name) < math.inf:
            raise BagError(f'--{name} is {getattr(args, name)}; must be at least {least}')
    try:
        import rclpy
        from rclpy.signals import SignalHandlerOptions
    except ImportError as error:
        raise BagError(f'play needs ROS: source its setup first ({error})') from error
    with Recording(args.input) as recording:
        topics = [_topic(recording, '--topic', name) for name in args.topic]
        names = _names(recording, [rule for rules in args.remap for rule in rules])
        context = rclpy.Context()
        # the handler of rclpy would shut down in the middle of a message
        rclpy.init(args=[], context=context, signal_handler_options=SignalHandlerOptions.NO)
        for number in (signal.SIGINT, signal.SIGTERM):  # background jobs ignore SIGINT
            signal.signal(number, signal.default_int_handler)
        try:
            player = Player(context, recording, topics, args.clock, names)
            player.play(args.rate, args.loop, args.wait)
        except KeyboardInterrupt:
            say('stopped')
        finally:
            context.try_shutdown()
    for line in recording.damage:
        say(line)
    return DAMAGED if recording.damage else 0


def _topic(recording: Recording, option: str, name: str) -> str:
    """Return the recorded name of a topic from the command line."""
    found = recording.find(name)
    if found is None:
        there = ', '.join(recording.topics)
        raise BagError(f'{option} {name}: no such topic; available: {there}')
    return found


def _names(recording: Recording, rules: Sequence[str]) -> dict[str, str]:
    """Parse rules OLD:=NEW; return new names by recorded names."""
    names: dict[str, str] = {}
    for rule in rules:
        old, sign, new = rule.partition(':=')
        if not (old and sign and new):
            raise BagError(f'--remap {rule}: must be OLD:=NEW, such as /rgb:=/camera/image')
        topic = _topic(recording, '--remap', old)
        if topic in names:
            raise BagError(f'--remap {rule}: {topic} is already remapped to {names[topic]}')
        names[topic] = new
    return names


class Player:
    """Publishers for the topics of a recording.

    Args:
        context: An initialised context of rclpy.
        recording: Open.
        topics: Names; empty: all whose types are installed.
        clock: Publish /clock.
        names: Names to use instead of the recorded ones.

    Raises:
        BagError: Nothing can be published, or a name is invalid.
    """

    def __init__(
        self,
        context: Any,
        recording: Recording,
        topics: Sequence[str],
        clock: bool,
        names: Mapping[str, str] | None = None,
    ) -> None:
        import rclpy

        self._recording = recording
        self._names = names or {}
        self._node = rclpy.create_node('clip_dinoiser_player', context=context, enable_rosout=False)
        self._publishers: dict[str, Any] = {}
        for name, topic in sorted(recording.topics.items()):
            if (topics and name not in topics) or (clock and name == '/clock'):
                continue
            self._add(topic)
        if not self._publishers:
            raise BagError(f'{recording.path} has no messages that can be published')
        self._clock = self._clock_publisher() if clock else None
        for note in recording.notes:
            say(note)
        say(f'{len(self._publishers)} topics, {self._length_s():.1f} s')

    def _length_s(self) -> float:
        return max(0, self._recording.end_ns - self._recording.start_ns) / SECOND

    def _add(self, topic: Topic) -> None:
        from rclpy.exceptions import InvalidTopicNameException

        name = self._names.get(topic.name, topic.name)
        try:
            message_type = message_class(topic.type_name)
            self._publishers[topic.name] = self._node.create_publisher(
                message_type, name, _profile(topic)
            )
        except (ImportError, AttributeError) as error:
            say(f'{topic.name} is not played: {topic.type_name} is not installed ({error})')
        except InvalidTopicNameException as error:
            if topic.name in self._names:
                raise BagError(f'--remap {topic.name}:={name}: {one_line(error)}') from error
            say(f'{topic.name} is not played: {one_line(error)}')

    def _clock_publisher(self) -> Any:
        from rosgraph_msgs.msg import Clock

        return self._node.create_publisher(Clock, '/clock', 10)

    def play(self, rate: float, loop: bool, wait_s: float) -> None:
        """Publish the messages with their recorded timing.

        Args:
            rate: Factor of the speed; 1: real time.
            loop: Start again at the end.
            wait_s: Maximum wait for subscribers before the first message.
        """
        self._wait_for_subscribers(wait_s)
        began_s = time.monotonic()
        while True:
            clock = WithoutPauses(self._recording.start_ns)
            for message in self._recording.messages(set(self._publishers)):
                before_ns = clock.passed_over_ns
                due_s = began_s + clock.since_start_ns(message.time_ns) / SECOND / rate
                if (pause_ns := clock.passed_over_ns - before_ns) > 0:
                    say(f'a pause of {pause_ns / SECOND:.0f} s is passed over')
                self._wait(due_s, message, rate)
                self._publishers[message.topic.name].publish(_serialized(message))
            if not loop:
                break
            length_s = self._length_s() - clock.passed_over_ns / SECOND
            began_s = max(began_s + length_s / rate, time.monotonic())
        self._settle()

    def _wait_for_subscribers(self, most_s: float) -> None:
        """Wait until there are subscribers and no more appear: earlier messages would be lost."""
        end_s = time.monotonic() + most_s
        known, since_s = 0, time.monotonic()
        publishers = [*self._publishers.values(), *filter(None, [self._clock])]
        while (now_s := time.monotonic()) < end_s:
            count = sum(publisher.get_subscription_count() for publisher in publishers)
            if count != known:
                known, since_s = count, now_s
            if known and now_s - since_s >= QUIET_S:
                return
            time.sleep(0.02)

    def _wait(self, due_s: float, message: Message, rate: float) -> None:
        """Sleep until a message is due; publish the clock meanwhile."""
        while (left_s := due_s - time.monotonic()) > 0:
            if self._clock is None:
                time.sleep(left_s)
                return
            self._tick(message.time_ns - round(left_s * rate * SECOND))
            time.sleep(min(left_s, CLOCK_PERIOD_S))
        if self._clock is not None:
            self._tick(message.time_ns)

    def _tick(self, time_ns: int) -> None:
        """Publish the time, but not before the start of the recording."""
        from builtin_interfaces.msg import Time
        from rosgraph_msgs.msg import Clock

        if time_ns >= self._recording.start_ns and self._clock is not None:
            seconds, nanoseconds = divmod(time_ns, SECOND)
            self._clock.publish(Clock(clock=Time(sec=seconds, nanosec=nanoseconds)))

    def _settle(self) -> None:
        """Wait until reliable subscribers have the last messages."""
        from rclpy.duration import Duration

        end_s = time.monotonic() + ACK_TIMEOUT_S
        for name, publisher in self._publishers.items():
            if _best_effort(self._recording.topics[name]):
                continue
            left_s = max(0.0, end_s - time.monotonic())
            publisher.wait_for_all_acked(Duration(seconds=left_s))


def _serialized(message: Message) -> bytes:
    topic = message.topic
    return in_current_form(bytes(message.data), topic.type_name, topic.definition)


def message_class(name: str) -> Any:
    """Import a message type by its name: pkg/msg/Name."""
    package, kind, message = name.split('/')
    return getattr(importlib.import_module(f'{package}.{kind}'), message)


def _profile(topic: Topic) -> Any:
    """Return the recorded QoS profile; reliable if it is unknown."""
    from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

    latched = topic.latched
    reliability = ReliabilityPolicy.RELIABLE
    if _best_effort(topic):
        reliability = ReliabilityPolicy.BEST_EFFORT
    return QoSProfile(
        # several publishers of one latched topic (static transforms) become one
        depth=sum(_depth(qos) for qos in topic.qos) if latched else _DEPTH,
        reliability=reliability,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


def _best_effort(topic: Topic) -> bool:
    offered = {qos.reliability for qos in topic.qos}
    return offered == {QosReliability.BEST_EFFORT}


def _depth(qos: Qos) -> int:
    return qos.depth if 0 < qos.depth <= 1000 else _DEPTH
