# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Train the captions tower, the paper's setting, and then its two heads.

CLIP learns from images and their captions. It is never trained on single patches, so its patch
features are noisy, and guided pooling is made for such features. The text tower is the frozen one
of the demo model, so both image towers know the same prompts.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import open_clip
import torch
from torch import Tensor, nn

from clip_dinoiser_ros.core.weights import demo_files, load_clip
from clip_dinoiser_ros.evaluation.captions_tower import losses
from clip_dinoiser_ros.evaluation.captions_tower.captioned_crops import (
    CaptionedImage,
    CropShape,
    crop,
)
from clip_dinoiser_ros.evaluation.captions_tower.tower import (
    load_tower,
    new_tower,
    note_training,
    save_tower,
)
from clip_dinoiser_ros.evaluation.captions_tower.train_heads import HeadsRecipe, train_heads
from clip_dinoiser_ros.training.demo_model.batches import lit, normalise
from clip_dinoiser_ros.training.demo_model.embeddings import encode_texts, encode_whole
from clip_dinoiser_ros.training.demo_model.samples import FULL, View, draw_image, stream

CLOSE = View(FULL.width, FULL.height, 36.0)
_BIT = CropShape(rows=4, cols=4, batch=192, zoom=(0.75, 1.75))
_PART = CropShape(rows=8, cols=8, batch=64, zoom=(0.75, 1.75))
_HALF = CropShape(rows=14, cols=18, batch=24, zoom=(1.0, 2.0))
_WHOLE = CropShape(rows=28, cols=37, batch=4, zoom=(1.0, 1.0))


@dataclass(frozen=True)
class CaptionStage:
    """Hyperparameters of one stage of the training; each stage ends with written files."""

    steps: int
    frames: tuple[CropShape, ...]
    shares: tuple[float, ...]  # relative frequencies of the frames
    lr: tuple[float, float]  # of AdamW, at the start and at the end; that of Muon is twice as high
    first_seed: int  # of the scenes
    scale: float = 20.0  # initial scale of the logits
    warmup: int = 50
    fresh: int = 1  # new images per step; crops are taken from all images kept
    keep: int = 600
    weight_decay: float = 0.05


# Crops are cheap and teach most of it; whole images at the size of inference come late.
CAPTION_STAGES = (
    CaptionStage(1200, (_PART,), (1.0,), (1e-3, 1e-3), 800_000_000),
    CaptionStage(
        700,
        (_BIT, _PART, _HALF, _WHOLE),
        (0.45, 0.25, 0.2, 0.1),
        (1.2e-3, 0.0),
        810_000_000,
        scale=60.0,
    ),
)
HEADS = HeadsRecipe()


