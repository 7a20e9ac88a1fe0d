# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Which failures of the model cost a frame, and which end the process.

When memory runs out, CUDA graphs and caches are freed and the images are segmented one by one; an
image that was alone is tried once more. After any other error of CUDA, the device is probed with a
small product. Some errors leave the context unusable, so that every later call fails too. If the
device still computes, the error costs one frame.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import torch

from clip_dinoiser_ros.core.errors import one_line
from clip_dinoiser_ros.core.memory import free_memory, is_out_of_memory

MOST_IN_A_ROW = 10  # CUDA errors without a success between them
BIGGER_AGAIN_S = 10.0  # how long images are segmented one by one before batches are tried again
NEEDS_LESS = 'fewer classes, a smaller short_side or precision fp16 need less'
_CUDA = ('CUDA error', 'CUDA driver error', 'cuDNN error', 'CUBLAS_STATUS', 'CUDNN_STATUS')
Item = TypeVar('Item')
Result = TypeVar('Result')


class FinalError(RuntimeError):
    """The device no longer works in this process; says what it reported."""


def is_of_cuda(error: Exception) -> bool:
    """Return whether an error comes from CUDA, other than a lack of memory."""
    if is_out_of_memory(error):
        return False
    accelerator = getattr(torch, 'AcceleratorError', None)  # since torch 2.8
    if accelerator is not None and isinstance(error, accelerator):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _CUDA)


def computes(device: torch.device) -> bool:
    """Return whether a device still computes a small product correctly."""
    try:
        ones = torch.ones(16, 16, device=device)
        return bool((ones @ ones == 16).all())
    except Exception:  # whatever a broken device raises
        return False


class FinalErrors:
    """Separates errors after which the device no longer works from those that cost a frame.

    Args:
        works: Probes the device.
    """

    def __init__(self, works: Callable[[], bool]) -> None:
        self._works = works
        self._in_a_row = 0

    def succeeded(self) -> None:
        """Note that the model returned."""
        self._in_a_row = 0

    def refuse(self, error: Exception) -> None:
        """Raise FinalError if an error is final; return if it is not.

        A CUDA error is final if the device does not pass the probe, or after `MOST_IN_A_ROW`
        errors in a row.
        """
        if not is_of_cuda(error):
            return
        self._in_a_row += 1
        if self._in_a_row >= MOST_IN_A_ROW or not self._works():
            raise FinalError(one_line(error, 300)) from error


class Guard(Generic[Item, Result]):
    """Runs the model on images, one by one if memory does not suffice for the batch.

    Args:
        call: The model: results for a list of images, in their order.
        errors: Tells final errors from others.
        logger: `warning(text)` when batches are split, `info(text)` when they work again.
        free: Frees memory before a second attempt.
        clock: Steady clock in seconds.

    Attributes:
        degraded: Whether images are segmented one by one.
    """

    def __init__(
        self,
        call: Callable[[Sequence[Item]], Sequence[Result]],
        errors: FinalErrors,
        logger: Any,
        free: Callable[[], None] = free_memory,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._call, self._errors, self._logger = call, errors, logger
        self._free, self._clock = free, clock
        self.degraded = False
        self._bigger_from_s = 0.0  # when batches are tried again

    def run(self, images: Sequence[Item]) -> list[Result | Exception]:
        """Return the result or the error of each image.

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
        if isinstance(outcome, Exception) and is_out_of_memory(outcome):
            self._degrade(outcome)
            outcome = self._attempt([image])
        return outcome if isinstance(outcome, Exception) else outcome[0]

    def _attempt(self, images: Sequence[Item]) -> Sequence[Result] | Exception:
        try:
            results = self._call(images)
        except Exception as error:  # whatever a model raises
            self._errors.refuse(error)
            return error.with_traceback(None)
        self._errors.succeeded()
        return results

    def _degrade(self, error: Exception) -> None:
        self._free()
        self._bigger_from_s = self._clock() + BIGGER_AGAIN_S
        if not self.degraded:
            self._logger.warning(
                'not enough memory on the device: images are segmented one by one now '
                f'({one_line(error, 300)}); {NEEDS_LESS}'
            )
        self.degraded = True

    def _recover(self) -> None:
        if self.degraded:
            self._logger.info('enough memory on the device again: images are segmented together')
        self.degraded = False
