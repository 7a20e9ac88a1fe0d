# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Several cameras, and cameras faster than the model."""

import time
from itertools import pairwise

import numpy as np
import pytest
from golden_data import golden
from harness import NAME, NodeProcess, Peer, array
from rclpy.qos import ReliabilityPolicy

from clip_dinoiser_ros import Segmenter


def test_two_cameras(parameters, tmp_path, golden_segmenter, golden_prompts):
    two = {
        **parameters,
        'cameras': ['front', 'rear'],
        'front.image_topic': '/rig/front/image',
        'qos_overrides./rig/front/image.subscription.reliability': 'reliable',
        'qos_overrides./clip_dinoiser/rear/labels.publisher.depth': 7,
        'confidence_encoding': '32FC1',
    }
    left = golden('image_160x208_plain')['image']
    right = np.ascontiguousarray(left[:, ::-1])
    vocabulary = golden_segmenter.encode(golden_prompts)
    topics = {'front': '/rig/front/image', 'rear': '/rear/image_raw'}
    with NodeProcess(two, tmp_path) as node, Peer() as peer:
        node.wait_for_log('active; waiting for images on /rig/front/image, /rear/image_raw')
        for camera in topics:
            peer.listen(camera)
        (front,) = peer.node.get_subscriptions_info_by_topic('/rig/front/image')
        (rear,) = peer.node.get_subscriptions_info_by_topic('/rear/image_raw')
        assert front.qos_profile.reliability == ReliabilityPolicy.RELIABLE
        assert rear.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT
        name = 'qos_overrides./clip_dinoiser/{}/labels.publisher.depth'
        assert peer.get(name.format('front'), name.format('rear')) == [1, 7]
        sizes = set()
        for index in range(1, 6):
            peer.send(left, index, topics['front'])
            peer.send(right, 100 + index, topics['rear'])
            for camera, image, stamp in [('front', left, index), ('rear', right, 100 + index)]:
                result = golden_segmenter.segment(image, vocabulary)
                labels = peer.of_frame('labels', stamp, camera)
                assert labels.header.frame_id == f'lens_{stamp}'
                np.testing.assert_array_equal(array(labels), result.labels)
                confidence = array(peer.of_frame('confidence', stamp, camera))
                np.testing.assert_allclose(confidence, result.confidence, atol=1e-4)
                sizes.add(peer.of_frame('frame_info', stamp, camera).batch_size)
        assert sizes <= {1, 2}
        # nothing of one camera under the name of the other
        for camera, first in [('front', 0), ('rear', 100)]:
            stamps = [m.header.stamp.sec for m in peer.messages(f'{NAME}/{camera}/labels')]
            assert sorted(stamps) == list(range(first + 1, first + 6))

        # one camera's damage does not hold up the other
        for index in range(10, 13):
            peer.send(left[:8, :8].copy(), index, topics['front'])
            peer.send(right, 100 + index, topics['rear'])
            peer.of_frame('labels', 100 + index, 'rear')
        assert node.end() == 0


def slow_down():
    """Let the model take the time of many frames for one; called in the process of the node."""
    segment = Segmenter.segment_patches

    def slow(*arguments):
        time.sleep(0.4)
        return segment(*arguments)

    Segmenter.segment_patches = slow


def test_a_slow_model_sees_fewer_frames_never_older_ones(parameters, tmp_path):
    """A camera at 30 Hz against a model that takes many frames' time for one."""
    reliable = {
        **parameters,
        'qos_overrides./camera/image_raw.subscription.reliability': 'reliable',
    }
    image = golden('image_160x208_plain')['image']
    with NodeProcess(reliable, tmp_path, prepare=slow_down) as node, Peer() as peer:
        node.wait_for_log('active; waiting for images')
        peer.listen()
        newest_at_result = []  # (stamp of the result, newest frame sent by then)
        for index in range(1, 1201):
            peer.send(image, index)
            known = {stamp for stamp, _ in newest_at_result}
            newest_at_result += [
                (m.header.stamp.sec, index)
                for m in peer.messages('labels')
                if m.header.stamp.sec not in known
            ]
            if index >= 120 and len(newest_at_result) >= 6:
                break
            time.sleep(1 / 30)
        info = peer.of_frame('frame_info', index)  # the last frame sent is always segmented
        stamps = [m.header.stamp.sec for m in peer.messages('labels')]
        assert stamps == sorted(set(stamps))
        assert len(stamps) < index / 2, 'the model is too fast for this test'
        # one that lies in DDS while the node is busy is replaced there
        assert len(stamps) < info.frames_received <= index + peer.probes_sent
        assert info.frames_segmented == len(stamps) + len(peer.probes_back)
        assert info.frames_replaced == info.frames_received - info.frames_segmented
        # what is segmented next was the newest when the result before it came out: behind a queue
        # of even a few frames it would always be older; the slack is for the way back to this
        # process, now and then a long one on a busy machine
        behind = [newest - next_one for (_, newest), (next_one, _) in pairwise(newest_at_result)]
        assert np.median(behind) <= 3


@pytest.mark.long
def test_services_answer_while_a_frame_is_computed(parameters, tmp_path):
    very_slow = {**parameters, 'short_side': 768}
    with NodeProcess(very_slow, tmp_path) as node, Peer() as peer:
        node.wait_for_log('active; waiting for images')
        peer.listen()
        peer.get('gamma')  # the first call of each service may have to be repeated
        peer.set(gamma=0.2)
        peer.connect()
        peer.send(golden('image_160x208_plain')['image'], 1)
        for value in (0.3, 0.4, 0.5):
            assert peer.set(gamma=value)[0].successful
            assert peer.get('gamma') == [value]
        assert not peer.messages('labels'), 'answered only after the frame'
        peer.of_frame('labels', 1)
        peer.send(golden('image_160x208_plain')['image'], 2)
        assert node.end() == 0  # in the middle of a frame
        assert 'Traceback' not in node.log
