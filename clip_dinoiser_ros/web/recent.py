# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Questions that all pages have, asked once for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar('T')


class Recent(Generic[T]):
    """The last answer to a question, for a while. Everyone who asks meanwhile gets it.

    Args:
        ask: Asks in a thread; may block and raise.
        seconds: How long an answer is good.
    """

    def __init__(self, ask: Callable[[], T], seconds: float = 0.9) -> None:
        self._ask, self._seconds = ask, seconds
        self._asked: asyncio.Task[T] | None = None
        self._since = 0.0

    async def get(self) -> T:
        """Return the answer; raises what the question raised."""
        now = asyncio.get_running_loop().time()
        if self._asked is None or (self._asked.done() and now > self._since + self._seconds):
            self._asked = asyncio.create_task(asyncio.to_thread(self._ask))
            self._since = now
        return await asyncio.shield(self._asked)

    def forget(self) -> None:
        """Ask again next time: something changed."""
        self._asked = None
