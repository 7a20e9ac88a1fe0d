# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Runs programs: their output is shown and kept for the error message."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Ended:
    """A program that has ended, with its output."""

    status: int
    output: str
    log: str = ''  # contents of its log file


def say(text: str) -> None:
    """Print a line of the set-up."""
    print(f'setup: {text}', flush=True)  # noqa: T201


def run(
    command: Sequence[str | Path], environment: Mapping[str, str], quiet: bool = False
) -> Ended:
    """Run a program; on a terminal its lines are shown as they come, unless `quiet`."""
    shown = sys.stderr.isatty() and not quiet
    lines = []
    with subprocess.Popen(
        [str(part) for part in command],
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding='utf-8',
        errors='replace',
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                lines.append(line)
                if shown:
                    sys.stderr.write(line)
            process.wait()
        finally:  # uv leaves build processes behind, which keep writing
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    return Ended(process.returncode, ''.join(lines))
