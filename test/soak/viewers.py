# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Viewers of the page of a node, who come, watch a camera for a while, and go."""

from __future__ import annotations

import contextlib
import random
import sys
import time
import urllib.request
from pathlib import Path

from harness import Program, executable, holdings
from load import CAMERAS, Diary
from websockets.exceptions import ConnectionClosedError
from websockets.frames import CloseCode
from websockets.sync.client import connect

STAY_S = (0.3, 3.0)
PATIENCE_S = 0.5  # with a node that is not active; then the frame is asked for again


class PageProcess(Program):
    """The page of the node, as a user starts it."""

    def __init__(self, folder: Path) -> None:
        program = executable().with_name('web')
        super().__init__(sys.executable, program, '--port', '0', '--sets', folder / 'sets')

    @property
    def address(self) -> str:
        """Where a browser finds it."""
        self.wait_for_log('page: ')
        line = next(line for line in self.lines if line.startswith('page: '))
        return line.removeprefix('page: ').rstrip('/')

    def holdings(self) -> dict[str, float]:
        """What it holds now, for a sample."""
        return {f'page_{key}': value for key, value in holdings(self.process.pid).items()}


def view(diary: Diary, address: str, seed: int) -> None:
    """Be a viewer who opens the page and watches one of the cameras, again and again."""
    chance = random.Random(seed)
    while not diary.stop.is_set():
        with urllib.request.urlopen(address, timeout=30) as page:
            page.read()
        stream = f'{address.replace("http", "ws", 1)}/video/camera/{chance.choice(CAMERAS)}'
        try:
            _watch(diary, stream, address, chance.uniform(*STAY_S))
        except ConnectionClosedError as error:
            if error.rcvd is None or error.rcvd.code != CloseCode.TRY_AGAIN_LATER:
                raise
            diary.stop.wait(PATIENCE_S)  # the page has not found the node yet
        else:
            diary.note('viewers that came and went')


def _watch(diary: Diary, stream: str, address: str, stay_s: float) -> None:
    with connect(stream, origin=address, max_size=None, compression=None) as viewer:
        ends_s = time.monotonic() + stay_s
        while time.monotonic() < ends_s and not diary.stop.is_set():
            viewer.send('image,labels')
            with contextlib.suppress(TimeoutError):
                viewer.recv(timeout=PATIENCE_S)
                diary.note('frames shown to viewers')
