# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Nothing that comes from outside raises anything but the error that says what is wrong with it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip('rosbags', reason='recordings need rosbags')

from damage import damaged
from targets import TARGETS, seeds


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
