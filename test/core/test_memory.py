# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""What is not needed any more goes back to the system."""

import platform
import subprocess
import sys

import pytest

# pieces below glibc's threshold for a mapping of their own; the last one keeps the heap's end
HOLES = """
from pathlib import Path
from clip_dinoiser_ros.core.memory import free_memory

def rss_mib():
    line = next(l for l in Path('/proc/self/status').read_text().splitlines() if 'VmRSS' in l)
    return int(line.split()[1]) / 1024

pieces = [b'x' * (60_000 + i % 7) for i in range(4000)]
del pieces[:-1]
before = rss_mib()
free_memory()
print(before - rss_mib())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='another C library')
def test_holes_of_the_heap_go_back_to_the_system():
    run = subprocess.run([sys.executable, '-c', HOLES], check=True, capture_output=True, text=True)
    assert float(run.stdout) > 200
