# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Messages of one stamp come together, whatever is lost or late."""

from clip_dinoiser_ros.web.pairs import MOST_STAMPS, Pairs


def test_a_frame_is_complete_with_its_last_message():
    pairs = Pairs(('image', 'labels'))
    assert pairs.put('image', 1, 'i1') is None
    assert pairs.put('image', 2, 'i2') is None
    assert pairs.put('labels', 2, 'l2') == {'image': 'i2', 'labels': 'l2'}
    assert pairs.put('labels', 1, 'l1') is None  # dropped with the newer one


def test_what_is_not_needed_comes_along_if_it_is_there():
    pairs = Pairs(('image', 'labels'))
    pairs.put('depth', 1, 'd1')
    pairs.put('image', 1, 'i1')
    assert pairs.put('labels', 1, 'l1') == {'depth': 'd1', 'image': 'i1', 'labels': 'l1'}


def test_a_clock_that_jumps_back_loses_nothing():
    pairs = Pairs(('image', 'labels'))
    pairs.put('image', 100, 'i100')
    pairs.put('labels', 100, 'l100')
    pairs.put('image', 1, 'i1')
    assert pairs.put('labels', 1, 'l1') == {'image': 'i1', 'labels': 'l1'}


def test_stamps_of_zero_pair_the_newest():
    pairs = Pairs(('image', 'labels'))
    pairs.put('image', 0, 'older')
    pairs.put('image', 0, 'newer')
    assert pairs.put('labels', 0, 'l') == {'image': 'newer', 'labels': 'l'}


def test_images_whose_labels_never_come_do_not_fill_the_memory():
    pairs = Pairs(('image', 'labels'), most_bytes=100)
    for stamp in range(10):
        pairs.put('image', stamp, f'i{stamp}', 30)
    assert pairs.put('labels', 6, 'l6') is None
    assert pairs.put('labels', 7, 'l7') == {'image': 'i7', 'labels': 'l7'}
    assert Pairs(('image', 'labels'), most_bytes=1).put('image', 0, 'large', 50) is None
    for stamp in range(2 * MOST_STAMPS):
        pairs.put('labels', stamp, 'l')
    assert pairs.put('image', 10, 'i') is None
    assert pairs.put('image', 2 * MOST_STAMPS - 1, 'i') is not None
