# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Make the small demo model from nothing: a CLIP of 4.5 million parameters, and its two heads.

`train(out_dir, seed)` writes the files of `demo/model/`. It needs no data: the images are drawn
while it runs.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import open_clip
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from clip_dinoiser_ros.core.backbone import Backbone
from clip_dinoiser_ros.core.dinoiser import Heads, guided_pooling
from clip_dinoiser_ros.core.manifest import write_manifest
from clip_dinoiser_ros.training.demo_model import objectives
from clip_dinoiser_ros.training.demo_model.batches import (
    STAGES,
    Stage,
    batches,
    collate,
    plan_views,
)
from clip_dinoiser_ros.training.demo_model.embeddings import (
    encode_texts,
    encode_whole,
    trainable_backbone,
    unit_features,
)
from clip_dinoiser_ros.training.demo_model.files import (
    CLIP,
    CONFIG,
    HEADS,
    VOCABULARY,
    describe_vocabulary,
)
from clip_dinoiser_ros.training.demo_model.samples import PATCH, Sample
from clip_dinoiser_ros.training.losses import fresh_heads

SHAPE = {
    'embed_dim': 128,
    'vision_cfg': {
        'image_size': 224,
        'layers': 6,
        'width': 192,
        'head_width': 64,
        'patch_size': PATCH,
    },
    'text_cfg': {
        'context_length': 77,
        'vocab_size': 49408,
        'width': 32,
        'heads': 2,
        'layers': 3,
    },
}
_AFFINITY_DIM = 64


def _losses(
    clip: nn.Module,
    backbone: Backbone,
    heads: Heads,
    tokenize: Callable,
    samples: list[Sample],
    pooled: bool,
    rng: np.random.Generator,
) -> dict[str, Tensor]:
    """Return the weighted losses of one batch."""
    device = clip.logit_scale.device
    images, target = (tensor.to(device) for tensor in collate(samples, rng))
    few = len(samples) // 4
    phrases = objectives.draw_phrases(rng)
    captions = [objectives.caption(sample.classes, rng) for sample in samples[:few]]
    with torch.autocast(device.type, torch.bfloat16):
        dense = backbone(images)
        whole = encode_whole(clip.visual, images[:few])
        text = encode_texts(clip, tokenize([*phrases, *captions]).to(device))
    features, inner = unit_features(dense), dense.inner.float()
    text, caption_text = text[: len(phrases)], text[len(phrases) :]
    losses = objectives.word_losses(features, text, target, rng)
    losses['whole'] = 0.1 * objectives.contrastive_loss(whole, caption_text)
    losses['kind'] = 0.5 * losses['kind']
    losses['background'] = 0.5 * losses['background']
    losses['objectness'] = 0.3 * objectives.objectness_loss(
        heads.objectness(inner).flatten(1), target
    )
    affinity = heads.affinity(inner[:few])
    losses['affinity'] = 0.5 * objectives.affinity_loss(affinity, target[:few])
    if pooled:
        again = guided_pooling(dense.maskclip[:few].float(), affinity.clone(), objectives.GAMMA)
        again = F.normalize(again.flatten(2), dim=1).transpose(1, 2)
        logits = objectives.SCALE * again @ text[objectives.CLASS_ROWS].T
        losses['pooled'] = 0.5 * objectives.cross_entropy(
            logits, target[:few], objectives.busy(target[:few])
        )
    return losses


def _optimizers(clip: nn.Module, heads: Heads, stage: Stage) -> list[torch.optim.Optimizer]:
    """Return Muon for the matrices inside the image blocks and AdamW for the rest."""
    matrices = [p for p in clip.visual.transformer.parameters() if p.ndim == 2]
    inside = {id(p) for p in matrices}
    rest = [p for p in clip.parameters() if p.requires_grad and id(p) not in inside]
    groups = [
        {'params': [p for p in rest if p.ndim > 1], 'weight_decay': stage.weight_decay},
        {'params': [p for p in rest if p.ndim <= 1], 'weight_decay': 0.0},
        {'params': heads.obj_proj.parameters(), 'weight_decay': 0.0},
        {
            'params': heads.bkg_decoder.parameters(),
            'weight_decay': 0.0,
            'lr': stage.lr_objectness,
        },
    ]
    return [
        torch.optim.Muon(
            matrices,
            lr=stage.lr_matrix,
            weight_decay=stage.weight_decay,
            adjust_lr_fn='match_rms_adamw',
        ),
        torch.optim.AdamW(groups, lr=stage.lr, betas=(0.9, 0.98)),
    ]


