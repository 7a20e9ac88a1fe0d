# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""A segmented bag, played over DDS: what arrives is what the node publishes for the same image."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from bags import SECOND, START_NS, header, image_message, text_message, write, write_mcap
from clip_dinoiser_ros.msg import Vocabulary
from golden_data import golden
from rosbags.rosbag2 import Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from clip_dinoiser_ros.bag.types import DEFINITIONS

pytest.importorskip('rclpy', reason='no ROS here: nothing can be played')
sys.path.insert(0, str(Path(__file__).parents[1] / 'node'))

from harness import LATCHED, NAME, NodeProcess, Peer, array
from rclpy.qos import DurabilityPolicy, QoSProfile
from rosgraph_msgs.msg import Clock
from std_msgs.msg import String

TOPIC = '/camera/image_raw'
PLAY = [sys.executable, '-m', 'clip_dinoiser_ros.cli', 'play']


def play(*words):
    command = [*PLAY, *(str(word) for word in words)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ})


def ended(process, code=0):
    try:
        said = process.communicate(timeout=60)[1]
    except subprocess.TimeoutExpired:
        process.kill()  # no test leaves a process behind
        raise
    assert process.returncode == code, said
    assert 'Traceback' not in said
    return said


@pytest.fixture
def talk(tmp_path):
    """Five messages in two seconds, the first one latched and long before the others."""
    messages = [('/map', START_NS, text_message('the map'))]
    messages += [('/talk', START_NS + i * SECOND // 2, text_message(f'{i}')) for i in range(5)]
    return write(tmp_path / 'talk', messages, latched=('/map',))


def fields(message):
    return {name: getattr(message, name) for name in message.get_fields_and_field_types()}


def test_played_bag_is_what_the_node_publishes(run, tmp_path, golden_files, golden_prompts):
    image = golden('image_170x215_background')['image']
    with (
        NodeProcess(
            {
                **golden_files,
                'prompts': golden_prompts,
                'device': 'cpu',
                'precision': 'fp32',
                'short_side': 0,
            },
            tmp_path,
        ) as node,
        Peer() as peer,
    ):
        node.wait_for_log('active; waiting for images')
        peer.listen(overlay=True)
        sent = peer.send(image, 1_700_000_000)
        peer.wait('overlay')
        peer.of_frame('frame_info', 1_700_000_000)
        lived = dict(peer.received)
        assert node.end() == 0

        peer.received.clear()
        time_ns = START_NS + sent.header.stamp.nanosec
        path = write(tmp_path / 'in', [(TOPIC, time_ns, image_message(image, time_ns))])
        assert run('bag', path, tmp_path / 'out', '--overlay') == 0
        said = ended(play(tmp_path / 'out', '--wait', 30))
        assert '6 topics' in said
        peer.until(lambda: len(peer.received) >= 6)
        played = dict(peer.received)
    assert played.keys() == lived.keys()
    for output in ('labels', 'confidence', 'overlay'):
        topic = f'{NAME}/camera/{output}'
        mine, theirs = fields(played[topic]), fields(lived[topic])
        assert mine.pop('header').stamp == theirs.pop('header').stamp == sent.header.stamp
        one, other = array(played[topic]).astype(int), array(lived[topic])
        # another number of threads: the last bit of a sum may differ
        assert np.abs(one - other).max() <= (output == 'confidence')
        del mine['data'], theirs['data']
        assert mine == theirs
    for topic in (f'{NAME}/camera/vocabulary', f'{NAME}/camera/label_info'):
        mine, theirs = fields(played[topic]), fields(lived[topic])
        assert mine.pop('run_id', '') == ''  # no node made it
        theirs.pop('run_id', '')
        assert mine.pop('header').frame_id == theirs.pop('header').frame_id == ''
        assert mine == theirs
    mine, theirs = (messages[f'{NAME}/camera/frame_info'] for messages in (played, lived))
    assert mine.header.stamp == theirs.header.stamp
    assert mine.vocabulary_version == theirs.vocabulary_version == 1
    assert mine.batch_size == theirs.batch_size == 1


def test_a_recording_of_an_older_version_is_played(tmp_path):
    """In 0.1.0 the Vocabulary message had no run_id."""
    name, topic = 'clip_dinoiser_ros/msg/Vocabulary', f'{NAME}/camera/vocabulary'
    current = (DEFINITIONS / 'clip_dinoiser_ros/Vocabulary.msg').read_text()
    assert current.endswith('string run_id\n')
    store = get_typestore(Stores.ROS2_JAZZY)
    store.register(get_types_from_msg(current.removesuffix('string run_id\n'), name))
    fields = {'version': 3, 'names': ['person'], 'ids': np.array([7], np.uint16)}
    fields |= {'prompts': ['person|human'], 'background': '', 'templates': 'none'}
    message = store.types[name](header=header(START_NS), unlabelled_id=255, **fields)
    whole = bytes(store.serialize_cdr(message, name))
    with Writer(tmp_path / 'in', version=9) as writer:
        connection = writer.add_connection(topic, name, typestore=store)
        writer.write(connection, START_NS, whole[:20])  # damaged: lost, and nothing else is
        writer.write(connection, START_NS, whole)
    heard = []
    with Peer() as peer:
        peer.node.create_subscription(Vocabulary, topic, heard.append, 10)
        ended(play(tmp_path / 'in', '--wait', 30))
        peer.until(lambda: heard)
    (played,) = heard
    assert (played.version, played.names, list(played.ids)) == (3, ['person'], [7])
    assert (played.prompts, played.unlabelled_id, played.run_id) == (['person|human'], 255, '')


def test_rhythm_rate_and_clock(talk):
    with Peer() as peer:
        arrived = []
        peer.node.create_subscription(
            String, '/talk', lambda m: arrived.append((time.monotonic(), m.data)), 10
        )
        clock = []
        peer.node.create_subscription(
            Clock, '/clock', lambda m: clock.append(m.clock.sec * SECOND + m.clock.nanosec), 100
        )
        said = ended(play(talk, '--rate', 2, '--clock', '--wait', 30))
        peer.until(lambda: len(arrived) == 5)
        assert [text for _, text in arrived] == ['0', '1', '2', '3', '4']
        assert arrived[-1][0] - arrived[0][0] == pytest.approx(1.0, abs=0.3)
        assert clock == sorted(clock)
        assert clock[0] >= START_NS
        assert START_NS + 1.9 * SECOND < clock[-1] <= START_NS + 2 * SECOND
        assert len(clock) > 40
        assert '2 topics, 2.0 s' in said


def test_loop_until_ctrl_c_and_latched_topics(talk):
    with Peer() as peer:
        texts, maps = [], []
        peer.node.create_subscription(String, '/talk', lambda m: texts.append(m.data), 10)
        process = play(talk, '--rate', 20, '--loop')
        peer.until(lambda: texts.count('4') >= 3)
        peer.node.create_subscription(String, '/map', lambda m: maps.append(m.data), LATCHED)
        peer.until(lambda: maps)  # also who comes late gets it
        process.send_signal(signal.SIGINT)
        assert 'stopped' in ended(process)
        assert texts[:10] == ['0', '1', '2', '3', '4'] * 2


def test_static_transforms_reach_their_listeners_without_qos(tmp_path):
    messages = [('/tf_static', START_NS + i, text_message(f'{i}')) for i in range(3)]
    path = write_mcap(tmp_path / 'a.mcap', messages)
    with Peer() as peer:
        heard = []
        qos = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        peer.node.create_subscription(String, '/tf_static', lambda m: heard.append(m.data), qos)
        ended(play(path, '--wait', 30))
        peer.until(lambda: len(heard) == 3)
    assert heard == ['0', '1', '2']


@pytest.mark.parametrize('early', [0, 20 * SECOND], ids=['no clock', '1970'])
def test_nobody_waits_for_a_clock_that_was_set(tmp_path, early):
    messages = [('/talk', early, text_message('early'))]
    messages += [('/talk', START_NS + i * SECOND // 10, text_message(f'{i}')) for i in range(3)]
    bag = write(tmp_path / 'bag', messages)
    with Peer() as peer:
        heard = []
        peer.node.create_subscription(String, '/talk', lambda m: heard.append(m.data), 10)
        said = ended(play(bag, '--clock', '--wait', 30))
        peer.until(lambda: len(heard) == 4)
    assert heard == ['early', '0', '1', '2']
    assert ('a pause of 1699999980 s is passed over' in said) == (early > 0)


def test_topics_under_other_names(talk):
    with Peer() as peer:
        heard, maps = [], []
        peer.node.create_subscription(String, '/heard', lambda m: heard.append(m.data), 10)
        peer.node.create_subscription(String, '/chart', lambda m: maps.append(m.data), LATCHED)
        rules = ('--remap', 'talk:=/heard', '--remap', '/map:=chart')
        ended(play(talk, '--rate', 20, '--wait', 30, '--topic', 'talk', '--topic', 'map', *rules))
        peer.until(lambda: len(heard) == 5 and maps)
        assert heard == ['0', '1', '2', '3', '4']
        assert maps == ['the map']


def test_types_that_are_not_installed_are_named(tmp_path, talk):
    with Writer(tmp_path / 'in', version=9) as writer:
        topic = writer.add_connection(
            '/odd', 'odd_msgs/msg/Odd', msgdef='int32 a\n', rihs01='RIHS01_' + 64 * '0'
        )
        writer.write(topic, START_NS, b'\0\1\0\0\1\0\0\0')
    said = ended(play(tmp_path / 'in'), code=1)
    assert '/odd is not played: odd_msgs/msg/Odd is not installed' in said
    assert 'has no messages that can be published' in said


@pytest.mark.parametrize(
    ('words', 'reason'),
    [
        (('--rate', 0), '--rate is 0.0'),
        (('--topic', '/none'), 'available: /map, /talk'),
        (('--remap', '/none:=/a'), 'available: /map, /talk'),
        (('--remap', '/talk'), 'must be OLD:=NEW'),
        (('--remap', ':=/talk'), 'must be OLD:=NEW'),
        (('--remap', '/talk:=/a', 'talk:=/b'), '/talk is already remapped to /a'),
        (('--remap', '/talk:=/a b'), '--remap /talk:=/a b: Invalid topic name'),
    ],
)
def test_wrong_arguments_are_named(talk, words, reason, capsys):
    from clip_dinoiser_ros import cli

    assert cli.main(['play', str(talk), *map(str, words)]) == 1
    assert reason in capsys.readouterr().err
