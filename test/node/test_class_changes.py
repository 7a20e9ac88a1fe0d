# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Topics of classes come and go; nodes of their own, as each answers to the same name."""

import time

import numpy as np
import pytest
from golden_data import golden
from harness import NAME, NodeProcess, Peer, class_topics, ticking
from sensor_msgs.msg import Image


@pytest.mark.long
def test_fifty_vocabularies_while_frames_flow(parameters, tmp_path):
    """Topics come and go under a node whose executor and worker are both busy."""
    image = golden('image_160x208_plain')['image']
    names = [f'word {i}' for i in range(12)]
    with NodeProcess({**parameters, 'templates': 'none'}, tmp_path) as node, Peer() as peer:
        node.wait_for_log('active; waiting for images')
        peer.listen()
        peer.hear_classes(*names)  # of each some are there at any time
        peer.connect()
        with ticking(lambda _: peer.send(image, 1), 0.01):
            for turn in range(50):
                words = [names[(turn + k) % 12] for k in range(1 + turn % 5)]
                (result,) = peer.set(prompts=words)
                assert result.successful, result.reason
                # so that none is skipped: the worker uses the newest
                peer.wait('frame_info', lambda m, v=turn + 2: m.vocabulary_version == v)
        last = [topic for name in words for topic in class_topics(name)]
        for message in peer.send_until(image, 1000, *last):
            assert message.encoding == 'mono8'
        gone = [t for name in set(names) - set(words) for t in class_topics(name)]
        peer.until(lambda: not any(peer.node.count_publishers(f'{NAME}/camera/{t}') for t in gone))
        assert peer.messages('vocabulary')[-1].version == 51
        assert node.end() == 0
        for fault in ('Traceback', 'request ignored', 'frame dropped', 'no topics'):
            assert fault not in node.log, node.log


def test_a_name_too_long_for_dds_costs_its_class_the_topics_only(parameters, tmp_path):
    image = golden('image_160x208_plain')['image']
    namespace = 'n' * 190
    arguments = ['-r', f'__ns:=/{namespace}', '-r', 'camera/image_raw:=/camera/image_raw']
    words = ['sky', 'a fairly long name of a class']
    long_one = {**parameters, 'prompts': words}
    with NodeProcess(long_one, tmp_path, arguments) as node, Peer() as peer:
        node.wait_for_log('active; waiting for images')
        node.wait_for_log(f"camera: no topics for 1 classes, the first is '{words[1]}'")
        mask = f'/{namespace}{NAME}/camera/classes/sky/mask'
        peer.until(lambda: peer.node.count_publishers(mask) == 1)
        received = []
        peer.node.create_subscription(Image, mask, received.append, 1)
        publisher = peer.node.create_publisher(Image, '/camera/image_raw', 1)
        message = Image(height=160, width=208, encoding='rgb8', step=624)
        message.data.frombytes(np.ascontiguousarray(image))
        deadline = time.monotonic() + 60
        while not received and time.monotonic() < deadline:
            publisher.publish(message)
            time.sleep(0.2)
        assert received
        assert node.end() == 0
