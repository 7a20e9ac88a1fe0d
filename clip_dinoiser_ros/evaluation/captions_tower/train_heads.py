# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Train the two heads on the frozen captions tower, as the paper does on a frozen CLIP.

The teacher is the generated world: which patches show the same class, and where objects are. The
tower does not change, so the input of the heads is computed once.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from clip_dinoiser_ros.core.backbone import Backbone
from clip_dinoiser_ros.core.dinoiser import Heads
from clip_dinoiser_ros.evaluation.captions_tower.tower import load_tower, note_training, save_half
from clip_dinoiser_ros.training.demo_model.batches import collate
from clip_dinoiser_ros.training.demo_model.files import CAPTIONS_HEADS
from clip_dinoiser_ros.training.demo_model.objectives import objectness_loss, pooling_losses
from clip_dinoiser_ros.training.demo_model.samples import FULL, stream
from clip_dinoiser_ros.training.losses import fresh_heads


@dataclass(frozen=True)
class HeadsRecipe:
    """Hyperparameters of the training of the heads."""

    scenes: int = 150  # at full scale
    steps: int = 800
    batch: int = 4
    patches: int = 160  # patches of each scene whose pooling is trained in a step
    channels: int = 48
    lr_affinity: float = 3e-3
    lr_objectness: float = 0.05  # its input has unit norm, so its weights must grow large
    gamma: float = 0.3  # threshold of the affinities in training
    first_seed: int = 700_000_000


def _read(tower: nn.Module, recipe: HeadsRecipe, seed: int, device: str) -> tuple[Tensor, Tensor]:
    """Return the input of the heads, float16 (scenes, D, h, w), and the class shares."""
    backbone = Backbone(tower)
    start = recipe.first_seed + 100_000 * seed
    rng = np.random.default_rng([seed, 200])
    read, shares = [], []
    for sample in stream([(number, FULL) for number in range(start, start + recipe.scenes)]):
        image, share = collate([sample], rng)
        with torch.no_grad(), torch.autocast(torch.device(device).type, torch.bfloat16):
            read.append(backbone(image.to(device)).inner.half())
        shares.append(share.half().to(device))
    return torch.cat(read), torch.cat(shares)


def _losses(
    heads: Heads, inner: Tensor, shares: Tensor, recipe: HeadsRecipe, draw: torch.Generator
) -> dict[str, Tensor]:
    """Return the weighted losses of a batch; small objects count as much as the ground."""
    weight = (shares / shares.sum(dim=1, keepdim=True).clamp(min=1)).sum(-1)
    rows = torch.multinomial(weight.cpu(), recipe.patches, generator=draw).to(inner.device)
    affinity = heads.affinity(inner)
    picked = torch.arange(len(rows), device=inner.device)[:, None]
    same = shares[picked, rows] @ shares.transpose(1, 2)
    purity, reach = pooling_losses(affinity[picked, rows], same, recipe.gamma)
    return {
        'purity': purity,
        'reach': 0.1 * reach,
        'objectness': objectness_loss(heads.objectness(inner).flatten(1), shares),
    }


def train_heads(
    out_dir: Path | str,
    seed: int,
    recipe: HeadsRecipe,
    progress: Callable[[str], None] = print,
    device: str = 'cpu',
) -> None:
    """Train the heads of the captions tower in `out_dir`, and write them beside it.

    Args:
        out_dir: Folder of the demo model and the tower.
        seed: Seed of the scenes, their order and the initial weights.
        recipe: Hyperparameters.
        progress: Called with a line of text now and then.
        device: Device to train on.
    """
    folder = Path(out_dir)
    inner, shares = _read(load_tower(folder).to(device), recipe, seed, device)
    heads = (
        Heads(fresh_heads(inner.shape[1], recipe.channels, seed)).requires_grad_(True).to(device)
    )
    groups = [
        {'params': heads.obj_proj.parameters(), 'lr': recipe.lr_affinity},
        {'params': heads.bkg_decoder.parameters(), 'lr': recipe.lr_objectness},
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, [group['lr'] for group in groups], recipe.steps + 1, pct_start=0.05
    )
    rng, draw = np.random.default_rng([seed, 201]), torch.Generator().manual_seed(seed)
    for step in range(recipe.steps):
        chosen = rng.choice(recipe.scenes, recipe.batch)
        losses = _losses(heads, inner[chosen].float(), shares[chosen].float(), recipe, draw)
        sum(losses.values()).backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        if step % 50 == 49 or step == recipe.steps - 1:
            told = ' '.join(f'{name} {value.item():.3f}' for name, value in losses.items())
            progress(f'heads, step {step + 1}/{recipe.steps}: {told}')
    save_half(folder / CAPTIONS_HEADS, heads)
    note_training(folder, heads={'seed': seed, **asdict(recipe)})
