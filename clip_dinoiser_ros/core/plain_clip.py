# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""A plain OpenCLIP model without `import open_clip`, the slowest part of a start.

That import loads torchvision, timm and torch's compiler, which segmenting does not need. This
module holds the parameters of a plain image tower and a plain text tower under OpenCLIP's names.
`Backbone` and `TextTower` compute with them. OpenCLIP itself loads every other model.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

_VISION = {'image_size': 224, 'layers': 12, 'width': 768, 'head_width': 64, 'patch_size': 16}
_TEXT = {'context_length': 77, 'vocab_size': 49408, 'width': 512, 'heads': 8, 'layers': 12}

# functions of torch.nn.init, and the tensor methods they call
_DRAWING = ('normal_', 'uniform_', 'trunc_normal_', 'kaiming_uniform_', 'xavier_uniform_')


def load_plain(model: str, checkpoint: Path) -> tuple[nn.Module, Callable[..., Tensor]] | None:
    """Load a plain model and its tokenizer onto the CPU, in float32.

    Args:
        model: OpenCLIP architecture, or path of an OpenCLIP JSON config.
        checkpoint: Weights file.

    Returns:
        What `weights.load_clip` returns; None: the model is not plain, or the files have an error.
        Then OpenCLIP has to load it or to raise that error.
    """
    try:
        config = json.loads(_config_path(model).read_text())
        if not _is_plain(config):
            return None
        with torch.device('meta'), WithoutDrawing():  # no memory yet
            clip = PlainClip(config)
        clip.load_state_dict(_read_weights(checkpoint), assign=True)
        tokenizer = open_clip_module('tokenizer').SimpleTokenizer(
            context_length=clip.context_length
        )
    except Exception:  # readers raise many types; OpenCLIP will raise it again
        return None
    if not hasattr(tokenizer, 'eot_token_id'):  # of an older OpenCLIP: `TextTower` needs it
        return None
    return clip.eval().requires_grad_(False), tokenizer


class WithoutDrawing(TorchFunctionMode):
    """Skips the random initialisation of a new model, whose weights are overwritten anyway.

    It takes more than half of the time to load ViT-B-16, and on the meta device it imports torch's
    compiler. Loading is strict, so no parameter stays unset.
    """

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if getattr(function, '__name__', '') in _DRAWING:
            return args[0] if args else kwargs['tensor']
        return function(*args, **(kwargs or {}))


@cache
def open_clip_module(name: str) -> ModuleType:
    """Load a single module of OpenCLIP, since a normal import would load all of OpenCLIP."""
    path = _open_clip_folder() / f'{name}.py'
    spec = importlib.util.spec_from_file_location(f'_open_clip_{name}', path)
    if spec is None or spec.loader is None:
        raise ImportError(f'{path} cannot be imported')
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except ImportError:  # in this version it needs other modules of its package
        return importlib.import_module(f'open_clip.{name}')
    return module


def _open_clip_folder() -> Path:
    spec = importlib.util.find_spec('open_clip')
    if spec is None or spec.origin is None:
        raise ImportError('open_clip is not installed')
    return Path(spec.origin).parent


def _config_path(model: str) -> Path:
    if model.endswith('.json'):
        return Path(model)
    return _open_clip_folder() / 'model_configs' / f'{model}.json'


def _is_plain(config: Mapping[str, Any]) -> bool:
    """Return whether `PlainClip` has everything that a config asks for."""
    return (
        config.keys() == {'embed_dim', 'vision_cfg', 'text_cfg'}
        and config['vision_cfg'].keys() <= _VISION.keys()
        and config['text_cfg'].keys() <= _TEXT.keys()
        and isinstance(config['vision_cfg'].get('layers', 0), int)  # a list: a ResNet
        and isinstance(config['vision_cfg'].get('image_size', 0), int)
    )


def _read_weights(checkpoint: Path) -> dict[str, Tensor]:
    """Read the tensors of a model, float32."""
    mapped = checkpoint.suffix == '.safetensors'
    if mapped:
        from safetensors.torch import load_file

        state: Mapping[str, Tensor] = load_file(checkpoint)
    else:
        content = torch.load(checkpoint, map_location='cpu', weights_only=True)
        state = content.get('state_dict', content)
    return {
        # copied from a mapped file, which may vanish
        name.removeprefix('module.'): tensor.to(torch.float32, copy=mapped)
        for name, tensor in state.items()
    }


class PlainClip(nn.Module):
    """Parameters of CLIP as OpenCLIP names them; it has no forward of its own.

    Args:
        config: `embed_dim`, `vision_cfg`, `text_cfg`, of OpenCLIP's JSON.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        text = {**_TEXT, **config['text_cfg']}
        width, embedding = text['width'], config['embed_dim']
        self.visual = _ImageTower({**_VISION, **config['vision_cfg']}, embedding)
        self.transformer = _Transformer(width, text['heads'], text['layers'])
        self.token_embedding = nn.Embedding(text['vocab_size'], width)
        self.positional_embedding = _parameter(text['context_length'], width)
        self.ln_final = nn.LayerNorm(width)
        self.text_projection = _parameter(width, embedding)
        self.logit_scale = _parameter()
        # required by `TextTower`: causal, read at the end mark
        self.attn_mask, self.text_pool_type = 'causal', 'argmax'
        self.context_length: int = text['context_length']


class _ImageTower(nn.Module):
    def __init__(self, shape: Mapping[str, int], embedding: int) -> None:
        super().__init__()
        patch, width = shape['patch_size'], shape['width']
        side = shape['image_size'] // patch
        self.patch_size, self.grid_size = (patch, patch), (side, side)
        self.attn_pool, self.pool_type = None, 'tok'
        self.conv1 = nn.Conv2d(3, width, patch, stride=patch, bias=False)
        self.class_embedding = _parameter(width)
        self.positional_embedding = _parameter(side * side + 1, width)
        self.ln_pre = nn.LayerNorm(width)
        self.transformer = _Transformer(width, width // shape['head_width'], shape['layers'])
        self.ln_post = nn.LayerNorm(width)
        self.proj = _parameter(width, embedding)


class _Transformer(nn.Module):
    def __init__(self, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(_Block(width, heads) for _ in range(layers))


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ls_1 = nn.Identity()
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            OrderedDict(
                c_fc=nn.Linear(width, 4 * width),
                gelu=nn.GELU(),
                c_proj=nn.Linear(4 * width, width),
            )
        )
        self.ls_2 = nn.Identity()


def _parameter(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.empty(shape))
