# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Verify, load and convert weights: the frozen CLIP model and the two heads."""

from __future__ import annotations

import difflib
import json
import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from clip_dinoiser_ros.core.dinoiser import GAMMA
from clip_dinoiser_ros.core.errors import one_line
from clip_dinoiser_ros.core.manifest import MANIFEST, changed_files
from clip_dinoiser_ros.core.plain_clip import WithoutDrawing, load_plain
from clip_dinoiser_ros.core.sources import (
    AUTHORS,
    PINNED,
    WeightsError,
    authors_heads,
    fetch_clip,
    is_authors_file,
    is_heads_source,
    local_clip,
)

DEMO = 'demo'  # means the small model that is part of this package
DEMO_FOLDER = Path(__file__).parents[1] / 'demo' / 'model'
DEMO_FILES = {
    'model': 'clip-dinoiser-demo.json',
    'pretrained': 'clip-dinoiser-demo.safetensors',
    'heads': 'heads.safetensors',
}
DEMO_VOCABULARY = 'vocabulary.json'
DEMO_GAMMA = 0.7  # best on validation scenes; the paper's 0.2 lets objects spill over

_HEAD_DIMENSIONS = {
    'obj_proj.weight': '(A, D, 3, 3)',
    'obj_proj.bias': '(A,)',
    'bkg_decoder.weight': '(1, D, 1, 1)',
    'bkg_decoder.bias': '(1,)',
}

_log = logging.getLogger(__name__)


def demo_files(folder: Path = DEMO_FOLDER) -> dict[str, str]:
    """Return `model`, `pretrained` and `heads` of the small model, for the loaders below.

    Raises:
        WeightsError: A file is missing or differs from its manifest.
    """
    check_shipped(folder, [*DEMO_FILES.values(), DEMO_VOCABULARY])
    return {role: str(folder / name) for role, name in DEMO_FILES.items()}


def default_gamma(model: str) -> float:
    """Return the default threshold of the guided pooling for a model; see `load_clip`."""
    return DEMO_GAMMA if model == DEMO else GAMMA


def description(model: str, pretrained: str, heads: str | Path) -> str:
    """Describe in a few words what is loaded; arguments as for `Segmenter.load`."""
    if model == DEMO:
        return f'{DEMO} (the small model of this package)'
    return f'{model} ({pretrained}), heads {heads}'


def check_shipped(folder: Path, names: Iterable[str]) -> None:
    """Raise WeightsError unless the files in a folder match its manifest."""
    changed = changed_files(folder, names)
    if changed:
        raise WeightsError(
            f'{", ".join(changed)} in {folder} differ from {MANIFEST}; install the package again, '
            'or run `make manifest` if you have made these files yourself'
        )


def demo_words(folder: Path = DEMO_FOLDER) -> frozenset[str]:
    """Return the words, in lower case, on which the small model was trained."""
    return frozenset(json.loads((folder / DEMO_VOCABULARY).read_text())['words'])


def load_frozen(model: str, pretrained: str) -> tuple[nn.Module, Callable[..., Tensor]]:
    """Load a model as `load_clip` does, for use by `Segmenter` only.

    A plain model whose weights are in a file is loaded without OpenCLIP's slow import.
    """
    checkpoint = find_file(model, pretrained)
    plain = None if checkpoint is None else load_plain(model, checkpoint)
    return plain or load_clip(model, pretrained)


def find_file(model: str, pretrained: str) -> Path | None:
    """Return the given or pinned file of CLIP's weights; None: OpenCLIP has to find it."""
    if Path(pretrained).is_file():
        return Path(pretrained)
    if (model, pretrained) not in PINNED:
        return None
    return local_clip(model, pretrained) or fetch_clip(model, pretrained)


def load_clip(model: str, pretrained: str) -> tuple[nn.Module, Callable[..., Tensor]]:
    """Load an OpenCLIP model and its tokenizer onto the CPU, in float32.

    Args:
        model: OpenCLIP architecture ('ViT-B-16') or path of an OpenCLIP JSON config.
        pretrained: OpenCLIP tag (downloaded once by OpenCLIP) or path of a weights file.

    Raises:
        WeightsError: Unknown model or tag, missing file, or weights that do not fit the model.
    """
    import open_clip

    name = _register_config(Path(model)) if model.endswith('.json') else model
    if name not in open_clip.list_models():
        near = difflib.get_close_matches(name, open_clip.list_models(), n=5, cutoff=0.3)
        raise WeightsError(
            f'model {model!r} is neither an OpenCLIP architecture nor the path of an OpenCLIP '
            f'JSON config; similar architectures: {", ".join(near) or "none"}'
        )
    checkpoint = _find_checkpoint(name, pretrained)
    try:
        with WithoutDrawing():
            clip = open_clip.create_model(name, pretrained=checkpoint, weights_only=True)
    except Exception as error:  # OpenCLIP passes on errors of many types
        reason = one_line(error)
        raise WeightsError(f'{pretrained!r} cannot be loaded into {model!r}: {reason}') from error
    return clip.eval().requires_grad_(False), open_clip.get_tokenizer(name)


