# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The authors' code with our weights, for comparison.

Needs a checkout of wysoczanska/clip_dinoiser. If mmcv, mmseg and omegaconf are not installed, the
three functions that its image path uses are replaced by equivalent ones of the same speed.
"""

from __future__ import annotations

import importlib
import os
import sys
import types
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import nn

from clip_dinoiser_ros.core.weights import load_heads

CONFIG = 'configs/maskclip.yaml'
PATCH = 16


class Authors:
    """The authors' model; its parts of OpenCLIP run as in the version that the authors pin.

    Args:
        checkout: Folder of the authors' repository.
        weights: `model`, `pretrained` and `heads` as for `Segmenter.load`.
        prompts: Classes; if 'background' is first, the background filter is on.
        device: Device; the precision is float32.

    Raises:
        ValueError: The folder is not such a checkout, or the model is not ViT-B-16.
    """

    def __init__(
        self,
        checkout: Path,
        weights: Mapping[str, str],
        prompts: Sequence[str],
        device: torch.device,
    ) -> None:
        if not (checkout / CONFIG).is_file():
            raise ValueError(f'{checkout} is not a checkout of clip_dinoiser: {CONFIG} is missing')
        if weights['model'] != 'ViT-B-16':
            raise ValueError(f"the authors' code runs ViT-B-16 only, got {weights['model']!r}")
        self._device = device
        pretrained = weights['pretrained']
        if Path(pretrained).exists():
            pretrained = str(Path(pretrained).resolve())
        heads = load_heads(weights['heads'])
        with _inside(checkout.resolve()):
            _stand_in(pretrained)
            builder = importlib.import_module('models.builder')
            importlib.import_module('models')
            config = {'type': 'CLIP_DINOiser', 'clip_backbone': 'maskclip', 'gamma': 0.2}
            self._model: Any = builder.build_model(config, class_names=list(prompts))
        self._model.load_state_dict(heads, strict=False)
        self._model.apply_found = prompts[0] == 'background'
        _put_sequence_first(self._model)
        self._model.eval().to(device)

    @torch.no_grad()
    def segment(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
        """Segment an image as the authors' demo does: uint8 (H, W, 3) RGB -> labels (H, W)."""
        height, width = image.shape[:2]
        pixels = torch.from_numpy(image).permute(2, 0, 1)[None].to(self._device) / 255.0
        output = self._model(pixels).cpu()
        output = F.interpolate(output, scale_factor=PATCH, mode='bilinear', align_corners=False)
        labels: npt.NDArray[np.int64] = output[0, :, :height, :width].argmax(dim=0).numpy()
        return labels

    def change_prompts(self, prompts: Sequence[str]) -> None:
        """Change the classes as the authors' code does."""
        self._model.clip_backbone.decode_head.update_vocab(list(prompts))


def _put_sequence_first(model: nn.Module) -> None:
    """Make OpenCLIP pass (N, B, D) between blocks as before 2.26; the authors' hooks need it."""
    for module in model.modules():
        if getattr(module, 'batch_first', False):
            module.batch_first = False


@contextmanager
def _inside(folder: Path) -> Iterator[None]:
    """Change to a folder and import from it; the authors' configuration is relative to it."""
    before = Path.cwd()
    sys.path.insert(0, str(folder))
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
        sys.path.remove(str(folder))


def _stand_in(pretrained: str) -> None:
    """Replace missing parts of mmcv, mmseg and omegaconf, and put our weights into a config."""
    if find_spec('mmcv') is None:
        _add_module('mmcv.utils', Registry=_Registry)
    if find_spec('mmseg') is None:
        _add_module('mmseg.ops', resize=F.interpolate)
    _add_module('omegaconf', OmegaConf=_configuration(pretrained))


def _add_module(name: str, **content: Any) -> None:
    for parent in (name.split('.')[0], name):
        sys.modules.setdefault(parent, types.ModuleType(parent))
    vars(sys.modules[name]).update(content)


class _Registry:
    """Replacement of mmcv's registry: classes by name."""

    def __init__(self, name: str) -> None:
        self._classes: dict[str, type] = {}

    def register_module(self) -> Any:
        def register(cls: type) -> type:
            self._classes[cls.__name__] = cls
            return cls

        return register

    def build(self, config: Mapping[str, Any], default_args: Mapping[str, Any]) -> Any:
        arguments = {**default_args, **config}
        return self._classes[arguments.pop('type')](**arguments)


def _configuration(pretrained: str) -> type:
    """Return a replacement of OmegaConf that reads the authors' YAML and sets our weights."""
    from ruamel.yaml import YAML

    class OmegaConf:
        @staticmethod
        def load(path: str) -> Any:
            config = YAML(typ='safe').load(Path(path))
            config['model']['decode_head']['pretrained'] = pretrained
            return config

        @staticmethod
        def to_container(config: Any, resolve: bool) -> Any:
            return config

    return OmegaConf
