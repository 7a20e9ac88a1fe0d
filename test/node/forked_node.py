# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The node in a fork of a process that has imported everything: its imports take most of a start.

Such a process ends as the program does: multiprocessing leaves by `os._exit`, too.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection

SERVER = multiprocessing.get_context('forkserver')
# pytest is the main module of the process that asks, and multiprocessing imports that in each fork
SERVER.set_forkserver_preload(['pytest', 'open_clip', 'clip_dinoiser_ros.node.main'])


def serve(
    arguments: list[str],
    environment: dict[str, str],
    output: Connection,
    prepare: Callable[[], None] | None,
) -> None:
    """Be the node: the program that `arguments` begin with, without its check for torch."""
    from clip_dinoiser_ros.node.main import main

    threading.Thread(target=_end_with_tests, daemon=True).start()
    os.environ.clear()
    os.environ.update(environment)
    for stream in (1, 2):
        os.dup2(output.fileno(), stream)
    output.close()
    sys.argv = arguments
    if prepare is not None:
        prepare()
    sys.exit(main())


def _end_with_tests() -> None:
    """Leave no node behind when the process of the tests is killed."""
    multiprocessing.parent_process().join()
    os._exit(1)


class ForkedNode:
    """A node that can be treated as a `subprocess.Popen`."""

    def __init__(
        self,
        arguments: list[str],
        environment: dict[str, str],
        prepare: Callable[[], None] | None = None,
    ) -> None:
        reader, writer = SERVER.Pipe(duplex=False)
        self._process = SERVER.Process(
            target=serve, args=(arguments, environment, writer, prepare), daemon=True
        )
        self._process.start()
        writer.close()
        self.stdout = os.fdopen(os.dup(reader.fileno()), errors='replace')
        reader.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout_s: float | None = None) -> int:
        self._process.join(timeout_s)
        if self._process.exitcode is None:
            raise TimeoutError(f'the node did not end within {timeout_s} s')
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        self._process.kill()
