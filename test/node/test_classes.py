# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The outputs of single classes, live: what they show, and that they follow the prompts."""

import numpy as np
import pytest
from harness import NAME, array, class_topics


@pytest.fixture(autouse=True)
def _restored(peer, parameters):
    """Every test starts from the same settings."""
    yield
    defaults = {
        'prompts': parameters['prompts'],
        'templates': 'imagenet',
        'min_confidence': 0.0,
        'confidence_encoding': 'mono8',
    }
    assert all(result.successful for result in peer.set(**defaults))


def test_mask_and_confidence_of_a_class(peer, image, golden_segmenter, golden_prompts):
    vocabulary = golden_segmenter.encode(golden_prompts)
    found = golden_segmenter.segment_patches([image], vocabulary)[0]
    labels = found.enlarge(image.shape[:2]).labels
    index = 1 + int(np.bincount(labels.ravel())[1:].argmax())  # 0 is the background, never cut
    outputs = peer.hear_classes(golden_prompts[index])
    mask, confidence = peer.send_until(image, 100, *outputs)
    for message in (mask, confidence):
        assert message.header.frame_id == f'lens_{message.header.stamp.sec}'
        assert (message.height, message.width, message.step) == (160, 208, 208)
        assert message.encoding == 'mono8'
    assert 0.02 < (labels == index).mean() < 0.98
    np.testing.assert_array_equal(array(mask), 255 * (labels == index))
    (expected,) = found.class_confidences(image.shape[:2], [index])
    assert np.abs(array(confidence) / 255 - expected).max() <= 0.5 / 255 + 1e-4

    # what is unlabelled belongs to no mask, and its probability stays what it is
    assert peer.set(min_confidence=1.0, confidence_encoding='32FC1')[0].successful
    mask, confidence = peer.send_until(image, 200, *outputs)
    assert not array(mask).any()
    assert confidence.encoding == '32FC1'
    np.testing.assert_allclose(array(confidence), expected, atol=1e-4)


def test_topics_follow_the_prompts(peer, image):
    words = ['grass', '人', '🐶', '3d printer', 'red ball']
    assert peer.set(prompts=words)[0].successful
    outputs = peer.hear_classes(*words)
    masks = peer.send_until(image, 300, *outputs)[::2]
    covered = sum(array(mask).astype(int) for mask in masks)
    assert (covered == 255).all()  # each pixel belongs to one class

    # a class that stays keeps its topic: the subscription from before goes on
    assert peer.set(prompts=['sky', 'grass'])[0].successful
    gone = [f'{NAME}/camera/{topic}' for name in words[1:] for topic in class_topics(name)]
    peer.until(lambda: not any(map(peer.node.count_publishers, gone)))
    mask, labels = peer.send_until(image, 400, outputs[0], 'labels')
    np.testing.assert_array_equal(array(mask) > 0, array(labels) == ids(peer)['grass'])
    new = [f'{NAME}/camera/{topic}' for topic in class_topics('sky')]
    peer.until(lambda: all(map(peer.node.count_publishers, new)))


def ids(peer):
    vocabulary = peer.messages('vocabulary')[-1]
    return dict(zip(vocabulary.names, vocabulary.ids, strict=True))


@pytest.mark.long
def test_a_class_past_those_that_a_byte_holds(peer, image):
    words = [f'thing {i}' for i in range(300)]
    assert all(result.successful for result in peer.set(templates='none', prompts=words))
    for name in words[290:]:
        peer.hear(class_topics(name)[0])
    labels, *masks = peer.send_until(
        image, 500, 'labels', *(class_topics(n)[0] for n in words[290:])
    )
    assert labels.encoding == 'mono16'
    for name, mask in zip(words[290:], masks, strict=True):
        assert mask.encoding == 'mono8'
        np.testing.assert_array_equal(array(mask), 255 * (array(labels) == ids(peer)[name]))


@pytest.mark.parametrize('count', [7, 1])
def test_all_probabilities_in_one_image(peer, image, golden_segmenter, golden_prompts, count):
    words = golden_prompts[:count]
    assert peer.set(prompts=words)[0].successful
    peer.hear('class_confidences')
    (message,) = peer.send_until(image, 600 + 100 * count, 'class_confidences')
    assert (message.encoding, message.step) == (f'32FC{count}', 4 * count * 208)
    found = golden_segmenter.segment_patches([image], golden_segmenter.encode(words))[0]
    expected = np.moveaxis(found.class_confidences(image.shape[:2]), 0, -1)
    np.testing.assert_allclose(array(message).reshape(expected.shape), expected, atol=1e-4)
