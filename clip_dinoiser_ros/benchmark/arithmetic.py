# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Number of operations per frame, of the method and of the published code."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """The model's dimensions; the defaults are those of ViT-B/16 and the authors' heads.

    Attributes:
        width: Channels D of the image tower.
        blocks: Number of blocks of the image tower.
        patch: Side of a patch in pixels.
        embedding: Channels of the text embeddings.
        affinity: Channels that the affinities are computed from.
    """

    width: int = 768
    blocks: int = 12
    patch: int = 16
    embedding: int = 512
    affinity: int = 256


def needed_gflop(patches: int, classes: int, shape: Shape | None = None) -> float:
    """Return the minimum GFLOP of one frame; a multiply-add counts as two.

    Norms, softmax, activations and enlarging are left out; they are less than a hundredth.

    Args:
        patches: Number of patches of the image, P = h * w.
        classes: Number of classes.
        shape: Dimensions of the model; None: ViT-B/16.
    """
    s = shape or Shape()
    p, n, d = patches, patches + 1, s.width
    embed = 2 * p * d * 3 * s.patch**2
    blocks = (s.blocks - 1) * _block(n, d)
    last = 20 * n * d**2  # value, output and MLP: the last attention is the identity
    projection = 2 * p * d * s.embedding
    convolution = 2 * p * d * s.affinity * 9
    pooling = 2 * p**2 * (s.affinity + s.embedding)  # the affinities, and the pooling by them
    scores = 2 * p * s.embedding * classes
    return (embed + blocks + last + projection + convolution + pooling + scores) / 1e9


def authors_gflop(patches: int, classes: int, shape: Shape | None = None) -> float:
    """Return the GFLOP of one frame in the published code.

    It runs the last block in full as well, computes q and k beside v in the second pass through it
    and projects all three.
    """
    s = shape or Shape()
    n, d = patches + 1, s.width
    scores_twice = 2 * patches * s.embedding * classes
    return needed_gflop(patches, classes, s) + (_block(n, d) + 8 * n * d**2 + scores_twice) / 1e9


def _block(tokens: int, width: int) -> float:
    """FLOP of a transformer block: its linear layers, and its attention."""
    return 24.0 * tokens * width**2 + 4.0 * tokens**2 * width
