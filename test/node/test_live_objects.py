# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Detections and instances, live: what they tell of the label image, and the parameters."""

import numpy as np
import pytest
from golden_data import golden
from harness import NAME, array
from sensor_msgs.msg import Image
from vision_msgs.msg import Detection2DArray

from clip_dinoiser_ros.core.objects import MIN_OBJECT_SIZE
from clip_dinoiser_ros.core.tracking import MIN_IOU

FIRST = {'value': 1000}  # stamps go on from test to test


@pytest.fixture
def image():
    return golden('image_170x215_background')['image']


@pytest.fixture(autouse=True)
def _restored(peer):
    """Every test starts from the same settings."""
    yield
    defaults = {'min_object_size': MIN_OBJECT_SIZE, 'object_classes': [''], 'track': False}
    defaults |= {'min_confidence': 0.0, 'output_scale': 1.0}
    results = peer.set(**defaults)
    assert all(result.successful for result in results), results


def seen(peer, image, after_s=100):
    """Send an image, stamped so long after the last; return labels, instances, detections."""
    if not peer.node.count_subscribers(f'{NAME}/camera/detections'):
        peer.hear('detections', Detection2DArray)
        peer.hear('instances', Image)
    FIRST['value'] += after_s
    labels, instances, made = peer.send_until(
        image, FIRST['value'], 'labels', 'instances', 'detections'
    )
    assert labels.header == instances.header == made.header
    assert instances.encoding == 'mono16'
    assert instances.step == 2 * instances.width
    pixels = np.frombuffer(instances.data, np.uint16).reshape(instances.height, instances.width)
    FIRST['value'] = made.header.stamp.sec
    return array(labels), pixels, made


def test_detections_match_the_label_image(peer, image, golden_segmenter, golden_prompts):
    peer.hear('confidence')
    labels, instances, made = seen(peer, image)
    exact = golden_segmenter.segment(image, golden_segmenter.encode(golden_prompts)).confidence
    assert len(made.detections) >= 2
    assert instances.shape == labels.shape == image.shape[:2]
    names = golden_prompts
    previous = labels.size
    for number, detection in enumerate(made.detections, start=1):
        assert detection.header == made.header
        assert detection.id == str(number)
        (result,) = detection.results
        mask = instances == number
        own = mask & (labels == names.index(result.hypothesis.class_id))
        assert own.sum() >= MIN_OBJECT_SIZE * labels.size
        assert own.sum() <= previous  # the largest first
        previous = own.sum()
        assert result.hypothesis.score == pytest.approx(exact[own].mean(), abs=1e-4)
        rows, columns = np.nonzero(mask)
        centre = detection.bbox.center
        assert (centre.position.x, centre.position.y, centre.theta) == (
            (columns.min() + columns.max()) / 2,
            (rows.min() + rows.max()) / 2,
            0.0,
        )
        assert (detection.bbox.size_x, detection.bbox.size_y) == (
            np.ptp(columns) + 1,
            np.ptp(rows) + 1,
        )
    assert instances.max() == len(made.detections)
    found = {d.results[0].hypothesis.class_id for d in made.detections}
    assert (labels == names.index('background')).any()
    assert 'background' not in found


def test_classes_and_sizes_are_chosen(node, peer, image):
    _, _, made = seen(peer, image)
    names = [d.results[0].hypothesis.class_id for d in made.detections]
    wanted = names[-1]
    assert peer.set(object_classes=[wanted, 'unicorn'])[0].successful
    node.wait_for_log(
        'object_classes has names that are not among the prompts: unicorn; available:'
    )
    _, instances, few = seen(peer, image)
    assert {d.results[0].hypothesis.class_id for d in few.detections} == {wanted}
    assert len(few.detections) == names.count(wanted) == instances.max()
    assert all(r.successful for r in peer.set(object_classes=[''], min_object_size=1.0))
    _, instances, none = seen(peer, image)
    assert not none.detections
    assert not instances.any()
    # objects are those of the published labels: what is unlabelled belongs to none
    assert all(r.successful for r in peer.set(min_object_size=0.0, min_confidence=0.9))
    cut, instances, _ = seen(peer, image)
    np.testing.assert_array_equal(instances > 0, (cut != 255) & (cut != 0))
    assert (cut == 255).any()
    assert all(r.successful for r in peer.set(output_scale=0.5, min_confidence=0.0))
    half, instances, made = seen(peer, image)
    assert instances.shape == half.shape == (85, 108)
    assert instances.max() == len(made.detections) > 0


def test_ids_follow_objects_with_track(peer, image):
    assert peer.set(track=True)[0].successful
    _, before, first = seen(peer, image)
    _, after, second = seen(peer, np.roll(image, 3, axis=1), after_s=1)
    _, _, third = seen(peer, image)  # too long after
    masks = [
        {detection.id: pixels == n for n, detection in enumerate(made.detections, start=1)}
        for pixels, made in ((before, first), (after, second))
    ]
    common = masks[0].keys() & masks[1].keys()
    assert common
    for number in common:
        one, other = masks[0][number], masks[1][number]
        assert (one & other).sum() / (one | other).sum() >= MIN_IOU
    assert not (masks[0].keys() | masks[1].keys()) & {d.id for d in third.detections}


@pytest.mark.parametrize(
    ('values', 'reason'),
    [
        ({'min_object_size': 1.5}, 'min_object_size'),
        ({'track': 'yes'}, "track is 'yes' of type STRING; must be of type BOOL"),
        ({'object_classes': 3}, 'object_classes is 3 of type INTEGER'),
    ],
)
def test_refused(peer, values, reason):
    (result,) = peer.set(**values)
    assert not result.successful
    assert reason in result.reason
