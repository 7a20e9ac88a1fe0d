# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Nothing that comes from outside raises anything but the error that says what is wrong with it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip('rosbags', reason='recordings need rosbags')

from targets import TARGETS, seeds

NUMBERS = (b'\x00' * 8, b'\xff' * 8, b'\x7f' + b'\xff' * 7, b'\x01' + b'\x00' * 7)


@st.composite
def damaged(draw, wholes):
    """Whole input with some of it cut, turned over, taken out, doubled or put in."""
    content = bytearray(draw(st.sampled_from(wholes)))
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, len(content)))
        end = min(len(content), place + draw(st.sampled_from([1, 2, 4, 8, 64])))
        match draw(st.sampled_from(['cut', 'turn', 'take', 'double', 'number', 'put'])):
            case 'cut':
                del content[place:]
            case 'turn' if place < len(content):
                content[place] ^= 1 << draw(st.integers(0, 7))
            case 'take':
                del content[place:end]
            case 'double':
                content[place:place] = content[place:end]
            case 'number':
                content[place:end] = draw(st.sampled_from(NUMBERS))[: end - place]
            case 'put':
                content[place:place] = draw(st.binary(max_size=8))
    return bytes(content)


@pytest.mark.long
@pytest.mark.parametrize('name', TARGETS)
@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_damaged_input(name, data):
    TARGETS[name](data.draw(damaged(WHOLE[name])))


@pytest.mark.parametrize('name', TARGETS)
@given(content=st.binary(max_size=300))
@settings(max_examples=50, deadline=None)
def test_any_bytes(name, content):
    TARGETS[name](content)


WHOLE = {name: seeds(name) for name in TARGETS}