def _rate(step: int, stage: Stage) -> float:
    """Return the factor of the learning rate: linear warm-up, then half a cosine."""
    if step < stage.warmup:
        return (step + 1) / stage.warmup
    done = (step - stage.warmup) / max(1, stage.schedule - stage.warmup)
    return 0.5 * (1 + float(np.cos(np.pi * done)))


def new_model() -> nn.Module:
    """Return an untrained CLIP of the demo's shape."""
    return open_clip.CLIP(**SHAPE, output_dict=False)


def _start(folder: Path | str | None, seed: int, device: str) -> tuple[nn.Module, Heads]:
    """Return towers and heads, new ones or those in a folder."""
    torch.manual_seed(seed)
    clip = new_model()
    weights = fresh_heads(SHAPE['vision_cfg']['width'], _AFFINITY_DIM, seed)
    if folder is not None:
        clip.load_state_dict(load_file(Path(folder) / CLIP))
        weights = load_file(Path(folder) / HEADS)
    return clip.to(device), Heads(weights).requires_grad_(True).to(device)


def train(
    out_dir: Path | str,
    seed: int = 0,
    stages: Sequence[Stage] = STAGES,
    progress: Callable[[str], None] = print,
    device: str = 'cpu',
) -> None:
    """Train the demo model from nothing and write it.

    Every stage starts from the files of the one before, so that any of them can be repeated.

    Args:
        out_dir: Folder for the files; made when missing.
        seed: Decides the images, their order and the first weights.
        stages: What to do in turn; the default makes the shipped model.
        progress: Takes a line of text now and then.
        device: Where to compute; the shipped model was made on 'cpu'.
    """
    for number in range(len(stages)):
        train_stage(out_dir, seed, number, stages, progress, device)


def train_stage(
    out_dir: Path | str,
    seed: int,
    number: int,
    stages: Sequence[Stage] = STAGES,
    progress: Callable[[str], None] = print,
    device: str = 'cpu',
) -> None:
    """Train towers and heads for one stage; all but the first read the files in `out_dir`."""
    stage = stages[number]
    rng = np.random.default_rng([seed, number])
    clip, heads = _start(out_dir if number else None, seed, device)
    backbone, tokenize = trainable_backbone(clip.visual), open_clip.SimpleTokenizer()
    stock = batches(stage, plan_views(stage, rng), seed, rng)
    optimizers = _optimizers(clip, heads, stage)
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    rates = [group['lr'] for group in groups]
    began = time.monotonic()
    for step in range(stage.steps):
        factor = _rate(step, stage)
        for group, rate in zip(groups, rates, strict=True):
            group['lr'] = rate * factor
        losses = _losses(
            clip, backbone, heads, tokenize, next(stock), step >= stage.pooled_from, rng
        )
        sum(losses.values()).backward()
        nn.utils.clip_grad_norm_(clip.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if step % 25 == 0 or step == stage.steps - 1:
            left_min = (time.monotonic() - began) / (step + 1) * (stage.steps - step - 1) / 60
            told = ' '.join(f'{name} {value.item():.3f}' for name, value in losses.items())
            progress(
                f'stage {number + 1}/{len(stages)}, step {step + 1}/{stage.steps}, '
                f'{left_min:.0f} min left: {told}'
            )
    stock.close()  # ends the process that draws
    save(out_dir, clip, heads, seed, stages)


def save(
    out_dir: Path | str, clip: nn.Module, heads: Heads, seed: int, stages: Sequence[Stage]
) -> None:
    """Write the config, the CLIP in half precision, the heads, and how they were made."""
    folder = Path(out_dir)
    folder.mkdir(parents=True, exist_ok=True)
    weights = {key: value.half().cpu().contiguous() for key, value in clip.state_dict().items()}
    save_file(weights, folder / CLIP)
    light = {key: value.cpu().contiguous() for key, value in heads.state_dict().items()}
    save_file(light, folder / HEADS)
    (folder / CONFIG).write_text(json.dumps(SHAPE, indent=2) + '\n')
    (folder / VOCABULARY).write_text(json.dumps(describe_vocabulary(), indent=2) + '\n')
    made = {'seed': seed, 'stages': [asdict(stage) for stage in stages]}
    (folder / 'training.json').write_text(json.dumps(made, indent=2) + '\n')
    write_manifest(folder)
