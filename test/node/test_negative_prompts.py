# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Classes that compete and are published as unlabelled."""

import numpy as np
import pytest
from harness import NAME, array, class_topics
from rcl_interfaces.msg import Parameter, ParameterValue
from rcl_interfaces.srv import SetParameters


@pytest.fixture(autouse=True)
def _restored(peer, parameters):
    """Every test starts from the same settings."""
    yield
    peer.set(negative_prompts=[''])
    assert peer.set(prompts=parameters['prompts'])[0].successful


def set_together(peer, **values):
    """Set prompts and negative prompts at once, since a name may move from one to the other."""
    assert peer.set(negative_prompts=[''])[0].successful
    results = peer.set(**values)
    assert all(result.successful for result in results), results


def test_negative_prompts_make_pixels_unlabelled(peer, image, golden_segmenter, golden_prompts):
    everything = golden_segmenter.encode(golden_prompts)
    found = golden_segmenter.segment_patches([image], everything)[0]
    result = found.enlarge(image.shape[:2])
    first = int(np.bincount(result.labels.ravel()).argmax())
    negative = golden_prompts[first]
    words = [prompt for prompt in golden_prompts if prompt != negative]
    set_together(peer, prompts=words, negative_prompts=[negative])
    vocabulary = peer.wait('vocabulary', lambda m: list(m.names) == words)
    assert list(vocabulary.prompts) == words
    assert len(vocabulary.ids) == len(words)
    newest = peer.wait('label_info', lambda m: len(m.class_map) == len(words))
    assert [c.class_name for c in newest.class_map] == words

    outputs = peer.hear_classes(words[0])
    peer.hear('class_confidences')
    heard = ['labels', 'confidence', *outputs, 'class_confidences']
    labels, confidence, mask, own, all_of_them = peer.send_until(image, 100, *heard)
    assert 0.05 < (result.labels == first).mean() < 0.95
    np.testing.assert_array_equal(array(labels) == 255, result.labels == first)
    for name, class_id in zip(words, vocabulary.ids, strict=True):
        index = golden_prompts.index(name)
        np.testing.assert_array_equal(array(labels) == class_id, result.labels == index)
    # the confidence there says how sure it is that nothing of interest is there
    assert np.abs(array(confidence) / 255 - result.confidence).max() <= 0.5 / 255 + 1e-4
    index = golden_prompts.index(words[0])
    np.testing.assert_array_equal(array(mask) > 0, result.labels == index)
    kept = [golden_prompts.index(name) for name in words]
    expected = np.moveaxis(found.class_confidences(image.shape[:2], kept), 0, -1)
    assert all_of_them.encoding == f'32FC{len(words)}'
    np.testing.assert_allclose(array(all_of_them), expected, atol=1e-4)
    assert np.abs(array(own) / 255 - expected[..., 0]).max() <= 0.5 / 255 + 1e-4
    topics = [f'{NAME}/camera/{topic}' for topic in class_topics(negative)]
    peer.until(lambda: not any(map(peer.node.count_publishers, topics)))


def test_background_can_be_one(peer, image, golden_segmenter, golden_prompts):
    """Its filter works on, and what it takes is unlabelled."""
    words = golden_prompts[1:]
    set_together(peer, prompts=words, negative_prompts=['background'])
    peer.send(image, 200)
    result = golden_segmenter.segment(image, golden_segmenter.encode(golden_prompts))
    assert (result.labels == 0).any()
    np.testing.assert_array_equal(array(peer.of_frame('labels', 200)) == 255, result.labels == 0)
    assert peer.messages('vocabulary')[-1].background == ''


@pytest.mark.parametrize(
    ('given', 'reason'),
    [
        (['grass'], "positive and negative prompts: 'grass' is given twice"),
        (['Grass'], "positive and negative prompts: 'Grass' is given as 'grass' too"),
        (['wall', ''], "negative prompts: prompt 1 ('') has an empty name"),
        (['wall', 'wall'], "negative prompts: 'wall' is given twice"),
    ],
)
def test_refused(peer, given, reason):
    (result,) = peer.set(negative_prompts=given)
    assert not result.successful
    assert reason in result.reason
    assert peer.get('negative_prompts') == [['']]


def test_none_in_every_way_to_say_it(peer):
    assert peer.get('negative_prompts') == [['']]
    version = peer.messages('vocabulary')[-1].version
    assert peer.set(negative_prompts=['wall'])[0].successful
    peer.wait('vocabulary', lambda m: m.version == version + 1)
    empty = Parameter(name='negative_prompts', value=ParameterValue(type=9))  # of strings
    request = SetParameters.Request(parameters=[empty])
    assert peer.call(SetParameters, 'set_parameters', request).results[0].successful
    peer.wait('vocabulary', lambda m: m.version == version + 2)
    # the same in other words: no new vocabulary
    assert peer.set(negative_prompts=[''])[0].successful
    # an empty list of another type, as of `ros2 param set ... "[]"`, is none as well
    untyped = Parameter(name='negative_prompts', value=ParameterValue(type=6))
    request = SetParameters.Request(parameters=[untyped])
    assert peer.call(SetParameters, 'set_parameters', request).results[0].successful
    assert peer.set(negative_prompts=['fence'])[0].successful
    assert peer.wait('vocabulary', lambda m: m.version == version + 3)
