# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""A page in a process of its own, as a user starts it."""

import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

from browser import wait_for

FAKE = Path(__file__).with_name('fake_source.py')


class ServedPage:
    """A process that serves a page; `program` is what Python runs."""

    def __init__(self, *program, port=0):
        self.lines = []
        self.process = subprocess.Popen(
            [sys.executable, *map(str, program), '--port', str(port)],
            env={**os.environ},
            stderr=subprocess.PIPE,
            text=True,
        )
        threading.Thread(target=self._read, daemon=True).start()
        self.address = wait_for(self._find, 60, 'the address of the page')

    def _read(self):
        for line in self.process.stderr:
            self.lines.append(line.rstrip())

    def _find(self):
        assert self.process.poll() is None, '\n'.join(self.lines)
        found = re.search(r'^page: (http\S+)$', '\n'.join(self.lines), re.MULTILINE)
        return found and found[1]

    @property
    def port(self):
        return int(re.search(r':(\d+)/', self.address)[1])

    def watchers(self, camera):
        """How many watch a camera of the fake source."""
        told = [line for line in self.lines if f'watched {camera}: ' in line]
        return int(told[-1].rsplit(' ', 1)[1]) if told else 0

    def close(self):
        """End it as Ctrl+C does; return its exit code."""
        self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(20)
        finally:
            self.process.kill()
