"""The last lap of training: the two heads alone, on the frozen tower as it is shipped.

What they are trained with is what inference does with them: features pooled by affinities that
are cut at gamma must still say the right class.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from clip_dinoiser_ros.core.backbone import Backbone
from clip_dinoiser_ros.core.vocabulary import TextEncoder
from clip_dinoiser_ros.core.weights import load_clip, load_heads
from clip_dinoiser_ros.demo import objectives
from clip_dinoiser_ros.demo.batches import collate
from clip_dinoiser_ros.demo.dense import Heads, pool
from clip_dinoiser_ros.demo.files import HEADS, model_files
from clip_dinoiser_ros.demo.samples import FULL, PATCH, Sample, stream
from clip_dinoiser_ros.demo.words import SEEN_CLASSES


@dataclass(frozen=True)
class HeadStage:
    """How long and how hard to train the heads alone."""

    steps: int = 250
    batch: int = 4
    lr: float = 2e-3
    lr_objectness: float = 0.02
    first_seed: int = 900_000_000  # far from the scenes of the towers


HEAD_STAGE = HeadStage()  # the shipped heads


def head_losses(
    heads: Heads, features: Tensor, inner: Tensor, text: Tensor, target: Tensor, size: tuple
) -> dict[str, Tensor]:
    """Return the losses of both heads on the features of a frozen tower.

    Args:
        heads: To be trained.
        features: MaskCLIP's, float32 (B, N, D), not normalised, as inference pools them.
        inner: Float32 (B, N, C).
        text: Unit embeddings of SEEN_CLASSES, (classes, D).
        target: Shares (B, N, classes).
        size: Grid (h, w).
    """
    affinity = heads.affinity(inner, *size)
    logits = objectives.SCALE * pool(features, affinity, objectives.GAMMA) @ text.T
    absent = target.amax(dim=1, keepdim=True) == 0  # (B, 1, classes): not prompted in the scene
    weight = objectives.busy(target)
    return {
        'objectness': objectives.objectness_loss(heads.objectness(inner, *size), target),
        'affinity': 0.5 * objectives.affinity_loss(affinity, target),
        'pooled': objectives.cross_entropy(logits, target, weight),
        'own': objectives.cross_entropy(logits.masked_fill(absent, -1e4), target, weight),
    }


def train_heads(
    folder: Path | str,
    seed: int = 0,
    stage: HeadStage = HEAD_STAGE,
    progress: Callable[[str], None] = print,
) -> None:
    """Train the heads in a folder on, for the tower in it, and write them again.

    Args:
        folder: With the files of a trained model.
        seed: Decides the pictures.
        stage: How long and how hard.
        progress: Takes a line of text now and then.
    """
    rng = np.random.default_rng([seed, 4])
    files = model_files(Path(folder))
    clip, tokenizer = load_clip(files['model'], files['pretrained'])
    text = TextEncoder(clip, tokenizer).encode(SEEN_CLASSES).embeddings.clone()
    backbone = Backbone(clip.visual)
    weights = load_heads(files['heads'], backbone.width)
    heads = Heads(backbone.width, len(weights['obj_proj.bias']))
    heads.load_state_dict(weights)
    optimizer = torch.optim.AdamW(
        [
            {'params': heads.obj_proj.parameters()},
            {'params': heads.bkg_decoder.parameters(), 'lr': stage.lr_objectness},
        ],
        lr=stage.lr,
        weight_decay=0.0,
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, stage.steps)
    first = stage.first_seed + seed * 1_000_000
    plan = [(first + i, FULL) for i in range(stage.steps * stage.batch)]
    samples = stream(plan)
    for step in range(stage.steps):
        batch = [next(samples) for _ in range(stage.batch)]
        losses = _step(backbone, heads, text, batch, rng)
        sum(losses.values()).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        schedule.step()
        if step % 25 == 0 or step == stage.steps - 1:
            told = ' '.join(f'{name} {value.item():.3f}' for name, value in losses.items())
            progress(f'heads, step {step + 1}/{stage.steps}: {told}')
    light = {key: value.contiguous() for key, value in heads.state_dict().items()}
    save_file(light, Path(folder) / HEADS)


def _step(
    backbone: Backbone,
    heads: Heads,
    text: Tensor,
    samples: list[Sample],
    rng: np.random.Generator,
) -> dict[str, Tensor]:
    images, target = collate(samples, rng)
    with torch.no_grad(), torch.autocast('cpu', torch.bfloat16):
        dense = backbone(images)
    features = _tokens(dense.maskclip)
    inner = _tokens(dense.inner)
    size = (images.shape[-2] // PATCH, images.shape[-1] // PATCH)
    return head_losses(heads, features, inner, text, target, size)


def _tokens(grid: Tensor) -> Tensor:
    """(B, C, h, w) -> float32 (B, h * w, C)."""
    return grid.float().flatten(2).transpose(1, 2)
