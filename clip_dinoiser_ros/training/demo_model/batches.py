# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Which images each step of the training sees: a recipe, a pool of images, batches."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import open_clip
import torch
from torch import Tensor

from clip_dinoiser_ros.training.demo_model.samples import FULL, NEAR, WIDE, Sample, View, stream
from clip_dinoiser_ros.world.classes import SEEN_CLASSES

_MEAN = torch.tensor(open_clip.OPENAI_DATASET_MEAN).view(3, 1, 1)
_STD = torch.tensor(open_clip.OPENAI_DATASET_STD).view(3, 1, 1)


@dataclass(frozen=True)
class Stage:
    """How long and how hard to train, from one set of files to the next."""

    steps: int
    schedule: int  # where the learning rate would come to zero; the stage may end before
    full_from: float  # after this part of the schedule, mostly images at full scale
    full_share: float
    lr: float
    lr_matrix: float  # of Muon, for the matrices inside the blocks
    lr_objectness: float  # its input has length one, so its weights must grow large
    warmup: int
    pooled_from: int  # pooling joins when the features mean something
    first_seed: int  # of the scenes; those below a million are for evaluation
    batch: int = 32  # of small images
    batch_full: int = 8
    fresh: int = 12  # new images per step; an image is met batch / fresh times on average
    fresh_full: int = 4
    keep: int = 2048  # images kept to draw from
    keep_full: int = 512
    weight_decay: float = 0.05


# The shipped model. Full-scale images cost three times as much, so they come late.
STAGES = (
    Stage(
        steps=1500,
        schedule=2700,
        full_from=0.6,
        full_share=0.7,
        lr=1e-3,
        lr_matrix=2e-3,
        lr_objectness=0.05,
        warmup=150,
        pooled_from=600,
        first_seed=1_000_000,
    ),
    Stage(
        steps=600,
        schedule=600,
        full_from=0.0,
        full_share=0.6,
        lr=5e-4,
        lr_matrix=1e-3,
        lr_objectness=0.02,
        warmup=30,
        pooled_from=0,
        first_seed=500_000_000,
    ),
)


def plan_views(stage: Stage, rng: np.random.Generator) -> list[View]:
    """Draw which view each step looks through."""
    views = []
    for step in range(stage.schedule):
        late = step >= stage.schedule * stage.full_from
        if late and rng.random() < stage.full_share:
            views.append(FULL)
        else:
            views.append(NEAR if rng.random() < 0.5 else WIDE)
    return views


def _fresh(view: View, first: bool, stage: Stage) -> int:
    if first:
        return stage.batch_full if view is FULL else stage.batch
    return stage.fresh_full if view is FULL else stage.fresh


def batches(
    stage: Stage, views: list[View], seed: int, rng: np.random.Generator
) -> Iterator[list[Sample]]:
    """Yield a batch per step: new images join a pool, the oldest leave, the batch is drawn."""
    met: set[View] = set()
    counts = []
    for view in views:
        counts.append(_fresh(view, view not in met, stage))
        met.add(view)
    order = [view for view, count in zip(views, counts, strict=True) for _ in range(count)]
    start = stage.first_seed + 1_000_000 * seed
    samples = stream(list(zip(range(start, start + len(order)), order, strict=True)))
    pools: dict[View, list[Sample]] = {view: [] for view in met}
    for view, count in zip(views, counts, strict=True):
        pool_of_view = pools[view]
        pool_of_view.extend(next(samples) for _ in range(count))
        del pool_of_view[: -(stage.keep_full if view is FULL else stage.keep)]
        size = stage.batch_full if view is FULL else stage.batch
        chosen = rng.choice(len(pool_of_view), size, replace=False)
        yield [pool_of_view[index] for index in chosen]


def lit(image: np.ndarray, rng: np.random.Generator) -> Tensor:
    """Return uint8 RGB (H, W, 3) as float32 (3, H, W) in about [0, 1], brighter or darker."""
    gain = np.float32(rng.uniform(0.85, 1.12) / 255)
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1) * gain


def normalise(images: Sequence[Tensor]) -> Tensor:
    """Return RGB images (3, H, W) as one normalised batch."""
    return (torch.stack(list(images)).clamp(0, 1) - _MEAN) / _STD


def collate(samples: list[Sample], rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Return normalised images (B, 3, H, W) and shares (B, h * w, classes), some mirrored."""
    images, targets = [], []
    for sample in samples:
        image, shares = sample.image, sample.shares
        if rng.random() < 0.5:
            image, shares = image[:, ::-1], shares[:, :, ::-1]
        images.append(lit(image, rng))
        target = torch.zeros(shares[0].size, len(SEEN_CLASSES))
        target[:, sample.classes] = torch.from_numpy(shares.reshape(len(shares), -1).T.copy())
        targets.append(target)
    return normalise(images), torch.stack(targets)
