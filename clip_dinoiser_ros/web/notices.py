# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Those who want to hear that something changed, told in a thread of their own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

logger = logging.getLogger(__name__)


class Notices:
    """Calls callbacks after `notify`; once for several that came meanwhile.

    A callback may ask the source, which the thread that notifies must not wait for.
    """

    def __init__(self) -> None:
        self._callbacks: dict[object, Callable[[], None]] = {}
        self._news = threading.Event()
        self._closed = False
        threading.Thread(target=self._work, name='notices', daemon=True).start()

    def add(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` after changes until the returned function is called."""
        key = object()
        self._callbacks[key] = callback

        def stop() -> None:
            self._callbacks.pop(key, None)

        return stop

    def notify(self) -> None:
        """Tell all; returns at once."""
        self._news.set()

    def close(self) -> None:
        """End the thread."""
        self._closed = True
        self._news.set()

    def _work(self) -> None:
        while True:
            self._news.wait()
            self._news.clear()
            if self._closed:
                return
            for callback in [*self._callbacks.values()]:
                try:
                    callback()
                except Exception:  # a page that has just gone must not end the thread
                    logger.exception('a callback failed')
