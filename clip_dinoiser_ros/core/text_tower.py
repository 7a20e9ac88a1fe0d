# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The frozen CLIP text tower: tokens -> embeddings; common beginnings are computed once."""

from __future__ import annotations

import copy
import logging
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SENTENCES_AT_ONCE = 256  # in one pass of the tower

_log = logging.getLogger(__name__)


class TextTower:
    """Encodes sentences that share their beginnings, as those made of one template do.

    A token sees only the tokens before it. So the result for 'a photo of a' is the same in every
    sentence that begins with it, and tokens after the end mark do not matter. Layers that handle
    each token separately run once for each distinct beginning; only the attention runs on whole
    sentences. For the 80 sentences of a short prompt, this leaves less than half of the tokens.

    Args:
        clip: OpenCLIP model.
        end: Token that ends a sentence; -1: not known, then the model's own forward is used.
    """

    def __init__(self, clip: nn.Module, end: int) -> None:
        self._clip = clip
        self._tower: Any = getattr(clip, 'text', clip)
        self._end = end
        self._plain = end >= 0 and _is_plain(self._tower)

    @property
    def device(self) -> torch.device:
        """Where the tower is."""
        return next(self._clip.parameters()).device

    def halve(self) -> None:
        """Convert the tower to float16, on a GPU also its arithmetic.

        Embeddings then differ by about a thousandth. A tower that is not plain stays unchanged.
        """
        if self._plain:
            self._convert(torch.float16)

    def _convert(self, dtype: torch.dtype) -> None:
        for name, parameter in self._clip.named_parameters():
            if not name.startswith('visual.'):
                parameter.data = parameter.data.to(dtype)

    def _ready(self, part: Any) -> Any:
        """Return a tensor or layer of the tower in the dtype of the arithmetic.

        That is float32 on a CPU, where products in float16 take several times as long.
        """
        if self.device.type != 'cpu' or self._tower.positional_embedding.dtype == torch.float32:
            return part
        return (copy.deepcopy(part) if isinstance(part, nn.Module) else part).float()

    def __call__(self, tokens: Tensor) -> Tensor:
        """Return unit embeddings, float32 (S, C), of tokens, int64 (S, context length)."""
        if not self._plain:
            embeddings = self._clip.encode_text(tokens.to(self.device))  # type: ignore[operator]
            return F.normalize(embeddings, dim=-1).float()
        embeddings = self._encode_sorted(tokens)
        if not embeddings.isfinite().all():
            _log.warning('the text tower exceeds the range of float16; using float32 from now on')
            self._convert(torch.float32)
            embeddings = self._encode_sorted(tokens)
        return embeddings

    def _encode_sorted(self, tokens: Tensor) -> Tensor:
        # sorted by length, since a group is as long as its longest sentence
        ends = (tokens == self._end).int().argmax(dim=1)
        order = ends.argsort()
        groups = [self._encode(tokens[i], ends[i]) for i in order.split(SENTENCES_AT_ONCE)]
        return torch.cat(groups)[order.argsort()]

    def _encode(self, tokens: Tensor, ends: Tensor) -> Tensor:
        """Return unit embeddings, float32 (S, C), of tokens (S, L) that end at `ends` (S,)."""
        tower = self._tower
        index, first = share_beginnings(tokens[:, : int(ends.max()) + 1], ends)
        count, length = index.shape
        distinct = tokens[:, :length].flatten()[first].to(self.device)
        index, first = index.to(self.device), first.to(self.device)
        x = self._ready(tower.token_embedding(distinct))
        x = x + tower.positional_embedding[first % length]
        for block in map(self._ready, tower.transformer.resblocks):
            x = x + block.ls_1(_attention(block.attn, block.ln_1(x), index, first))
            x = x + block.ls_2(block.mlp(block.ln_2(x)))
        last = index[torch.arange(count, device=index.device), ends.to(self.device)]
        x = self._ready(tower.ln_final)(x[last])
        projection = self._ready(tower.text_projection)
        x = projection(x) if isinstance(projection, nn.Linear) else x @ projection
        return F.normalize(x.float(), dim=-1)


def share_beginnings(tokens: Tensor, ends: Tensor) -> tuple[Tensor, Tensor]:
    """Number the distinct beginnings of sentences.

    Args:
        tokens: int64 (S, L).
        ends: int64 (S,), position of the last token of each sentence; later tokens are ignored.

    Returns:
        index: int64 (S, L), for each token the number of the beginning that ends there, below U.
        first: int64 (U,), a position in the flattened tokens where each beginning ends.
    """
    index = torch.empty_like(tokens)
    parent = torch.zeros(len(tokens), dtype=torch.int64)
    distinct, size = 0, int(tokens.max()) + 1
    for place in range(tokens.shape[1]):
        key = parent * size + tokens[:, place]
        key[place > ends] = -1  # one key for all tokens after the end
        found, parent = key.unique(return_inverse=True)
        index[:, place] = parent + distinct
        distinct += len(found)
    first = torch.empty(distinct, dtype=torch.int64)
    first[index.flatten()] = torch.arange(index.numel())  # any of them will do: all are equal
    return index, first


def _attention(attn: nn.MultiheadAttention, x: Tensor, index: Tensor, first: Tensor) -> Tensor:
    """Causal self-attention within sentences, (U, D) -> (U, D)."""
    (s, length), d = index.shape, x.shape[1]
    qkv = F.linear(x, attn.in_proj_weight, attn.in_proj_bias)[index]  # (S, L, 3 D)
    q, k, v = qkv.view(s, length, 3, attn.num_heads, -1).permute(2, 0, 3, 1, 4)
    out = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)
    return F.linear(out.reshape(s * length, d)[first], attn.out_proj.weight, attn.out_proj.bias)


def _is_plain(tower: Any) -> bool:
    """Return whether the tower is like CLIP's: causal, plain blocks, read at the end mark."""
    pool = getattr(tower, 'text_pool_type', getattr(tower, 'pool_type', ''))
    blocks = getattr(getattr(tower, 'transformer', None), 'resblocks', ())
    return (
        getattr(tower, 'attn_mask', None) is not None
        and pool in ('argmax', 'eos')
        and getattr(tower, 'cls_emb', None) is None
        and not getattr(tower, 'use_pad_mask', False)
        and len(blocks) > 0
        and all(isinstance(getattr(block, 'attn', None), nn.MultiheadAttention) for block in blocks)
    )
