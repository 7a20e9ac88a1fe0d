# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The time of a prompt change: words never seen, and words known already."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import torch

from clip_dinoiser_ros.benchmark.limits import wait_for

# words of one to three tokens, so many that every try has fresh ones
_THINGS = ('crate', 'barrel', 'fence', 'ladder', 'hose', 'cone', 'trolley', 'kerb', 'hydrant')
_KINDS = ('wooden', 'rusty', 'blue', 'open', 'broken', 'tall')
WORDS_OF_A_CHANGE = 3


def fresh_words(change: int) -> list[str]:
    """Return three words that no other change uses."""
    pairs = [f'{kind} {thing}' for thing in _THINGS for kind in _KINDS]
    if WORDS_OF_A_CHANGE * (change + 1) > len(pairs):
        raise ValueError(f'there are words for {len(pairs) // WORDS_OF_A_CHANGE} changes only')
    return pairs[WORDS_OF_A_CHANGE * change : WORDS_OF_A_CHANGE * (change + 1)]


def time_change(
    change: Callable[[Sequence[str]], object],
    words: Sequence[str],
    device: torch.device,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Return the milliseconds in which words come into use."""
    start = clock()
    change(words)
    wait_for(device)
    return 1e3 * (clock() - start)
