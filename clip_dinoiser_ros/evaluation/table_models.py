# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The rows of the paper's Table 2: every method and background filter, as equations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from clip_dinoiser_ros.core.backbone import Backbone, DenseFeatures, Keys
from clip_dinoiser_ros.core.dinoiser import (
    DELTA,
    GAMMA,
    Heads,
    background_patches,
    class_probabilities,
    guided_pooling,
)
from clip_dinoiser_ros.core.methods import refined_by_keys
from clip_dinoiser_ros.core.preprocess import Preprocess
from clip_dinoiser_ros.training.dino import DinoAffinity, FoundObjects

Method = Literal['dinoiser', 'maskclip', 'maskclip-keys', 'clip-keys', 'dino']
Background = Literal['none', 'found', 'found-uncertain', 'learned']
METHODS: tuple[Method, ...] = get_args(Method)
BACKGROUNDS: tuple[Background, ...] = get_args(Background)


@dataclass(frozen=True)
class TableRow:
    """A row of the table.

    Attributes:
        method: Method that finds the class of a patch.
        background: Filter that decides which patches become background.
        gamma: Affinities below it are left out of the pooling.
        delta: Patches whose probability is at least this keep their class.
        denoising: Prompt denoising of 'maskclip-keys', see `refined_by_keys`; 0: off.
        projected_keys: 'clip-keys' pools by keys after the output projection, as in MaskCLIP;
            the paper does not say which keys it uses.
    """

    method: Method = 'dinoiser'
    background: Background = 'none'
    gamma: float = GAMMA
    delta: float = DELTA
    denoising: float = 0.0
    projected_keys: bool = False

    @property
    def keys(self) -> Keys | None:
        """The keys of the image tower that the method reads."""
        if self.method == 'maskclip-keys' or (self.method == 'clip-keys' and self.projected_keys):
            return 'projected'
        return 'plain' if self.method == 'clip-keys' else None

    @property
    def pads(self) -> bool:
        """Whether a window is padded to whole patches; MaskCLIP crops it instead."""
        return self.method not in ('maskclip', 'maskclip-keys')

    @property
    def needs_dino(self) -> bool:
        """Whether it needs DINO ViT-B/16."""
        return self.method == 'dino'

    @property
    def needs_found(self) -> bool:
        """Whether it needs FOUND: DINO ViT-S/8 and the decoder."""
        return self.background in ('found', 'found-uncertain')


@dataclass(frozen=True, eq=False)
class Seen:
    """A batch of windows and its features.

    Attributes:
        features: Features from the image tower.
        images: float32 (B, 3, H, W), RGB in [0, 1], the input of DINO.
        grid: (h, w), patches of CLIP.
    """

    features: DenseFeatures
    images: Tensor
    grid: tuple[int, int]


class TableModel:
    """The model of one row of the table: from windows to probabilities of patches.

    Args:
        row: The row.
        preprocess: Preprocessing of the image tower, with `short_side` None.
        backbone: The image tower, with `row.keys`.
        heads: The two convolutions.
        dino: DINO, for rows that need it.
        found: FOUND, for rows that need it.
    """

    def __init__(
        self,
        row: TableRow,
        preprocess: Preprocess,
        backbone: Backbone,
        heads: Heads,
        dino: DinoAffinity | None = None,
        found: FoundObjects | None = None,
    ) -> None:
        self.row = row
        self._preprocess, self._backbone, self._heads = preprocess, backbone, heads
        self._dino, self._found = dino, found
        self.patch_size = backbone.patch_size

    @torch.inference_mode()
    def __call__(self, pixels: Tensor, embeddings: Tensor, background: int | None) -> Tensor:
        """Segment windows of one size at patch resolution.

        Args:
            pixels: uint8 (B, H, W, 3) RGB, on the device.
            embeddings: float32 (K, C), unit rows.
            background: Index of the class that the background filter applies to.

        Returns:
            float32 (B, K, h, w).
        """
        pixels = self._fit(pixels)
        p = self.patch_size
        seen = Seen(
            features=self._backbone(self._preprocess(pixels)),
            images=pixels.permute(0, 3, 1, 2).float() / 255,
            grid=(pixels.shape[1] // p, pixels.shape[2] // p),
        )
        probabilities = self._classes(seen, embeddings)
        if self.row.background != 'none' and background is not None:
            is_background = self._background(seen, probabilities)
            probabilities[:, background].masked_fill_(is_background, 1.0)
        return probabilities

    def _fit(self, pixels: Tensor) -> Tensor:
        """Pad with black to whole patches, or crop."""
        p, (height, width) = self.patch_size, pixels.shape[1:3]
        if self.row.pads:
            return F.pad(pixels, (0, 0, 0, -width % p, 0, -height % p))
        return pixels[:, : height // p * p, : width // p * p]

    def _classes(self, seen: Seen, embeddings: Tensor) -> Tensor:
        """Find the probabilities of the classes (B, K, h, w), before the background filter."""
        row, keys = self.row, seen.features.keys
        dense = seen.features.maskclip.float()
        if row.method == 'maskclip':  # section 3.1
            return class_probabilities(dense, embeddings)
        if row.method == 'maskclip-keys':
            assert keys is not None
            return refined_by_keys(dense, keys, embeddings, row.denoising)
        pooled = guided_pooling(dense, self._affinity(seen), row.gamma)  # equation 1
        return class_probabilities(pooled, embeddings)

    def _affinity(self, seen: Seen) -> Tensor:
        """Return the affinity of patches: cosines (B, N, N) (equation 2)."""
        if self.row.method == 'dinoiser':  # "w. trained A" (section 3.4)
            return self._heads.affinity(seen.features.inner)
        if self.row.method == 'dino':  # "w. DINO A" (section 3.3)
            assert self._dino is not None
            return self._dino(seen.images, seen.grid)
        assert seen.features.keys is not None  # "w. CLIP keys"
        unit = F.normalize(seen.features.keys.float().flatten(2), dim=1)  # (B, D, N)
        return unit.transpose(1, 2) @ unit

    def _background(self, seen: Seen, probabilities: Tensor) -> Tensor:
        """Return which patches become background, bool (B, h, w) (section 3.5)."""
        if self.row.background == 'learned':
            objectness = self._heads.objectness(seen.features.inner)
            return background_patches(probabilities, objectness, self.row.delta)
        assert self._found is not None
        empty = self._found(seen.images, seen.grid)[:, 0] <= 0.5
        if self.row.background == 'found':
            return empty
        return empty & (probabilities.amax(dim=1) < self.row.delta)
