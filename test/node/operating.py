# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""A peer that watches /diagnostics, as an operator does."""

from __future__ import annotations

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from harness import RELIABLE, Peer

MODEL = 'segmentation model'


class Operator(Peer):
    """A peer that watches /diagnostics."""

    def __init__(self) -> None:
        super().__init__()
        self.arrays: list[dict[str, DiagnosticStatus]] = []  # by name, in order
        self.stamps: list[int] = []  # of the arrays, whole seconds
        self.node.create_subscription(DiagnosticArray, '/diagnostics', self._see, RELIABLE)

    def _see(self, message: DiagnosticArray) -> None:
        with self._new:
            self.arrays.append({status.name: status for status in message.status})
            self.stamps.append(message.header.stamp.sec)
            self._new.notify_all()

    def status(self, name: str, condition=lambda status: True) -> DiagnosticStatus:
        """Wait until the newest status of a camera or of the model fulfils a condition."""
        key = f'clip_dinoiser: {name}'

        found = []

        def there():
            newest = self.arrays[-1].get(key) if self.arrays else None
            if newest is not None and condition(newest):
                found.append(newest)
            return found

        try:
            self.until(there)
        except AssertionError:
            raise AssertionError(f'{name}: {self.arrays[-1:]}') from None
        return found[0]

    def shows(self, name: str, state: str) -> bool:
        """Whether the newest message says that a camera is in a state."""
        status = self.arrays[-1].get(f'clip_dinoiser: {name}') if self.arrays else None
        return status is not None and values(status)['state'] == state

    def in_state(self, name: str, state: str) -> DiagnosticStatus:
        """Wait until the newest message says that a camera is in a state."""
        return self.status(name, lambda status: values(status)['state'] == state)

    def next_arrays(self, count: int) -> list[dict[str, DiagnosticStatus]]:
        """Wait for so many more messages; return them."""
        start = len(self.arrays)
        self.until(lambda: len(self.arrays) >= start + count)
        return self.arrays[start:]


def values(status: DiagnosticStatus) -> dict[str, str]:
    """The values of a status by key."""
    return {item.key: item.value for item in status.values}
