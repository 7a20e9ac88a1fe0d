# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The frozen CLIP image tower, read densely: one feature per patch instead of one per image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clip_dinoiser_ros.core.packing import linear, pack

INNER_BLOCK = -3  # the block whose ln_2 output the heads read: layer 10 of 12 (paper, section 4.1)
MAX_CACHED_GRIDS = 16

Keys = Literal['plain', 'projected']


@dataclass(frozen=True, eq=False)
class DenseFeatures:
    """The output of one pass of the image tower, in the tower's dtype.

    Attributes:
        maskclip: (B, C, h, w), MaskCLIP's dense features in the space of the text embeddings.
        inner: (B, D, h, w), input of the two heads.
        keys: (B, D, h, w), keys of the last block, heads concatenated; None: not requested.
    """

    maskclip: Tensor
    inner: Tensor
    keys: Tensor | None = None


class Backbone(nn.Module):
    """Dense features of an OpenCLIP ViT in one pass, without hooks (paper, section 3.1).

    All blocks but the last run in full. Of the last one only the value path is computed: there
    MaskCLIP replaces the attention by the identity.

    Args:
        visual: `open_clip.transformer.VisionTransformer`; used without a copy.
        keys: Which keys of the last block to return too: 'plain', or 'projected' by the output
            projection, as MaskCLIP reads them; None: no keys.

    Raises:
        ValueError: The image tower is not a plain OpenCLIP ViT.
    """

    def __init__(self, visual: Any, keys: Keys | None = None) -> None:
        super().__init__()
        _check_tower(visual)
        self.visual: Any = visual.eval().requires_grad_(False)
        patch_h, patch_w = visual.patch_size
        if patch_h != patch_w:
            raise ValueError(f'patches must be square, this image tower has {patch_h}x{patch_w}')
        self.patch_size: int = patch_h
        self.width: int = visual.conv1.out_channels
        self._positions: dict[tuple[int, int], Tensor] = {}
        self._projects = keys == 'projected'
        self._key = None if keys is None else _key_layer(visual.transformer.resblocks[-1].attn)

    def forward(self, images: Tensor) -> DenseFeatures:
        """Compute the dense features.

        Args:
            images: (B, 3, H, W), normalised, H and W multiples of the patch size, in the dtype and
                on the device of the tower.
        """
        visual = self.visual
        x = visual.conv1(images)  # (B, D, h, w)
        b, d, h, w = x.shape
        x = x.flatten(2).transpose(1, 2)  # (B, N, D)
        x = torch.cat([visual.class_embedding.expand(b, 1, d), x], dim=1)  # (B, 1 + N, D)
        x = visual.ln_pre(x + self.positions(h, w))

        *blocks, last = visual.transformer.resblocks
        inner_index = len(blocks) + 1 + INNER_BLOCK
        for index, block in enumerate(blocks):
            x = x + block.ls_1(_attention(block.attn, block.ln_1(x)))
            y = block.ln_2(x)
            if index == inner_index:
                inner = y
            x = x + block.ls_2(_mlp(block.mlp, y))

        y = last.ln_1(x)
        v = last.ls_1(_value_path(last.attn, y)) + x
        v = v + last.ls_2(_mlp(last.mlp, last.ln_2(v)))
        features = visual.ln_post(v[:, 1:]) @ visual.proj  # (B, N, C), [CLS] dropped
        return DenseFeatures(
            maskclip=_to_map(features, h, w),
            inner=_to_map(inner[:, 1:], h, w),
            keys=None if self._key is None else _to_map(self._keys(self._key, y[:, 1:]), h, w),
        )

    def _keys(self, key: nn.Linear, y: Tensor) -> Tensor:
        """Keys of the last block, (B, N, D) -> (B, N, D)."""
        k = linear(y, key.weight, key.bias)
        out = self.visual.transformer.resblocks[-1].attn.out_proj
        return linear(k, out.weight, out.bias) if self._projects else k

    def pack(self) -> None:
        """Pack the weights of the blocks' linear layers, for faster products on a CPU.

        They are packed for the current dtype. Afterwards the tower works only through this class,
        and can be neither moved nor saved.
        """
        *blocks, last = self.visual.transformer.resblocks
        weight, bias = _value_part(last.attn)
        last.attn.in_proj_weight, last.attn.in_proj_bias = _frozen(weight), _frozen(bias)
        for block in (*blocks, last):
            block.attn.in_proj_weight = _frozen(pack(block.attn.in_proj_weight))
            for layer in (block.attn.out_proj, *block.mlp):
                if isinstance(layer, nn.Linear):
                    layer.weight = _frozen(pack(layer.weight))
        if self._key is not None:
            self._key.weight = _frozen(pack(self._key.weight))

    def positions(self, h: int, w: int) -> Tensor:
        """Return the positional embedding for a grid of h x w patches: (1 + h * w, D).

        Resized bicubically when the grid is not the trained one; cached per grid.
        """
        trained: Tensor = self.visual.positional_embedding
        if (h, w) == tuple(self.visual.grid_size):
            return trained
        if trained.requires_grad:  # in training, the resized embedding has a gradient
            return resize_positions(trained, self.visual.grid_size, (h, w))
        cached = self._positions.get((h, w))
        if cached is None or cached.dtype != trained.dtype or cached.device != trained.device:
            if len(self._positions) >= MAX_CACHED_GRIDS:
                self._positions.clear()
            cached = resize_positions(trained, self.visual.grid_size, (h, w))
            self._positions[h, w] = cached
        return cached


