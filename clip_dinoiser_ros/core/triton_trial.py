# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Finds out on which devices a Triton kernel runs."""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch

from clip_dinoiser_ros.core.memory import is_out_of_memory

_log = logging.getLogger(__name__)


class Trial:
    """Where a kernel runs. Where it does not, one warning says so.

    Args:
        work: What the kernel does, for the warning.
        try_out: Runs the kernel on a small input; returns what is wrong with its result, or ''.

    Attributes:
        works: Whether it runs on each device tried so far; does not change to True again.
    """

    def __init__(self, work: str, try_out: Callable[[torch.device], str]) -> None:
        self.works: dict[torch.device, bool] = {}
        self._work = work
        self._try_out = try_out

    def usable(self, device: torch.device) -> bool:
        """Return whether the kernel runs on this device. A GPU must have an index.

        The first call compiles the kernel, which takes seconds unless Triton has it in its cache.
        """
        if device.type != 'cuda':
            return False
        if device not in self.works:
            try:
                reason = self._try_out(device)
            except Exception as error:  # not installed, no compiler, an unknown GPU: many types
                if is_out_of_memory(error):  # temporary
                    return False
                reason = f'{type(error).__name__}: {error}'
            if reason:
                self._rule_out(device, reason)
            else:
                self.works[device] = True
        return self.works[device]

    def run(self, device: torch.device, launch: Callable[[], None]) -> bool:
        """Launch the kernel if it runs on the device; return whether it did.

        Raises:
            RuntimeError: Too little memory.
        """
        if not self.usable(device):
            return False
        try:
            launch()
        except Exception as error:  # compiler, driver and Python raise many types
            if is_out_of_memory(error):
                raise
            self._rule_out(device, f'{type(error).__name__}: {error}')
            return False
        return True

    def _rule_out(self, device: torch.device, reason: str) -> None:
        self.works[device] = False
        _log.warning('%s without the Triton kernel, which is slower: %s', self._work, reason)
