# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""One camera, live: what goes in, what comes out."""

import time

import numpy as np
import pytest
from golden_data import golden
from harness import BEST_EFFORT, NAME, Peer, array
from sensor_msgs.msg import Image
from std_msgs.msg import Header


def test_golden_image_comes_back_as_golden_labels(peer, golden_segmenter, golden_prompts):
    expected = golden('image_170x215_background')
    sent = peer.send(expected['image'], 7)
    labels, confidence = peer.of_frame('labels', 7), peer.of_frame('confidence', 7)
    for message in (labels, confidence):
        assert message.header == sent.header  # stamp and frame id, as they came
        assert (message.height, message.width) == (170, 215)
        assert (message.encoding, message.step, message.is_bigendian) == ('mono8', 215, 0)
    assert (array(labels) == expected['labels']).mean() >= 0.9999
    vocabulary = golden_segmenter.encode(golden_prompts)
    exact = golden_segmenter.segment(expected['image'], vocabulary).confidence
    assert np.abs(array(confidence) / 255 - exact).max() <= 0.5 / 255 + 1e-4

    info = peer.of_frame('frame_info', 7)
    announced = peer.messages('vocabulary')[-1]
    assert info.vocabulary_version == announced.version
    assert info.batch_size == 1
    assert info.frames_segmented >= 1
    assert info.total_ms >= info.segment_ms > 0
    assert announced.names == golden_prompts
    assert announced.background == 'background'
    assert announced.unlabelled_id == 255
    label_info = peer.messages('label_info')[-1]
    assert [c.class_name for c in label_info.class_map] == golden_prompts
    assert [c.class_id for c in label_info.class_map] == list(announced.ids) == list(range(7))


@pytest.mark.parametrize(
    'damage',
    [
        {'height': 0},
        {'step': 5},
        {'height': 4000},
        {'encoding': 'sepia9'},
        {'height': 8, 'width': 8, 'step': 24},  # less than a patch: the model refuses
    ],
)
def test_a_damaged_frame_is_counted_and_the_next_good_one_is_segmented(node, peer, damage):
    image = golden('image_160x208_plain')['image']
    expected = peer.send(image, 20)
    before = peer.of_frame('frame_info', 20)
    fields = {name: getattr(expected, name) for name in expected.get_fields_and_field_types()}
    damaged = Image(**{**fields, **damage, 'header': Header(frame_id='damaged')})
    rejected = before.frames_rejected
    for index in range(21, 31):
        peer.send_message(damaged)
        time.sleep(0.05 * (index - 21))  # too soon, and the good frame replaces it
        peer.send(image, index)
        info = peer.of_frame('frame_info', index)
        assert info.frames_received == (
            info.frames_segmented + info.frames_replaced + info.frames_rejected
        )
        if info.frames_rejected > rejected:
            break
    assert info.frames_rejected > rejected
    np.testing.assert_array_equal(
        array(peer.of_frame('labels', index)), array(peer.of_frame('labels', 20))
    )
    assert 'camera: frame dropped (' in node.log
    assert not [m for m in peer.messages('labels') if m.header.frame_id == 'damaged']


def test_a_late_joiner_gets_the_vocabulary(node, peer):
    with Peer() as late:
        late.listen()
        assert late.messages('vocabulary') == peer.messages('vocabulary')[-1:]
        late.until(lambda: late.messages('label_info'))
        assert late.messages('label_info') == peer.messages('label_info')[-1:]


def test_best_effort_consumers_are_served_too(node):
    with Peer() as peer:
        peer.listen(qos=BEST_EFFORT)
        peer.send(golden('image_160x208_plain')['image'], 40)
        peer.of_frame('labels', 40)
        peer.of_frame('confidence', 40)


def test_other_encodings_and_sizes_frame_by_frame(peer, golden_segmenter, golden_prompts):
    vocabulary = golden_segmenter.encode(golden_prompts)
    for index, size in enumerate(['224x224', '160x208', '320x448'], start=50):
        image = golden(f'image_{size}_plain')['image']
        sent = peer.send(image, index)
        bgr = Image(
            header=sent.header,
            height=sent.height,
            width=sent.width,
            encoding='bgr8',
            step=sent.step,
        )
        bgr.header.stamp.sec += 100
        bgr.data.frombytes(np.ascontiguousarray(image[..., ::-1]))
        expected = golden_segmenter.segment(image, vocabulary).labels
        np.testing.assert_array_equal(array(peer.of_frame('labels', index)), expected)
        peer.send_message(bgr)
        np.testing.assert_array_equal(array(peer.of_frame('labels', index + 100)), expected)


def test_the_overlay_is_made_for_those_who_listen(node):
    image = golden('image_224x224_plain')['image']
    with Peer() as peer:
        peer.listen(overlay=True)
        peer.until(lambda: peer.node.count_subscribers(f'{NAME}/camera/overlay') == 1)
        peer.send(image, 60)
        overlay = peer.of_frame('overlay', 60)
        assert (overlay.encoding, overlay.height, overlay.width) == ('rgb8', 224, 224)
        tinted = np.abs(array(overlay).astype(int) - image).sum(axis=2) > 0
        assert tinted.mean() > 0.9
