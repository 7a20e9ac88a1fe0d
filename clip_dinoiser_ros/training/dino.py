# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The paper's teachers: DINO's correlations of values, and FOUND's objects (sections 3.4, 3.5)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clip_dinoiser_ros.core.dinoiser import GAMMA
from clip_dinoiser_ros.core.errors import one_line
from clip_dinoiser_ros.training.batches import Batch
from clip_dinoiser_ros.training.precision import autocast, fingerprint
from clip_dinoiser_ros.training.teachers import Targets, TeacherError

BASE = 'vit_base_patch16_224.dino'  # timm's names
SMALL = 'vit_small_patch8_224.dino'
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


class DinoTower(nn.Module):
    """A frozen DINO ViT, read at the last attention.

    Args:
        model: timm's `vit_*.dino`.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model: Any = model.eval().requires_grad_(False)
        self.patch_size: int = model.patch_embed.patch_size[0]

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Compute queries, keys and values of the last block, with the heads concatenated.

        Args:
            images: float32 (B, 3, H, W), normalised, H and W multiples of the patch size.

        Returns:
            Three tensors (B, N, D), the [CLS] token dropped.
        """
        model = self.model
        x = model.patch_embed.proj(images)  # (B, D, h, w)
        b, d, h, w = x.shape
        x = x.flatten(2).transpose(1, 2)  # (B, N, D)
        x = torch.cat([model.cls_token.expand(b, 1, d), x], dim=1) + self._positions(h, w)
        *blocks, last = model.blocks
        for block in blocks:
            x = block(x)
        qkv = last.attn.qkv(last.norm1(x))[:, 1:]
        q, k, v = qkv.chunk(3, dim=-1)
        return q, k, v

    def _positions(self, h: int, w: int) -> Tensor:
        """Return the positional embedding (1, 1 + h * w, D), resized as in DINO's own code.

        That code adds a tenth of a patch to the size, which shifts the samples slightly.
        """
        trained: Tensor = self.model.pos_embed
        grid_h, grid_w = self.model.patch_embed.grid_size
        if (h, w) == (grid_h, grid_w):
            return trained
        grid = trained[:, 1:].unflatten(1, (grid_h, grid_w)).permute(0, 3, 1, 2)  # (1, D, h, w)
        scale = ((h + 0.1) / grid_h, (w + 0.1) / grid_w)
        grid = F.interpolate(grid, scale_factor=scale, mode='bicubic')
        return torch.cat([trained[:, :1], grid.flatten(2).transpose(1, 2)], dim=1)


class DinoAffinity:
    """Affinity of patches: cosines of DINO ViT-B/16's values (section 3.3).

    Args:
        base: timm's DINO ViT-B/16; see `load_dino`.
        device: Device to compute on.
        precision: Precision of the tower; cosines are computed in float32.
    """

    def __init__(
        self, base: nn.Module, device: torch.device | str = 'cpu', precision: str = 'fp32'
    ) -> None:
        self.weights = fingerprint(base.state_dict())
        self._tower = DinoTower(base).to(device)
        self._precision = precision

    @torch.no_grad()
    def __call__(self, images: Tensor, grid: tuple[int, int]) -> Tensor:
        """Return the cosines between all patches.

        Args:
            images: float32 (B, 3, H, W), RGB in [0, 1], not normalised.
            grid: (h, w), the patches of CLIP.

        Returns:
            float32 (B, N, N), N = h * w.
        """
        images = _fitted(images, grid, self._tower.patch_size)
        with autocast(images.device, self._precision):
            _, _, values = self._tower(images)
        unit = F.normalize(values.float(), dim=-1)  # (B, N, D)
        return unit @ unit.transpose(1, 2)


class FoundObjects:
    """Objectness of patches: FOUND, a 1x1 convolution on DINO ViT-S/8's keys (section 3.5).

    Args:
        small: timm's DINO ViT-S/8; see `load_dino`.
        decoder: FOUND's decoder; see `load_found`.
        device: Device to compute on.
        precision: Precision of the tower; the decoder is computed in float32.
    """

    def __init__(
        self,
        small: nn.Module,
        decoder: nn.Conv2d,
        device: torch.device | str = 'cpu',
        precision: str = 'fp32',
    ) -> None:
        self.weights = (fingerprint(small.state_dict()), fingerprint(decoder.state_dict()))
        self._tower = DinoTower(small).to(device)
        self._decoder = decoder.eval().requires_grad_(False).to(device)
        self._precision = precision

    @torch.no_grad()
    def __call__(self, images: Tensor, grid: tuple[int, int]) -> Tensor:
        """Return the probability of an object, float32 (B, 1, h, w), at the grid of CLIP.

        Arguments as for `DinoAffinity`.
        """
        images = _fitted(images, grid, 2 * self._tower.patch_size)
        with autocast(images.device, self._precision):
            _, keys, _ = self._tower(images)
        fine = (2 * grid[0], 2 * grid[1])
        maps = keys.float().transpose(1, 2).unflatten(2, fine)  # (B, D, 2h, 2w), not normalised
        found = torch.sigmoid(self._decoder(maps))
        return F.interpolate(found, grid, mode='bilinear', align_corners=False)


