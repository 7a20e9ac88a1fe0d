# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The authors' numbers in golden/, and the recipe of the weights they were computed with."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).parent / 'golden'
sys.path.insert(0, str(GOLDEN))

from recipe import deterministic_heads, deterministic_weights  # noqa: E402

__all__ = ['GOLDEN', 'deterministic_heads', 'deterministic_weights', 'golden', 'most_shown_first']


def golden(name: str) -> dict[str, np.ndarray]:
    """Read one golden file; the background files take their image from the plain ones."""
    content = dict(np.load(GOLDEN / f'{name}.npz'))
    if 'image' not in content:
        content['image'] = np.load(GOLDEN / f'{name.rsplit("_", 1)[0]}_plain.npz')['image']
    return content


def most_shown_first(segmenter, image: np.ndarray, words=('sky', 'grass', 'zebra')) -> list[str]:
    """Return words, the one that most pixels of an image show first."""
    labels = segmenter.segment(image, segmenter.encode(list(words), None)).labels
    first = words[np.bincount(labels.ravel()).argmax()]
    return [first, *(word for word in words if word != first)]
