# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Measure several forms of the model in turn; turns disturbed by other processes are repeated."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from clip_dinoiser_ros.benchmark.machine import CpuTimes, cpu_times

ROUNDS = 5
TRIES = 3 * ROUNDS  # maximum number of turns of each form
QUIET = 0.05  # share of the machine that other processes may use

Labels = npt.NDArray[np.integer]


@dataclass(frozen=True)
class TurnRow:
    """Measurements of one form of the model; times in milliseconds per image.

    Attributes:
        name: Name of the form.
        ms: Median of the calls in the quietest `ROUNDS` turns.
        ratio: Time of the first form divided by that of this one.
        same_labels: Share of pixels with the same label as in the first form.
        others: Mean share of the machine used by other processes in these turns, 0 to 1;
            None: not known, or of no interest with a clock of CPU time.
        repeated: Number of turns that were disturbed and repeated.
    """

    name: str
    ms: float
    ratio: float
    same_labels: float
    others: float | None
    repeated: int


@dataclass
class _Form:
    segment: Callable[[], Labels]
    turns: list[tuple[float, list[float]]] = field(default_factory=list)  # share of others, ms

    def take_turn(
        self, seconds: float, read: Callable[[], CpuTimes | None], clock: Callable[[], float]
    ) -> None:
        before, start = read(), clock()
        times: list[float] = []
        while not times or clock() - start < seconds:
            began = clock()
            self.segment()
            times.append(1e3 * (clock() - began))
        after = read()
        others = 0.0 if before is None or after is None else before.others_until(after)
        self.turns.append((others, times))

    def is_done(self) -> bool:
        quiet = sum(others <= QUIET for others, _ in self.turns)
        return quiet >= ROUNDS or len(self.turns) >= TRIES

    def quietest(self) -> list[tuple[float, list[float]]]:
        return sorted(self.turns, key=lambda turn: turn[0])[:ROUNDS]

    def median_ms(self) -> float:
        return float(np.median([ms for _, times in self.quietest() for ms in times]))


def measure_turns(
    forms: Mapping[str, Callable[[], Labels]],
    seconds: float,
    read: Callable[[], CpuTimes | None] = cpu_times,
    clock: Callable[[], float] = time.perf_counter,
) -> list[TurnRow]:
    """Measure every form in `ROUNDS` turns; the others are compared with the first.

    Args:
        forms: Functions that segment the image and return its labels, by name.
        seconds: Seconds for each form, without repeated turns.
        read: Returns the CPU time used so far; None: not available, so no turn is repeated.
        clock: Of the measurements, in seconds.
    """
    expected, *labels = (segment() for segment in forms.values())  # warms up
    measured = {name: _Form(segment) for name, segment in forms.items()}
    while waiting := [form for form in measured.values() if not form.is_done()]:
        for form in waiting:
            form.take_turn(seconds / ROUNDS, read, clock)
    known = read() is not None
    first_ms = next(iter(measured.values())).median_ms()
    return [
        TurnRow(
            name=name,
            ms=form.median_ms(),
            ratio=first_ms / form.median_ms(),
            same_labels=float((own == expected).mean()),
            others=float(np.mean([others for others, _ in form.quietest()])) if known else None,
            repeated=len(form.turns) - ROUNDS,
        )
        for (name, form), own in zip(measured.items(), (expected, *labels), strict=True)
    ]
