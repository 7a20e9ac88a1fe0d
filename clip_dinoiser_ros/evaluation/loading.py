# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Load the models of an evaluation and record their digests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast

import torch
from torch import Tensor, nn

from clip_dinoiser_ros.core import Segmenter, engines, weights
from clip_dinoiser_ros.core.backbone import Backbone
from clip_dinoiser_ros.core.dinoiser import Heads
from clip_dinoiser_ros.core.embedding_cache import default_folder
from clip_dinoiser_ros.core.engines import Engine
from clip_dinoiser_ros.core.engines.intel import is_intel
from clip_dinoiser_ros.core.engines.quantized import RECORD
from clip_dinoiser_ros.core.methods import METHODS as LIVE_METHODS
from clip_dinoiser_ros.core.methods import Method as LiveMethod
from clip_dinoiser_ros.core.preprocess import Preprocess
from clip_dinoiser_ros.core.segmenter import (
    DTYPES,
    Precision,
    check_quantized,
    find_device,
    find_precision,
)
from clip_dinoiser_ros.core.transfer import digest_of
from clip_dinoiser_ros.core.vocabulary import TextEncoder
from clip_dinoiser_ros.evaluation.table_models import TableModel, TableRow
from clip_dinoiser_ros.training import dino
from clip_dinoiser_ros.training.precision import fingerprint
from clip_dinoiser_ros.training.teachers import TeacherError


@dataclass(frozen=True)
class Files:
    """Weights as given on the command line.

    Attributes:
        model, pretrained, heads: As for `Segmenter.load`.
        dino_base, dino_small: Files of DINO's weights; None: timm downloads them.
        found: File of FOUND's decoder; None: not given.
        quantized: Folder of the image tower in int8; None: not given.
    """

    model: str
    pretrained: str
    heads: str
    dino_base: str | None = None
    dino_small: str | None = None
    found: str | None = None
    quantized: str | None = None


@dataclass
class Weights:
    """CLIP and the heads, read once.

    Attributes:
        clip: OpenCLIP model.
        tokenizer: Its tokenizer.
        heads: The four tensors.
        digests: Digest of each file that was read.
    """

    clip: nn.Module
    tokenizer: Callable[..., Tensor]
    heads: dict[str, Tensor]
    digests: dict[str, str] = field(default_factory=dict)


def check(files: Files, row: TableRow) -> None:
    """Check that the weights of a row's teachers exist, before anything is loaded.

    Raises:
        TeacherError: A file is missing.
    """
    if row.needs_found and files.found is None:
        raise TeacherError(
            f"--background {row.background} needs --found FILE: FOUND's decoder, "
            'data/weights/decoder_weights.pt of https://github.com/valeoai/FOUND'
        )
    for file in (files.dino_base, files.dino_small, files.found):
        if file is not None and not Path(file).is_file():
            raise TeacherError(f'{file!r} is not a file')


def check_engine(
    files: Files, row: TableRow, device: str, precision: Precision, engine: Engine
) -> None:
    """Check that the image tower of a row can run this way, before anything is loaded.

    Raises:
        ValueError: Engine, device, precision, method and `files.quantized` do not go together.
    """
    check_quantized(precision, files.quantized)
    find_engine(row, device, precision, engine)


def read_weights(files: Files) -> Weights:
    """Read CLIP and the heads; raises WeightsError."""
    named = {'model': files.model, 'pretrained': files.pretrained, 'heads': files.heads}
    if files.model == weights.DEMO:
        named = weights.demo_files()
    clip, tokenizer = weights.load_frozen(named['model'], named['pretrained'])
    heads = weights.load_heads(named['heads'])
    digests = {'clip': fingerprint(clip.state_dict()), 'heads': fingerprint(heads)}
    return Weights(clip, tokenizer, heads, digests)


def load_table_model(
    read: Weights, files: Files, row: TableRow, device: str, precision: Precision, engine: Engine
) -> tuple[TableModel, TextEncoder, torch.device]:
    """Build the model of a row of the table.

    Args:
        read: CLIP and the heads; owned by the model afterwards.
        files: Weights of the teachers; their digests are added to those of `read`.
        row: The row.
        device: As for `Segmenter`.
        precision: As for `Segmenter`; used for all towers. With int8, DINO computes in float32.
        engine: As for `Segmenter`; used for CLIP's image tower. DINO runs on torch.

    Returns:
        The model, the encoder of prompts, and the device.
    """
    on = find_device(device)
    place = device if is_intel(device) else str(on)
    chosen = find_precision(precision, on)
    dtype = torch.float32 if is_intel(device) else DTYPES[chosen]
    runs = find_engine(row, device, precision, engine)
    texts = TextEncoder(read.clip, read.tokenizer, default_folder())
    visual = read.clip.to(on).visual
    backbone = Backbone(visual, row.keys)
    heads = Heads(weights.check_heads(read.heads, backbone.width))
    config = getattr(visual, 'preprocess_cfg', {})
    tower = engines.make_tower(runs, visual, place, chosen, dtype, _quantized(read, files))
    of_input = dtype if tower is None else torch.float32
    preprocess = Preprocess(backbone.patch_size, None, config, on, of_input)
    affinity = objects = None
    if row.needs_dino:
        affinity = dino.DinoAffinity(dino.load_dino(dino.BASE, files.dino_base), on, chosen)
        read.digests['dino_base'] = affinity.weights
    if row.needs_found:
        assert files.found is not None
        small, decoder = dino.load_dino(dino.SMALL, files.dino_small), dino.load_found(files.found)
        objects = dino.FoundObjects(small, decoder, on, chosen)
        read.digests['dino_small'], read.digests['found'] = objects.weights
    if tower is None:
        backbone.to(dtype)
        if on.type == 'cpu':
            backbone.pack()
    model = TableModel(row, preprocess, tower or backbone, heads.to(on, dtype), affinity, objects)
    return model, texts, on


def find_engine(
    row: TableRow, device: str, precision: Precision, engine: Engine
) -> Literal['torch', 'openvino']:
    """Choose the engine of a row; methods that read keys need torch.

    Raises:
        ValueError: Another engine was given, or as `engines.find_engine`.
    """
    on = find_device(device)
    if row.keys is not None:
        if engine == 'openvino' or precision == 'int8':
            raise ValueError(f'--method {row.method} needs --engine torch, which has no int8')
        engine = 'torch'
    return engines.find_engine(engine, device if is_intel(device) else str(on), precision)


def _quantized(read: Weights, files: Files) -> Path | None:
    """Return the folder of the tower in int8, and note the digest of its record."""
    if files.quantized is None:
        return None
    folder = Path(files.quantized)
    if (folder / RECORD).is_file():  # else whoever reads it says what is missing
        read.digests['quantized'] = digest_of(folder / RECORD, 64)[:16]
    return folder


def load_segmenter(
    read: Weights,
    files: Files,
    row: TableRow,
    device: str,
    precision: Precision,
    engine: Engine,
    short_side: int | None,
) -> Segmenter:
    """Build the segmenter of the node; raises ValueError for methods that the node lacks."""
    if row.method not in LIVE_METHODS or row.needs_found or row.denoising or row.projected_keys:
        raise ValueError(
            f'--protocol node does not support --method {row.method} with --background '
            f'{row.background}: the node has the methods {", ".join(LIVE_METHODS)} and the '
            f'backgrounds none and learned'
        )
    return Segmenter(
        read.clip,
        read.heads,
        read.tokenizer,
        device,
        precision,
        short_side,
        default_folder(),
        engine=engine,
        method=cast(LiveMethod, row.method),
        quantized=_quantized(read, files),
    )
