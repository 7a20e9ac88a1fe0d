# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The dense path of CLIP-DINOiser, differentiable and for training only, on an OpenCLIP ViT.

The same quantities as `core` computes for inference: patch features without attention in the last
block, and the features that the two heads read.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def _attend(block: nn.Module, x: Tensor) -> Tensor:
    """Return the attention branch of a block, (B, N, C)."""
    attn = block.attn
    qkv = F.linear(block.ln_1(x), attn.in_proj_weight, attn.in_proj_bias)
    qkv = qkv.view(*x.shape[:2], 3, attn.num_heads, -1).permute(2, 0, 3, 1, 4)
    q, k, v = qkv  # each (B, heads, N, C / heads)
    if x.shape[1] < 512:  # on a CPU the plain product is twice as fast for short sequences
        out = torch.softmax((q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2), -1, q.dtype) @ v
    else:
        out = F.scaled_dot_product_attention(q, k, v)
    return attn.out_proj(out.transpose(1, 2).flatten(2))


def _values(block: nn.Module, x: Tensor) -> Tensor:
    """Return what attention to nothing but oneself would give: out_proj(v_proj(ln_1(x)))."""
    attn = block.attn
    width = x.shape[-1]
    v = F.linear(block.ln_1(x), attn.in_proj_weight[2 * width :], attn.in_proj_bias[2 * width :])
    return attn.out_proj(v)


def _embed(visual: nn.Module, images: Tensor) -> Tensor:
    """Return [CLS] and patch tokens with positions, (B, 1 + h * w, C)."""
    x = visual.conv1(images)
    h, w = x.shape[-2:]
    x = x.flatten(2).transpose(1, 2)
    grid = visual.positional_embedding[1:].T.reshape(1, -1, *visual.grid_size)
    grid = F.interpolate(grid, (h, w), mode='bicubic', align_corners=False)
    x = x + grid.flatten(2).transpose(1, 2).to(x.dtype)
    cls = visual.class_embedding + visual.positional_embedding[0]
    x = torch.cat([cls.to(x.dtype).expand(len(x), 1, -1), x], dim=1)
    return visual.ln_pre(x)


def encode_dense(
    visual: nn.Module, images: Tensor, whole: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """Encode normalised images.

    Args:
        visual: OpenCLIP VisionTransformer.
        images: Float (B, 3, H, W), normalised.
        whole: For so many of the images the embedding of the whole is returned as well.

    Returns:
        Unit patch features (B, h * w, D), inner features for the heads (B, h * w, C), and unit
        embeddings of the first `whole` images (whole, D).
    """
    x = _embed(visual, images)
    *blocks, last = visual.transformer.resblocks
    read = len(blocks) - 2  # third block from the end; the paper's layer 10 of 12
    inner = x
    for index, block in enumerate(blocks):
        x = x + _attend(block, x)
        normed = block.ln_2(x)
        if index == read:
            inner = normed[:, 1:]
        x = x + block.mlp(normed)
    y = _project(visual, x[:, 1:] + _values(last, x[:, 1:]))
    return y, inner, _project(visual, (x[:whole] + _attend(last, x[:whole]))[:, 0])


def encode_whole(visual: nn.Module, images: Tensor) -> Tensor:
    """Encode normalised images as wholes: unit embeddings (B, D), the mean over all patches.

    All blocks run in full, the last one with its attention, as when a CLIP is trained.
    """
    x = _embed(visual, images)
    *blocks, last = visual.transformer.resblocks
    for block in blocks:
        x = x + _attend(block, x)
        x = x + block.mlp(block.ln_2(x))
    x = x + _attend(last, x)
    x = visual.ln_post(x + last.mlp(last.ln_2(x)))
    return F.normalize((x[:, 1:].mean(dim=1) @ visual.proj).float(), dim=-1)


def _project(visual: nn.Module, x: Tensor) -> Tensor:
    """Finish the last block after its attention; return unit embeddings (..., D)."""
    last = visual.transformer.resblocks[-1]
    x = visual.ln_post(x + last.mlp(last.ln_2(x))) @ visual.proj
    return F.normalize(x.float(), dim=-1)


def encode_texts(clip: nn.Module, tokens: Tensor) -> Tensor:
    """Return unit text embeddings (K, D); attention is causal, so padding is cut off unread."""
    length = int(tokens.argmax(dim=1).max()) + 1  # the end token has the highest id
    tokens = tokens[:, :length]
    x = clip.token_embedding(tokens) + clip.positional_embedding[:length]
    x = clip.transformer(x, attn_mask=clip.attn_mask[:length, :length])
    rows = torch.arange(len(x), device=x.device)
    x = clip.ln_final(x)[rows, tokens.argmax(dim=1)]
    return F.normalize((x @ clip.text_projection).float(), dim=-1)


class Heads(nn.Module):
    """The two light convolutions of CLIP-DINOiser."""

    def __init__(self, width: int, affinity_dim: int):
        super().__init__()
        self.obj_proj = nn.Conv2d(width, affinity_dim, 3, padding=1, padding_mode='replicate')
        self.bkg_decoder = nn.Conv2d(width, 1, 1)

    def objectness(self, inner: Tensor, h: int, w: int) -> Tensor:
        """Return objectness logits (B, h * w)."""
        grid = _grid(F.normalize(inner.float(), dim=-1), h, w)
        return self.bkg_decoder(grid).flatten(1)

    def affinity(self, inner: Tensor, h: int, w: int) -> Tensor:
        """Return cosine affinities (B, h * w, h * w)."""
        keys = self.obj_proj(_grid(inner.float(), h, w)).flatten(2)
        keys = F.normalize(keys, dim=1)
        return keys.transpose(1, 2) @ keys


def _grid(x: Tensor, h: int, w: int) -> Tensor:
    return x.transpose(1, 2).reshape(len(x), -1, h, w)


def pool(features: Tensor, affinity: Tensor, gamma: float) -> Tensor:
    """Return guided pooling of features (B, N, D): affinities below gamma count nothing."""
    weights = affinity * (affinity >= gamma)
    return F.normalize(weights @ features, dim=-1)