def _frozen(tensor: Tensor) -> nn.Parameter:
    return nn.Parameter(tensor, requires_grad=False)


def resize_positions(positions: Tensor, grid: tuple[int, int], target: tuple[int, int]) -> Tensor:
    """Resize positional embeddings (1 + h * w, D) from one grid (h, w) to another, bicubically."""
    cls, patches = positions[:1], positions[1:]
    patches = patches.reshape(1, *grid, -1).permute(0, 3, 1, 2).float()  # (1, D, h, w)
    patches = F.interpolate(patches, size=target, mode='bicubic', align_corners=False)
    return torch.cat([cls, patches.flatten(2)[0].T.to(cls.dtype)])


def _attention(attn: nn.MultiheadAttention, x: Tensor) -> Tensor:
    """Multi-head self-attention, (B, N, D) -> (B, N, D)."""
    b, n, d = x.shape
    qkv = linear(x, attn.in_proj_weight, attn.in_proj_bias)
    q, k, v = qkv.view(b, n, 3, attn.num_heads, -1).permute(2, 0, 3, 1, 4)  # 3 x (B, heads, N, d)
    attend = _attend_head_by_head if _is_slow_fused(x) else F.scaled_dot_product_attention
    out = attend(q, k, v).transpose(1, 2).reshape(b, n, d)
    return linear(out, attn.out_proj.weight, attn.out_proj.bias)


def _is_slow_fused(x: Tensor) -> bool:
    """Return whether torch's fused attention is slower than its three steps.

    On a CPU in bfloat16, it is as slow as in float32, but a matrix product is twice as fast.
    """
    return x.device.type == 'cpu' and x.dtype == torch.bfloat16


def _attend_head_by_head(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Softmax attention of (B, heads, N, d), head by head, so that scores stay in the caches."""
    b, heads, n, d = q.shape
    q, k, v = q * d**-0.5, k.contiguous(), v.contiguous()
    out, scores = torch.empty_like(k), q.new_empty(n, n)
    for image in range(b):
        for head in range(heads):
            torch.mm(q[image, head], k[image, head].T, out=scores)
            torch.softmax(scores, dim=-1, out=scores)  # a row is read before it is written
            torch.mm(scores, v[image, head], out=out[image, head])
    return out


def _value_path(attn: nn.MultiheadAttention, x: Tensor) -> Tensor:
    """Compute attention where every token attends only to itself, (B, N, D) -> (B, N, D)."""
    v = linear(x, *_value_part(attn))
    return linear(v, attn.out_proj.weight, attn.out_proj.bias)


def _value_part(attn: nn.MultiheadAttention) -> tuple[Tensor, Tensor]:
    """Return weight (D, D) and bias (D,) of v; after `Backbone.pack`, nothing else is left."""
    weight, bias, d = attn.in_proj_weight, attn.in_proj_bias, attn.embed_dim
    return (weight, bias) if len(weight) == d else (weight[2 * d :], bias[2 * d :])


def _key_layer(attn: nn.MultiheadAttention) -> nn.Linear:
    """Return the layer that computes the keys, (B, N, D) -> (B, N, D)."""
    d = attn.embed_dim
    key = nn.Linear(d, d, device=attn.in_proj_weight.device, dtype=attn.in_proj_weight.dtype)
    key.load_state_dict(
        {'weight': attn.in_proj_weight[d : 2 * d], 'bias': attn.in_proj_bias[d : 2 * d]}
    )
    return key.requires_grad_(False)


def _mlp(layers: nn.Sequential, x: Tensor) -> Tensor:
    """Apply the layers, whether or not `Backbone.pack` has packed their weights."""
    for layer in layers:
        x = linear(x, layer.weight, layer.bias) if isinstance(layer, nn.Linear) else layer(x)
    return x


def _to_map(tokens: Tensor, h: int, w: int) -> Tensor:
    """(B, h * w, C) -> (B, C, h, w)."""
    return tokens.transpose(1, 2).reshape(len(tokens), -1, h, w)


def _check_tower(visual: Any) -> None:
    """Raise ValueError unless `Backbone.forward` computes the tower exactly."""
    wanted = 'needs an OpenCLIP model whose image tower is a plain ViT, such as ViT-B-16'
    parts = ('conv1', 'class_embedding', 'positional_embedding', 'transformer', 'ln_post', 'proj')
    if any(getattr(visual, part, None) is None for part in parts):
        raise ValueError(f'{wanted}; this one is a {type(visual).__name__}')
    if visual.attn_pool is not None or visual.pool_type != 'tok':
        raise ValueError(f'{wanted}; this one pools by {visual.pool_type} or by attention')
    blocks = visual.transformer.resblocks
    if len(blocks) < -INNER_BLOCK:
        raise ValueError(
            f'{wanted} with at least {-INNER_BLOCK} blocks; this one has {len(blocks)}'
        )
    if not all(isinstance(block.attn, nn.MultiheadAttention) for block in blocks):
        raise ValueError(f'{wanted}; this one has blocks of type {type(blocks[0]).__name__}')
