# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Time of a prompt change, to new prompts and to known ones."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import torch

from clip_dinoiser_ros.benchmark.limits import wait_for

# prompts of one to three tokens, enough for new ones in every try
_THINGS = ('crate', 'barrel', 'fence', 'ladder', 'hose', 'cone', 'trolley', 'kerb', 'hydrant')
_KINDS = ('wooden', 'rusty', 'blue', 'open', 'broken', 'tall')
WORDS_OF_A_CHANGE = 3


def fresh_words(change: int) -> list[str]:
    """Return three prompts that no other change uses."""
    pairs = [f'{kind} {thing}' for thing in _THINGS for kind in _KINDS]
    if WORDS_OF_A_CHANGE * (change + 1) > len(pairs):
        raise ValueError(f'there are only prompts for {len(pairs) // WORDS_OF_A_CHANGE} changes')
    return pairs[WORDS_OF_A_CHANGE * change : WORDS_OF_A_CHANGE * (change + 1)]


def time_change(
    change: Callable[[Sequence[str]], object],
    words: Sequence[str],
    device: torch.device,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Return the milliseconds until prompts are in use."""
    start = clock()
    change(words)
    wait_for(device)
    return 1e3 * (clock() - start)
