# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Which failures of the model cost a frame, which end the process, and who notices a hanging call.

Where memory is too little, it is given back and the images go through one by one. After any other
error of CUDA the device is probed with a small product. Some errors leave the context unusable, so
that every later call fails too: then the process says so and ends with exit code 1, and whoever
started it starts it again. An error after which the device still computes costs a frame.
"""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import torch

from clip_dinoiser_ros.core.memory import free_memory, is_out_of_memory
from clip_dinoiser_ros.core.reasons import one_line

MOST_IN_A_ROW = 10  # errors of CUDA without a frame between them
BIGGER_AGAIN_S = 10.0  # how long images go one by one before they are tried together again
NEEDS_LESS = 'fewer classes, a smaller short_side or precision fp16 need less'
_CUDA = ('CUDA error', 'CUDA driver error', 'cuDNN error', 'CUBLAS_STATUS', 'CUDNN_STATUS')
Item = TypeVar('Item')
Result = TypeVar('Result')


class FinalError(RuntimeError):
    """The device does not work any more in this process; says what it reported."""


def is_of_cuda(error: Exception) -> bool:
    """Whether an error says that CUDA failed, for another reason than too little memory."""
    if is_out_of_memory(error):
        return False
    accelerator = getattr(torch, 'AcceleratorError', None)  # since torch 2.8
    if accelerator is not None and isinstance(error, accelerator):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _CUDA)


def computes(device: torch.device) -> bool:
    """Whether a device still gives the right result of a small product."""
    try:
        ones = torch.ones(16, 16, device=device)
        return bool((ones @ ones == 16).all())
    except Exception:  # whatever a broken device raises
        return False


class FinalErrors:
    """Tells errors after which the device does not work any more from those that cost a frame.

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
        """Raise FinalError from an error that is final; return where it is not.

        An error of CUDA is final where the device does not pass the probe, and where it comes
        `MOST_IN_A_ROW` times without a success between: then a new process is worth a try.
        """
        if not is_of_cuda(error):
            return
        self._in_a_row += 1
        if self._in_a_row >= MOST_IN_A_ROW or not self._works():
            raise FinalError(one_line(error, 300)) from error


class Guard(Generic[Item, Result]):
    """Runs the model on images, in smaller steps where memory does not suffice.

    Args:
        call: The model: results for a list of images, in their order.
        errors: Tells final errors from others.
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
        errors: FinalErrors,
        logger: Any,
        free: Callable[[], None] = free_memory,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._call, self._errors, self._logger = call, errors, logger
        self._free, self._clock = free, clock
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
                'too little memory on the device: images go one by one now '
                f'({one_line(error, 300)}); {NEEDS_LESS}'
            )
        self.degraded = True

    def _recover(self) -> None:
        if self.degraded:
            self._logger.info('memory on the device suffices again: images go together')
        self.degraded = False


class Watchdog:
    """Notices that a call of the model does not return. Use it as `with watchdog:` around the call.

    Args:
        timeout_s: How long a call may take, on the steady clock; 0: as long as it likes.
        hangs: Called once, in the thread of the watchdog, with a line that says what was noticed.
        clock: Steady clock in seconds.
    """

    def __init__(
        self,
        timeout_s: float,
        hangs: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._timeout_s, self._hangs, self._clock = timeout_s, hangs, clock
        self._since_s: float | None = None
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._watch, name='watchdog', daemon=True)
        if timeout_s > 0:
            self._thread.start()

    def __enter__(self) -> Watchdog:
        self._set(self._clock())
        return self

    def __exit__(self, *_: object) -> None:
        self._set(None)

    def close(self) -> None:
        """End the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join()

    def _set(self, since_s: float | None) -> None:
        with self._changed:
            self._since_s = since_s
            self._changed.notify()

    def _watch(self) -> None:
        with self._changed:
            while not self._closed:
                if self._since_s is None:
                    self._changed.wait()
                    continue
                left_s = self._since_s + self._timeout_s - self._clock()
                if left_s <= 0:
                    break
                self._changed.wait(left_s)
            if self._closed:
                return
        self._hangs(f'the model did not return within {self._timeout_s:g} s (inference_timeout_s)')


def end_within(time_s: float) -> None:
    """End the process with exit code 1 after a time, whatever hangs until then.

    The timer is one in C: it needs neither Python's lock nor that of an allocator. It writes what
    all threads do to stderr.
    """
    faulthandler.dump_traceback_later(time_s, file=2, exit=True)


def end_process(logger: Any, reason: str) -> None:
    """Say why and end the process with exit code 1, at once.

    Not by an exception or sys.exit: what hangs or is broken would be waited for, and freed with
    more calls of the same device.
    """
    logger.fatal(f'{reason}; this process ends, exit code 1, to be started again')
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1)