def captioned_batches(
    stage: CaptionStage, seed: int, rng: np.random.Generator
) -> Iterator[list[CaptionedImage]]:
    """Yield one batch per step: image crops with the classes they show, without masks."""
    count = stage.keep // 10 + stage.fresh * stage.steps
    start = stage.first_seed + 100_000 * seed
    views = [CLOSE if draw < 0.25 else FULL for draw in rng.random(count)]
    images = stream(list(zip(range(start, start + count), views, strict=True)), draw_image)
    kept = deque((next(images) for _ in range(stage.keep // 10)), maxlen=stage.keep)
    for _ in range(stage.steps):
        kept.extend(next(images) for _ in range(stage.fresh))
        frame = stage.frames[rng.choice(len(stage.frames), p=stage.shares)]
        chosen = rng.choice(len(kept), frame.batch)
        yield [crop(*kept[index], frame, rng) for index in chosen]
    images.close()


def batch_loss(
    tower: nn.Module,
    clip: nn.Module,
    tokenize: Callable,
    seen: Sequence[CaptionedImage],
    scale: Tensor,
    rng: np.random.Generator,
) -> Tensor:
    """Return the contrastive loss of a batch: whole images against sentences."""
    device = scale.device
    said = [phrases for shown in seen for phrases in losses.describe(shown, rng)]
    tokens = tokenize([losses.sentence(phrases, rng) for phrases in said])
    images = normalise([lit(shown.image, rng) for shown in seen])
    true, false = losses.judge(seen, said)
    with torch.autocast(device.type, torch.bfloat16):
        with torch.no_grad():
            texts = encode_texts(clip, tokens.to(device))
        wholes = encode_whole(tower, images.to(device), 'mean')
    return losses.caption_loss(
        wholes, texts, true.to(device), false.to(device), scale.exp().clamp(max=100)
    )


def _optimizers(
    tower: nn.Module, scale: Tensor, stage: CaptionStage
) -> list[torch.optim.Optimizer]:
    matrices = [p for p in tower.transformer.parameters() if p.ndim == 2]
    inside = {id(p) for p in matrices}
    rest = [p for p in tower.parameters() if id(p) not in inside]
    decay = stage.weight_decay
    groups = [
        {'params': [p for p in rest if p.ndim > 1], 'weight_decay': decay},
        {'params': [*(p for p in rest if p.ndim <= 1), scale], 'weight_decay': 0.0},
    ]
    return [
        torch.optim.Muon(
            matrices, lr=2 * stage.lr[0], weight_decay=decay, adjust_lr_fn='match_rms_adamw'
        ),
        torch.optim.AdamW(groups, lr=stage.lr[0], betas=(0.9, 0.98)),
    ]


def train_tower_stage(
    out_dir: Path | str,
    seed: int,
    number: int,
    stages: Sequence[CaptionStage] = CAPTION_STAGES,
    progress: Callable[[str], None] = print,
    device: str = 'cpu',
) -> None:
    """Train the tower for one stage; all but the first start from the file in `out_dir`.

    Args:
        out_dir: Folder of the demo model, whose text tower is used.
        seed: Seed of the images, their order and the initial weights.
        number: Index of the stage, from 0.
        stages: All stages.
        progress: Called with a line of text now and then.
        device: Device to train on.
    """
    stage, folder = stages[number], Path(out_dir)
    rng = np.random.default_rng([seed, 100 + number])
    torch.manual_seed(seed)
    files = demo_files(folder)
    clip = load_clip(files['model'], files['pretrained'])[0].to(device)
    tower = (load_tower(folder).train().requires_grad_(True) if number else new_tower()).to(device)
    scale = torch.tensor(np.log(stage.scale), dtype=torch.float32, device=device).requires_grad_()
    optimizers = _optimizers(tower, scale, stage)
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    rates = [group['lr'] / stage.lr[0] for group in groups]
    tokenize, began, told = open_clip.SimpleTokenizer(), time.monotonic(), []
    for step, seen in enumerate(captioned_batches(stage, seed, rng)):
        done = step / stage.steps
        lr = min(1.0, (step + 1) / stage.warmup) * (stage.lr[0] * (1 - done) + stage.lr[1] * done)
        for group, rate in zip(groups, rates, strict=True):
            group['lr'] = lr * rate
        loss = batch_loss(tower, clip, tokenize, seen, scale, rng)
        loss.backward()
        nn.utils.clip_grad_norm_(tower.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        told.append(loss.item())
        if step % 50 == 49 or step == stage.steps - 1:
            left_min = (time.monotonic() - began) / (step + 1) * (stage.steps - step - 1) / 60
            progress(
                f'captions {number + 1}/{len(stages)}, step {step + 1}/{stage.steps}, '
                f'{left_min:.0f} min left: loss {np.mean(told):.3f}'
            )
            told.clear()
    save_tower(folder, tower)
    made = {'seed': seed, 'stages': [asdict(stage) for stage in stages]}
    note_training(folder, tower={**made, 'scale': float(scale.detach().exp())})


def train(
    out_dir: Path | str,
    seed: int = 0,
    stages: Sequence[CaptionStage] = CAPTION_STAGES,
    recipe: HeadsRecipe = HEADS,
    progress: Callable[[str], None] = print,
    device: str = 'cpu',
) -> None:
    """Train the captions tower and its heads; write them beside the demo model in `out_dir`."""
    for number in range(len(stages)):
        train_tower_stage(out_dir, seed, number, stages, progress, device)
    train_heads(out_dir, seed, recipe, progress, device)
