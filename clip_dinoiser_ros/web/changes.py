# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Changes of the settings by all pages of a server, one after the other, with undo."""

from __future__ import annotations

import threading

from clip_dinoiser_ros.web.source import RefusedError, Settings, Source

_KEPT = 50  # changes that can be undone


class Changes:
    """Changes a source. Every method may block.

    Attributes:
        is_encoding: A change is on its way, and the settings before it go on.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._earlier: list[Settings] = []
        self._turn = threading.Lock()
        self.is_encoding = False

    @property
    def can_undo(self) -> bool:
        """Whether there is a change of this server to undo."""
        return bool(self._earlier)

    def make(self, settings: Settings) -> None:
        """Change some of the settings; raises `RefusedError` with the reason."""
        with self._turn:
            before = self._source.settings()
            self._change(settings)
            self._earlier.append({name: before[name] for name in settings})
            del self._earlier[:-_KEPT]

    def undo(self) -> None:
        """Go back to the settings before the last change that was made here."""
        with self._turn:
            if not self._earlier:
                raise RefusedError('there is nothing to undo')
            self._change(self._earlier[-1])
            self._earlier.pop()

    def _change(self, settings: Settings) -> None:
        if not self._source.can_change:
            raise RefusedError('this page may only look')
        self.is_encoding = True
        try:
            self._source.change(settings)
        finally:
            self.is_encoding = False
