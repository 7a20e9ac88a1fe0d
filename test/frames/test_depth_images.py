# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Depth images: both encodings, either byte order, padded rows, what counts as not measured."""

import struct
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clip_dinoiser_ros.frames.images import ImageError, to_depth

FORMATS = {'16UC1': 'H', 'mono16': 'H', '32FC1': 'f'}


def message(encoding, samples, padding=0, big=False, **changes):
    """A depth image of rows of numbers, packed one by one."""
    order = '>' if big else '<'
    rows = [
        b''.join(struct.pack(order + FORMATS[encoding], value) for value in row) + b'\xaa' * padding
        for row in samples
    ]
    fields = {
        'height': len(samples),
        'width': len(samples[0]),
        'encoding': encoding,
        'is_bigendian': int(big),
        'step': len(rows[0]),
        'data': b''.join(rows),
    }
    return SimpleNamespace(**{**fields, **changes})


@pytest.mark.parametrize('encoding', ['16UC1', 'mono16'])
@given(
    st.lists(st.tuples(*[st.integers(0, 65535)] * 3), min_size=1, max_size=4),
    st.integers(0, 3),
    st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_millimetres(encoding, samples, words, big):
    depth = to_depth(message(encoding, samples, 2 * words, big))
    assert depth.dtype == np.float32
    expected = [[value / 1000 if value else np.nan for value in row] for row in samples]
    np.testing.assert_array_equal(depth, np.float32(expected))


@given(
    st.lists(st.tuples(*[st.floats(width=32)] * 3), min_size=1, max_size=4),
    st.integers(0, 3),
    st.booleans(),
)
@settings(max_examples=40, deadline=None)
def test_metres(samples, words, big):
    depth = to_depth(message('32FC1', samples, 4 * words, big))
    expected = [[v if 0 < v < float('inf') else np.nan for v in row] for row in samples]
    np.testing.assert_array_equal(depth, np.float32(expected))


def test_what_was_not_measured():
    rows = [(0.0, -0.0, -1.5), (float('inf'), float('-inf'), float('nan')), (1e-3, 2.5, 80.0)]
    depth = to_depth(message('32FC1', rows))
    assert np.isnan(depth).tolist() == [[True] * 3, [True] * 3, [False] * 3]


def test_the_message_stays_as_it_was():
    sent = message('32FC1', [(1.0, float('inf'))])
    data = bytearray(sent.data)
    to_depth(SimpleNamespace(**{**vars(sent), 'data': data}))
    assert bytes(data) == sent.data


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        ({'encoding': 'rgb8'}, ["'rgb8'", 'no depth', '16UC1', '32FC1']),
        ({'encoding': '32FC1'}, ['step 4', 'at least 8']),
        ({'step': 3}, ['step 3', 'at least 4']),
        ({'step': 5}, ['step 5', 'multiple of 2']),
        ({'height': 0}, ['height 0']),
        ({'height': 3}, ['8 bytes', 'at least 12']),
        ({'height': 2**16, 'width': 2**16}, ['pixels', 'allowed']),
        ({'data': None}, ['NoneType']),
    ],
)
def test_refusals_say_what_is_wrong(changes, words):
    good = message('16UC1', [(1, 2), (3, 4)])
    to_depth(good)
    with pytest.raises(ImageError) as caught:
        to_depth(SimpleNamespace(**{**vars(good), **changes}))
    for word in words:
        assert word in str(caught.value)
