# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Messages of several topics that belong to one image, brought together by their stamp."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

MOST_BYTES = 256 * 2**20  # of images that wait for their labels
MOST_STAMPS = 1000


class Pairs:
    """Collects messages until all kinds of one stamp are there.

    What came before a complete frame is dropped with it, whatever its stamp: a clock may jump back.

    Args:
        needed: The kinds without which a frame is not complete.
        most_bytes: The oldest are dropped beyond that.
    """

    def __init__(self, needed: Collection[str], most_bytes: int = MOST_BYTES) -> None:
        self._needed, self._most_bytes = frozenset(needed), most_bytes
        self._waiting: dict[int, dict[str, Any]] = {}  # by stamp, in the order of arrival
        self._sizes: dict[int, int] = {}  # bytes

    def put(
        self, kind: str, stamp_ns: int, message: Any, size: int = 0
    ) -> Mapping[str, Any] | None:
        """Add a message of so many bytes; return the frame that it completes, by kind."""
        messages = self._waiting.setdefault(stamp_ns, {})
        messages[kind] = message
        self._sizes[stamp_ns] = max(size, self._sizes.get(stamp_ns, 0))
        if messages.keys() >= self._needed:
            while self._drop_oldest() != stamp_ns:
                pass
            return messages
        while len(self._waiting) > 1 and (
            len(self._waiting) > MOST_STAMPS or sum(self._sizes.values()) > self._most_bytes
        ):
            self._drop_oldest()
        return None

    def _drop_oldest(self) -> int:
        stamp_ns = next(iter(self._waiting))
        del self._waiting[stamp_ns], self._sizes[stamp_ns]
        return stamp_ns
