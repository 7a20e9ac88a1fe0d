# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clip_dinoiser_ros.frames.class_ids import (
    UNLABELLED_8,
    UNLABELLED_16,
    ClassIds,
    TooManyClassesError,
    published_classes,
    to_class_ids,
    unlabelled_id,
)


@given(st.lists(st.lists(st.sampled_from('abcdefgh'), unique=True, min_size=1), max_size=8))
def test_a_name_keeps_its_id(histories):
    ids, known = ClassIds(), {}
    for names in histories:
        ids = ids.with_names(names)
        for name, class_id in zip(names, ids.table(names).tolist(), strict=True):
            assert known.setdefault(name, class_id) == class_id
    assert len(set(known.values())) == len(known)
    assert sorted(known.values()) == list(range(len(known)))


def test_255_is_never_a_class_and_images_grow_with_the_ids():
    names = [f'class {i}' for i in range(400)]
    ids = ClassIds().with_names(names)
    table = ids.table(names)
    assert table.dtype == np.uint16
    assert UNLABELLED_8 not in table
    assert len(np.unique(table)) == 400
    assert ids.table(names[:255]).dtype == np.uint8
    assert ids.table(names[:256]).dtype == np.uint16
    assert ids.table(names[254:255]).tolist() == [254]
    assert ids.table(names[255:256]).tolist() == [256]
    assert unlabelled_id(ids.table(names[:255])) == UNLABELLED_8
    assert unlabelled_id(table) == UNLABELLED_16


def test_negative_classes_are_published_as_unlabelled():
    names = [f'class {i}' for i in range(400)]
    ids = ClassIds().with_names(names)
    few, many = ids.table(['class 7', 'class 3'], 2), ids.table(['class 300'], 1)
    assert (few.dtype, few.tolist()) == (np.uint8, [7, 3, UNLABELLED_8, UNLABELLED_8])
    assert (many.dtype, many.tolist()) == (np.uint16, [301, UNLABELLED_16])
    assert (published_classes(few), published_classes(many)) == (2, 1)
    assert published_classes(ids.table(names)) == 400
    labels = np.array([[0, 1], [2, 3]], np.uint8)
    assert to_class_ids(labels, few).tolist() == [[7, 3], [255, 255]]


def test_ids_run_out_loudly_and_nothing_is_lost():
    names = [f'class {i}' for i in range(UNLABELLED_16 - 1)]
    full = ClassIds().with_names(names)
    assert full.table(names).max() == UNLABELLED_16 - 1
    with pytest.raises(TooManyClassesError, match=r'65535 different class names.*restart'):
        full.with_names(['one more'])
    assert full.with_names(names[:3]).table(names[:3]).tolist() == [0, 1, 2]


@pytest.mark.parametrize('index_type', [np.uint8, np.uint16])
@pytest.mark.parametrize('id_type', [np.uint8, np.uint16])
def test_labels_become_ids(index_type, id_type):
    random = np.random.default_rng(0)
    table = np.array([7, 0, 254, 12], id_type)
    labels = random.integers(0, 4, (31, 47)).astype(index_type)
    labelled = random.random((31, 47)) > 0.3
    unlabelled = 255 if id_type == np.uint8 else 65535
    plain = to_class_ids(labels, table)
    masked = to_class_ids(labels, table, labelled)
    assert plain.dtype == masked.dtype == id_type
    for (row, column), label in np.ndenumerate(labels):
        assert plain[row, column] == table[label]
        assert masked[row, column] == (table[label] if labelled[row, column] else unlabelled)
