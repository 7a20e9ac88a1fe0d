# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Browsers and pages; the tests with a live node use the harness of those of the node."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / 'node'))

from browser import Browser
from served import FAKE, ServedPage


@pytest.fixture(scope='module')
def browser():
    with_chromium = Browser()
    yield with_chromium
    with_chromium.close()


@pytest.fixture
def second_browser():
    with_chromium = Browser()
    yield with_chromium
    with_chromium.close()


@pytest.fixture
def fake_page(tmp_path):
    """The page of a fake source; nothing of it is real but the page."""
    served = ServedPage(FAKE, '--sets', tmp_path / 'sets')
    yield served
    served.close()
