# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""What the training of a CLIP needs beside `core`: embeddings of whole images and of texts.

Differentiable, for images of any size. The dense features come from `core.backbone.Backbone`.
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clip_dinoiser_ros.core.backbone import Backbone, DenseFeatures, resize_positions


def trainable_backbone(visual: nn.Module) -> Backbone:
    """Return the dense path of inference over an OpenCLIP ViT whose weights are trained."""
    backbone = Backbone(visual)
    backbone.requires_grad_(True)  # a Backbone freezes its tower
    return backbone


def unit_features(dense: DenseFeatures) -> Tensor:
    """Return the features of the patches at unit length, float32 (B, h * w, C)."""
    return F.normalize(dense.maskclip.float().flatten(2), dim=1).transpose(1, 2)


def encode_whole(visual: nn.Module, images: Tensor, pool: Literal['cls', 'mean'] = 'cls') -> Tensor:
    """Encode normalised images as wholes, with attention in all blocks.

    Args:
        visual: OpenCLIP VisionTransformer.
        images: Float (B, 3, H, W), normalised.
        pool: Read the [CLS] token, as OpenCLIP does, or the mean over the patches.

    Returns:
        Unit embeddings, float32 (B, C).
    """
    x = visual.conv1(images)  # (B, D, h, w)
    positions = resize_positions(visual.positional_embedding, visual.grid_size, x.shape[-2:])
    x = x.flatten(2).transpose(1, 2)
    x = torch.cat([visual.class_embedding.to(x.dtype).expand(len(x), 1, -1), x], dim=1)
    x = visual.ln_post(visual.transformer(visual.ln_pre(x + positions)))
    x = x[:, 0] if pool == 'cls' else x[:, 1:].mean(dim=1)
    return F.normalize((x @ visual.proj).float(), dim=-1)


def encode_texts(clip: nn.Module, tokens: Tensor) -> Tensor:
    """Return unit text embeddings (K, C); attention is causal, so the padding is cut off."""
    length = int(tokens.argmax(dim=1).max()) + 1  # the end token has the highest id
    tokens = tokens[:, :length]
    x = clip.token_embedding(tokens) + clip.positional_embedding[:length]
    x = clip.transformer(x, attn_mask=clip.attn_mask[:length, :length])
    rows = torch.arange(len(x), device=x.device)
    x = clip.ln_final(x)[rows, tokens.argmax(dim=1)]
    return F.normalize((x @ clip.text_projection).float(), dim=-1)
