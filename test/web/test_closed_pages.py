# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Pages that were closed do not stay in memory; in a process of its own, with a fake source."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip('nicegui', reason='the page needs NiceGUI')

PAGES = 5
PROGRAM = f"""
import gc
import time
from pathlib import Path

from fake_source import FakeSource
from nicegui import Client
from starlette.testclient import TestClient

from clip_dinoiser_ros.web.access import Access
from clip_dinoiser_ros.web.page import Page
from clip_dinoiser_ros.web.server import make_app

def pages():
    gc.collect()
    return sum(type(one) is Page for one in gc.get_objects())

app = make_app(FakeSource(), Access(), 80, Path('sets'))
with TestClient(app, base_url='http://localhost') as browser:
    for _ in range({PAGES}):
        assert browser.get('/').status_code == 200
    print(pages())
    for client in list(Client.instances.values()):
        client.delete()
    del client
    ends_s = time.monotonic() + 20
    while pages() and time.monotonic() < ends_s:  # their tasks end soon
        time.sleep(0.1)
    print(pages())
"""


def test_closed_pages_leave_memory(tmp_path):
    ended = subprocess.run(
        [
            sys.executable,
            '-c',
            f'import sys; sys.path.append({str(Path(__file__).parent)!r})' + PROGRAM,
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    opened, left = map(int, ended.stdout.split())
    assert opened == PAGES
    assert left == 0
