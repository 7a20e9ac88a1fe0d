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
    with pytest.raises(TooManyClassesError, match=r"'one more': all ids up to 65534 belong"):
        full.with_names(['one more'])
    assert full.with_names(names[:3]).table(names[:3]).tolist() == [0, 1, 2]


def numbered(*numbers):
    return [f'class {number}' for number in numbers]


def test_names_are_kept_in_the_order_of_their_last_use():
    ids = ClassIds().with_names(['a', 'b', 'c']).with_names(['b']).with_names(['d', 'a'])
    assert list(ids.known.items()) == [('c', 2), ('b', 1), ('d', 3), ('a', 0)]


def test_a_largest_id_is_kept():
    ids = ClassIds(largest=2).with_names(['a', 'b', 'c'])
    assert ids.table(['c', 'a']).tolist() == [2, 0]
    with pytest.raises(TooManyClassesError, match=r"'d': all ids up to 2 belong"):
        ids.with_names(['a', 'd'])


def test_fixed_ids_win_and_are_given_to_nobody_else():
    ids = ClassIds().with_names(['a', 'b', 'c']).with_fixed({'b': 0, 'z': 1})
    assert ids.known == {'c': 2, 'b': 0}  # the id of a belongs to b now
    ids = ids.with_names(['a', 'b', 'z', 'y'])
    assert ids.table(['a', 'b', 'z', 'y', 'c']).tolist() == [3, 0, 1, 4, 2]


def test_ids_above_the_largest_are_forgotten():
    ids = ClassIds().with_names(numbered(*range(300))).with_fixed({}, 254)
    assert list(ids.known) == numbered(*range(255))
    assert ids.with_names(['class 7']).table(['class 7']).tolist() == [7]


def test_names_longest_unused_give_their_ids_away_when_bytes_are_used_up():
    full = ClassIds().with_names(numbered(*range(255)))
    full = full.with_names(numbered(3, 4)).with_names(['one too many'])
    assert full.with_names(numbered(5)).with_room(numbered(5)).known.keys() >= {'class 5'}
    names = [*numbered(0), 'new']
    roomy = full.with_room(names)
    # class 0 is used: those behind it go, and the name whose id is no byte
    gone = [name for name in full.known if name not in roomy.known]
    assert gone == [*numbered(1, 2, *range(5, 5 + 30)), 'one too many']
    assert all(full.known[name] == class_id for name, class_id in roomy.known.items())
    begun = roomy.with_names(names)
    assert begun.table(names).tolist() == [0, 1]
    assert begun.with_room(names) is begun  # there is room now
    assert begun.with_names(numbered(1000 + i for i in range(31))).known
    later = begun.with_names(numbered(*range(1000, 1031)))
    assert max(later.known.values()) == 254


def test_names_that_need_more_than_bytes_take_no_ids_away():
    full = ClassIds().with_names(numbered(*range(255)))
    many = numbered(*range(300, 600))
    assert full.with_room(many) is full
    assert full.with_names(many).with_room(many).known.keys() >= set(numbered(*range(255)))


@given(st.lists(st.lists(st.sampled_from('abcdefgh'), unique=True, min_size=1), max_size=8))
def test_room_keeps_what_is_used_and_fixed(histories):
    ids = ClassIds(largest=8).with_fixed({'h': 3}, 8)
    for names in histories:
        roomy = ids.with_room(names)
        kept = {name: class_id for name, class_id in ids.known.items() if name in {*names, 'h'}}
        assert kept.items() <= roomy.known.items() <= ids.known.items()
        ids = roomy.with_names(names)
        values = list(ids.known.values())
        assert len(set(values)) == len(values)
        assert all((name == 'h') == (class_id == 3) for name, class_id in ids.known.items())


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
