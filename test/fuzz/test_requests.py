# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Whatever a request holds, it is answered or refused with a reason."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip('rclpy', reason='no ROS here: the node cannot run')

from damage import damaged
from requests_as_bytes import NUMBERS, REQUESTS, find_request, seeds

WHOLE = {name: seeds(name) for name in REQUESTS}
ODD = st.sampled_from([math.nan, math.inf, -math.inf, 3e38, -1.0, -0.0, 1e-45, 1.0])
TEXTS = st.text(st.characters(exclude_categories=['Cs']), max_size=12)
LINES = TEXTS | st.sampled_from(['', 'camera', 'red ball', 'a|', '\x00', '\u202e'])


@pytest.mark.parametrize('name', REQUESTS)
def test_whole_requests_are_answered(name, caplog):
    """Otherwise the other tests would look at refusals only."""
    caplog.set_level('DEBUG', 'fuzz')
    for content in WHOLE[name]:
        REQUESTS[name](content)
    refused = [record.message for record in caplog.records if record.message.startswith('refused')]
    known = "refused: no transform from '' to target_frame 'map'"
    assert not [text for text in refused if not text.startswith(known)]


@pytest.mark.parametrize('name', REQUESTS)
@given(data=st.data())
@settings(max_examples=20, deadline=None)
def test_damaged_requests(name, data):
    REQUESTS[name](data.draw(damaged(WHOLE[name])))


@pytest.mark.long
@pytest.mark.parametrize('name', REQUESTS)
@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_many_damaged_requests(name, data):
    REQUESTS[name](data.draw(damaged(WHOLE[name])))


@given(
    numbers=st.tuples(ODD, st.just(0.0) | ODD, ODD, ODD),
    lines=st.lists(
        TEXTS | st.sampled_from(['', 'camera', 'red ball', 'a|', '\x00', '\u202e']), max_size=6
    ),
)
@settings(max_examples=50, deadline=None)
def test_odd_numbers_and_texts_of_find(numbers, lines):
    find_request(NUMBERS.pack(*numbers) + '\n'.join(lines).encode())
