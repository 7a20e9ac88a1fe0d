# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Four cameras on one model: what one of them does, or does not do, is no matter of the others."""

import time

import numpy as np
import pytest
from golden_data import golden
from harness import NAME, RELIABLE, NodeProcess, Peer, array, ticking
from operating import Operator, values
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from clip_dinoiser_ros.frames import images

MAX_RATE = 2.0


@pytest.mark.long
def test_four_cameras(parameters, tmp_path, image, golden_segmenter, golden_prompts):
    """Front and rear of one size, rear at a rate of its own, one that is damaged, one silent."""
    four = {
        **parameters,
        'cameras': ['front', 'rear', 'broken', 'silent'],
        'rear.max_rate': MAX_RATE,
        'diagnostics_period': 0.2,
        'stale_after': 600.0,
        'confidence_encoding': '32FC1',
    }
    vocabulary = golden_segmenter.encode(golden_prompts)
    flipped = np.ascontiguousarray(image[:, ::-1])
    pictures = {'front': image, 'rear': flipped}
    with NodeProcess(four, tmp_path) as node, Operator() as peer:
        node.wait_for_log('active; waiting')
        for camera in ('front', 'rear', 'silent'):
            peer.listen(camera)
        for camera in pictures:
            peer.connect(f'/{camera}/image_raw')
        broken = images.to_message(image, 'rgb8', Header(frame_id='broken'), Image)
        broken.height = 4000
        publisher = peer.node.create_publisher(Image, '/broken/image_raw', RELIABLE)
        start, index = time.monotonic(), 0

        def infos(camera):
            return peer.messages(f'{NAME}/{camera}/frame_info')

        def enough():
            nonlocal index
            index += 1
            for camera, picture in pictures.items():
                peer.send(picture, index, f'/{camera}/image_raw')
            publisher.publish(broken)
            together = [info for info in infos('rear') if info.batch_size == 2]
            alone = [info for info in infos('front') if info.batch_size == 1]
            return len(infos('front')) >= 20 and len(together) >= 2 and alone

        peer.until(enough, timeout_s=120.0)
        elapsed_s = time.monotonic() - start
        assert {info.batch_size for info in infos('front')} == {1, 2}
        assert len(infos('rear')) <= MAX_RATE * elapsed_s + 2
        # each picture under its own camera's name, in a batch or alone
        for camera, picture in pictures.items():
            labels = golden_segmenter.segment(picture, vocabulary).labels
            for message in peer.messages(f'{NAME}/{camera}/labels'):
                np.testing.assert_array_equal(array(message), labels)
        # what is damaged is counted, and what is silent is waited for
        status = values(peer.in_state('broken', 'rejected'))
        assert int(status['frames_rejected']) > 0
        assert status['frames_segmented'] == '0'
        assert values(peer.status('silent'))['state'] == 'waiting'
        assert infos('front')[-1].frames_rejected == infos('rear')[-1].frames_rejected == 0

        # the silent one speaks, in a size of its own
        large = golden('image_320x448_plain')['image']
        peer.send(large, 7, '/silent/image_raw')
        expected = golden_segmenter.segment(large, vocabulary).labels
        np.testing.assert_array_equal(array(peer.of_frame('labels', 7, 'silent')), expected)
        assert peer.of_frame('frame_info', 7, 'silent').batch_size == 1
        assert node.end() == 0
        assert 'Traceback' not in node.log


@pytest.mark.long
def test_a_camera_that_floods_starves_none(parameters, tmp_path, image):
    """The flood comes far faster than the model turns; the calm camera's every frame is taken."""
    two = {
        **parameters,
        'cameras': ['flood', 'calm'],
        'short_side': 224,
        'qos_overrides./calm/image_raw.subscription.reliability': 'reliable',
    }
    with NodeProcess(two, tmp_path) as node, Peer() as peer, Peer() as flooder:
        node.wait_for_log('active; waiting')
        peer.listen('calm')
        flooder.listen('flood')
        peer.connect('/calm/image_raw')
        flooder.connect('/flood/image_raw')
        with ticking(lambda index: flooder.send(image, index, '/flood/image_raw'), 0.002):
            for index in range(1, 11):
                peer.send(image, index, '/calm/image_raw')
                peer.of_frame('frame_info', index, 'calm')
        first, last = (peer.of_frame('frame_info', index, 'calm') for index in (1, 10))
        assert last.frames_segmented - first.frames_segmented == 9
        assert last.frames_replaced == first.frames_replaced  # whatever became of the probes
        flooded = flooder.messages(f'{NAME}/flood/frame_info')[-1]
        assert flooded.frames_replaced > flooded.frames_segmented > 0
        assert node.end() == 0