def _fitted(images: Tensor, grid: tuple[int, int], patch: int) -> Tensor:
    """Normalise images, and resize them if CLIP's patch size differs from `patch`."""
    mean, std = (torch.tensor(v, device=images.device)[:, None, None] for v in (MEAN, STD))
    images = (images - mean) / std
    size = (grid[0] * patch, grid[1] * patch)
    if images.shape[-2:] != size:
        images = F.interpolate(images, size, mode='bilinear', antialias=True)
    return images


class DinoTeacher:
    """The paper's teachers of the two heads.

    The affinity of two patches is 1 if DINO ViT-B/16's values correlate by at least gamma. Objects
    come from FOUND's decoder, a 1x1 convolution on DINO ViT-S/8's keys.

    Args:
        base: timm's DINO ViT-B/16; see `load_dino`.
        small: timm's DINO ViT-S/8.
        decoder: FOUND's decoder; see `load_found`.
        gamma: Threshold on the correlations.
        device: Device to compute on.
        precision: Precision of the two towers; correlations and masks are computed in float32.

    Raises:
        TeacherError: gamma is out of range.
    """

    def __init__(
        self,
        base: nn.Module,
        small: nn.Module,
        decoder: nn.Conv2d,
        gamma: float = GAMMA,
        device: torch.device | str = 'cpu',
        precision: str = 'fp32',
    ) -> None:
        if not 0.0 <= gamma < 1.0:
            raise TeacherError(f'gamma is {gamma}; must be at least 0 and below 1')
        self._affinity = DinoAffinity(base, device, precision)
        self._objects = FoundObjects(small, decoder, device, precision)
        self._gamma = gamma
        self.about: dict[str, Any] = {
            'kind': 'dino',
            'gamma': gamma,
            'precision': precision,
            'weights': {
                'base': self._affinity.weights,
                'small': self._objects.weights[0],
                'found': self._objects.weights[1],
            },
        }

    def __call__(self, batch: Batch, grid: tuple[int, int]) -> Targets:
        """Return the targets; see `Teacher`."""
        return Targets(
            affinity=self._affinity(batch.images, grid) >= self._gamma,
            foreground=self._objects(batch.images, grid) > 0.5,
        )


def load_dino(name: str, path: str | Path | None = None) -> nn.Module:
    """Load one of timm's DINO models.

    Args:
        name: `BASE` or `SMALL`.
        path: File of its weights, DINO's own .pth or timm's .safetensors; None: timm downloads.

    Raises:
        TeacherError: The file cannot be read or does not fit; the download fails.
    """
    import timm

    if path is None:
        try:
            return timm.create_model(name, pretrained=True, num_classes=0)
        except Exception as error:  # the hub's client raises many exception types
            raise TeacherError(
                f'{name} cannot be downloaded: {one_line(error)}; on a machine without a network, '
                'download its weights elsewhere and give the file'
            ) from error
    model = timm.create_model(name, pretrained=False, num_classes=0)
    try:
        model.load_state_dict(_read_tensors(Path(path)), strict=True)
    except Exception as error:  # the readers raise many exception types
        reason = one_line(error, 500)
        raise TeacherError(f'{str(path)!r} cannot be read as {name}: {reason}') from error
    return model


def load_found(path: str | Path) -> nn.Conv2d:
    """Load FOUND's decoder, a 1x1 convolution of 384 channels to 1.

    Args:
        path: Its decoder_weights.pt: weight and bias, alone or under `decoder`.

    Raises:
        TeacherError: The file cannot be read or holds something else.
    """
    decoder = nn.Conv2d(384, 1, 1)
    try:
        content = _read_tensors(Path(path))
        inner = content.get('decoder')
        if isinstance(inner, Mapping):
            content = inner
        tensors = {name.removeprefix('decoder.'): value for name, value in content.items()}
        decoder.load_state_dict(tensors, strict=True)
    except Exception as error:  # the readers raise many exception types
        reason = one_line(error, 500)
        raise TeacherError(
            f"{str(path)!r} cannot be read as FOUND's decoder (weight (1, 384, 1, 1) and bias "
            f'(1,), alone or under decoder): {reason}'
        ) from error
    return decoder


def _read_tensors(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise FileNotFoundError('there is no such file')
    if path.suffix == '.safetensors':
        from safetensors.torch import load_file

        return load_file(path)
    content: Mapping[str, Any] = torch.load(path, map_location='cpu', weights_only=True)
    return content
