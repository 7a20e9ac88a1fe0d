# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""What the demo makes of the node's messages: it must not pass what does not fit together."""

import numpy as np
import pytest

pytest.importorskip('rosbags')

from clip_dinoiser_ros.bag.types import typestore
from clip_dinoiser_ros.demo.live import DemoError, Received
from clip_dinoiser_ros.demo.overview import COLUMNS, TILE, draw_overview
from clip_dinoiser_ros.demo.results import IGNORED, ComparedFrame, collect, true_indices
from clip_dinoiser_ros.frames import images
from clip_dinoiser_ros.frames.outputs import OUTPUTS
from clip_dinoiser_ros.frames.overlay import colour
from clip_dinoiser_ros.world.classes import CLASSES

NAMES = ['background', 'person', 'blue barrel']


def message(output, **fields):
    kind = OUTPUTS[output].type_name
    store = typestore()
    return Received(output, 5, bytes(store.serialize_cdr(store.types[kind](**fields), kind)))


def header(stamp):
    types = typestore().types
    time = types['builtin_interfaces/msg/Time'](sec=stamp, nanosec=0)
    return types['std_msgs/msg/Header'](stamp=time, frame_id='camera')


def published(labels, version=1, announced=1, stamp=7):
    store = typestore()
    counts = ('frames_received', 'frames_segmented', 'frames_replaced', 'frames_rejected')
    times = ('wait_ms', 'decode_ms', 'segment_ms', 'publish_ms', 'total_ms')
    info = message(
        'frame_info',
        header=header(stamp),
        vocabulary_version=version,
        batch_size=1,
        **dict.fromkeys(counts, 1),
        **dict.fromkeys(times, 1.0),
    )
    vocabulary = message(
        'vocabulary',
        header=header(1),
        version=announced,
        names=NAMES,
        ids=np.array([0, 4, 9], np.uint16),
        prompts=NAMES,
        background='background',
        templates='imagenet',
        unlabelled_id=255,
        run_id='',
    )
    image_type = store.types['sensor_msgs/msg/Image']
    pair = [
        Received(
            output,
            5,
            bytes(
                store.serialize_cdr(
                    images.to_message(pixels, 'mono8', header(stamp), image_type),
                    'sensor_msgs/msg/Image',
                )
            ),
        )
        for output, pixels in [('labels', labels), ('confidence', np.full_like(labels, 200))]
    ]
    return [vocabulary, *pair, info]


def test_frames_are_put_together():
    labels = np.array([[0, 4], [9, 255]], np.uint8)
    (result,) = collect(published(labels))
    assert result.stamp_ns == 7 * 10**9
    np.testing.assert_array_equal(result.labels, labels)
    assert (result.confidence == 200).all()
    assert list(result.vocabulary.names) == NAMES


@pytest.mark.parametrize(
    ('messages', 'reason'),
    [
        ([], 'nothing was segmented'),
        (published(np.zeros((2, 2), np.uint8))[:3], 'nothing was segmented'),
        (published(np.full((2, 2), 3, np.uint8)), r'ids \{3\} are not in vocabulary'),
        (published(np.zeros((2, 2), np.uint8), version=2), 'vocabulary 2 was never announced'),
    ],
)
def test_mismatched_results_are_refused(messages, reason):
    with pytest.raises(DemoError, match=reason):
        collect(messages)


def test_truth_in_the_words_of_the_prompts():
    truth = np.array([[CLASSES.index(n) for n in ('person', 'sky', 'blue barrel', 'red ball')]])
    assert true_indices(truth, NAMES).tolist() == [[1, 0, 2, 0]]
    assert true_indices(truth, NAMES[1:]).tolist() == [[0, IGNORED, 1, IGNORED]]


def test_the_overview_shows_every_picture_in_the_colours_of_the_ids():
    labels = np.full((120, 160), 4, np.uint8)
    (result,) = collect(published(labels))
    image = np.random.default_rng(0).integers(0, 255, (120, 160, 3), dtype=np.uint8)
    frame = ComparedFrame(
        image, np.ones((120, 160), np.uint8), np.ones((120, 160), np.uint8), result
    )
    assert frame.confusion().miou() == 1.0
    overview = draw_overview([('before', frame), ('after', frame)])
    assert overview.shape[1] >= len(COLUMNS) * TILE[1]
    shown = (overview == colour(4)).all(axis=2).sum()
    assert shown >= 4 * TILE[0] * TILE[1]  # truth and labels in both rows, and swatches