def _register_config(path: Path) -> str:
    """Register an OpenCLIP JSON config; return its name."""
    import open_clip

    try:
        config = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise WeightsError(f'model config {str(path)!r} does not exist') from error
    except (OSError, ValueError) as error:
        raise WeightsError(f'model config {str(path)!r} cannot be read: {error}') from error
    keys = ('embed_dim', 'vision_cfg', 'text_cfg')
    if not isinstance(config, dict) or any(key not in config for key in keys):
        raise WeightsError(f'model config {str(path)!r} must have the keys {", ".join(keys)}')
    open_clip.add_model_config(path.absolute())
    return path.stem


def _find_checkpoint(name: str, pretrained: str) -> str:
    """Return what OpenCLIP has to load: a file, or a tag whose revision is not pinned."""
    import open_clip

    file = find_file(name, pretrained)
    if file is not None:
        return str(file)
    tags = open_clip.list_pretrained_tags_by_model(name)
    if pretrained not in tags:
        raise WeightsError(
            f'pretrained {pretrained!r} is neither a file nor an OpenCLIP tag of {name!r}; '
            f'its tags: {", ".join(tags) or "none, give a file"}'
        )
    return pretrained


def load_heads(heads: str | Path, width: int | None = None) -> dict[str, Tensor]:
    """Load the two heads, strictly: exactly four tensors, of shapes that fit each other.

    Further entries in the authors' own file are ignored, as by the authors' loader, and logged. In
    any other file they are refused, because they may belong to another method.

    Args:
        heads: A safetensors file, a PyTorch file with the tensors under `model_state_dict` (the
            layout of the authors' last.pt), 'authors' (that file, downloaded once and verified), or
            the URL of a mirror of it.
        width: Channels D of the image tower that the heads must fit; None: any.

    Returns:
        float32 tensors on the CPU: obj_proj.weight (A, D, 3, 3), obj_proj.bias (A,),
        bkg_decoder.weight (1, D, 1, 1), bkg_decoder.bias (1,).

    Raises:
        WeightsError: Missing or unreadable file; a tensor missing, extra or of the wrong shape.
    """
    path = authors_heads(str(heads)) if is_heads_source(str(heads)) else Path(heads)
    if not path.is_file():
        raise WeightsError(
            f"heads {str(heads)!r} is not a file; give a safetensors file, the authors' last.pt, "
            f'{AUTHORS!r} to download that, or the URL of a mirror'
        )
    try:
        tensors = _read_tensors(path)
        extra = tensors.keys() - _HEAD_DIMENSIONS.keys()
        if extra and is_authors_file(path):
            _log.info('%s: not used: %s', path, ', '.join(sorted(extra)))
            tensors = {name: tensors[name] for name in tensors.keys() - extra}
    except Exception as error:  # readers raise many types
        raise WeightsError(f'heads {str(path)!r} cannot be read: {error}') from error
    return check_heads(tensors, width, str(path))


def _read_tensors(path: Path) -> Mapping[str, Any]:
    if path.suffix == '.safetensors':
        from safetensors.torch import load_file

        return load_file(path)
    content = torch.load(path, map_location='cpu', weights_only=True)
    if not isinstance(content, dict) or 'model_state_dict' not in content:
        raise ValueError('it has no model_state_dict')
    tensors: Mapping[str, Any] = content['model_state_dict']
    return tensors


def check_heads(
    tensors: Mapping[str, Any], width: int | None = None, source: str = 'heads'
) -> dict[str, Tensor]:
    """Check names and shapes of the heads' four tensors; see `load_heads`."""
    missing = sorted(_HEAD_DIMENSIONS.keys() - tensors.keys())
    extra = sorted(tensors.keys() - _HEAD_DIMENSIONS.keys())
    if missing or extra:
        raise WeightsError(
            f'{source} must hold exactly {", ".join(_HEAD_DIMENSIONS)}; '
            f'missing: {", ".join(missing) or "none"}; extra: {", ".join(extra) or "none"}'
        )
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    a, d = (shapes['obj_proj.weight'] + (0, 0))[:2]
    d = d if width is None else width
    allowed = {
        'obj_proj.weight': (a, d, 3, 3),
        'obj_proj.bias': (a,),
        'bkg_decoder.weight': (1, d, 1, 1),
        'bkg_decoder.bias': (1,),
    }
    for name, shape in shapes.items():
        if shape != allowed[name]:
            raise WeightsError(
                f'{source}: {name} has shape {shape}; it must be {_HEAD_DIMENSIONS[name]} '
                f'= {allowed[name]}, D being the width of the image tower'
            )
    return {name: tensors[name].float() for name in _HEAD_DIMENSIONS}


def convert_heads(source: str | Path, target: str | Path) -> None:
    """Convert heads, in any layout that `load_heads` reads, to a safetensors file."""
    from safetensors.torch import save_file

    save_file(load_heads(source), target)
