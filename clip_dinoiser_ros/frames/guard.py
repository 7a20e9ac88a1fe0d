# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Which failures of the model cost a frame, and which end the process.

Too little memory costs no frame: memory is freed and the images are segmented one by one. Any other
error of CUDA poisons the context for good: every later call fails too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import torch

from clip_dinoiser_ros.core.memory import free_memory, is_out_of_memory
from clip_dinoiser_ros.core.reasons import one_line

BIGGER_AGAIN_S = 10.0  # how long images go one by one before they are tried together again
NEEDS_LESS = 'fewer classes, a smaller short_side or precision fp16 need less'
_CUDA = ('CUDA error', 'CUDA driver error', 'cuDNN error', 'CUBLAS_STATUS', 'CUDNN_STATUS')
Item = TypeVar('Item')
Result = TypeVar('Result')


class FinalError(RuntimeError):
    """The device does not work any more in this process; says what it reported."""


def is_final(error: Exception) -> bool:
    """Whether an error says that CUDA failed, for another reason than too little memory."""
    if is_out_of_memory(error):
        return False
    accelerator = getattr(torch, 'AcceleratorError', None)  # since torch 2.8
    if accelerator is not None and isinstance(error, accelerator):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _CUDA)


def refuse_final(error: Exception) -> None:
    """Raise FinalError from an error that is final; return where it is not."""
    if is_final(error):
        raise FinalError(one_line(error, 300)) from error


class Guard(Generic[Item, Result]):
    """Runs the model on images, in smaller steps where memory does not suffice.

    Args:
        call: The model: results for a list of images, in their order.
        logger: `warning(text)` when images begin to go one by one, `info(text)` when they go
            together again.
        free: Gives memory back before a second attempt.
        clock: Steady clock in seconds.

    Attributes:
        degraded: Whether images go one by one.
    """

    def __init__(
        self,
        call: Callable[[Sequence[Item]], Sequence[Result]],
        logger: Any,
        free: Callable[[], None] = free_memory,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._call, self._logger, self._free, self._clock = call, logger, free, clock
        self.degraded = False
        self._bigger_from_s = 0.0  # when images are tried together again

    def run(self, images: Sequence[Item]) -> list[Result | Exception]:
        """Return for each image its result, or what kept it from one.

        Raises:
            FinalError: CUDA failed for good.
        """
        together = len(images) > 1 and (not self.degraded or self._clock() >= self._bigger_from_s)
        if together:
            outcome = self._attempt(images)
            if not isinstance(outcome, Exception):
                self._recover()
                return list(outcome)
            if not is_out_of_memory(outcome):
                return [outcome] * len(images)
            self._degrade(outcome)
        # not in an `except` block: the exception would keep the tensors of its frames alive
        return [self._alone(image) for image in images]

    def _alone(self, image: Item) -> Result | Exception:
        outcome = self._attempt([image])
        if not isinstance(outcome, Exception):
            return outcome[0]
        if is_out_of_memory(outcome):
            self._degrade(outcome)
        return outcome

    def _attempt(self, images: Sequence[Item]) -> Sequence[Result] | Exception:
        try:
            return self._call(images)
        except Exception as error:  # whatever a model raises
            refuse_final(error)
            return error.with_traceback(None)

    def _degrade(self, error: Exception) -> None:
        self._free()
        self._bigger_from_s = self._clock() + BIGGER_AGAIN_S
        if not self.degraded:
            self._logger.warning(
                'too little memory on the device: images go one by one now '
                f'({one_line(error, 300)}); {NEEDS_LESS}'
            )
        self.degraded = True

    def _recover(self) -> None:
        if self.degraded:
            self._logger.info('memory on the device suffices again: images go together')
        self.degraded = False
