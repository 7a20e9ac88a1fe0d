# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Train the two heads on a frozen CLIP (paper, section 3), with a teacher and no labels."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from clip_dinoiser_ros.core.backbone import Backbone
from clip_dinoiser_ros.core.dinoiser import Heads
from clip_dinoiser_ros.core.preprocess import CLIP_MEAN, CLIP_STD
from clip_dinoiser_ros.core.segmenter import Precision, find_device
from clip_dinoiser_ros.core.weights import check_heads
from clip_dinoiser_ros.training import record
from clip_dinoiser_ros.training.batches import Batch, batches
from clip_dinoiser_ros.training.checkpoint import Checkpoint, TrainingError
from clip_dinoiser_ros.training.image_sources import ImageSource
from clip_dinoiser_ros.training.losses import fresh_heads, losses
from clip_dinoiser_ros.training.precision import autocast, choose_precision, fingerprint
from clip_dinoiser_ros.training.recipe import Recipe
from clip_dinoiser_ros.training.teachers import Teacher


@dataclass(frozen=True)
class Running:
    """How a training runs. These settings do not change the result, apart from rounding.

    Attributes:
        device: 'auto', 'cpu', 'cuda', ...
        precision: Precision of the frozen networks; the heads are trained in float32.
        checkpoint_every: Iterations between checkpoints.
        workers: Threads that prepare batches.
        resume: Continue from the checkpoint in the folder.
        force: Overwrite an earlier training in the folder.
    """

    device: str = 'auto'
    precision: Precision = 'auto'
    checkpoint_every: int = 500
    workers: int = 2
    resume: bool = False
    force: bool = False

    def __post_init__(self) -> None:
        for name in ('checkpoint_every', 'workers'):
            if getattr(self, name) < 1:
                raise ValueError(f'{name} is {getattr(self, name)}; must be at least 1')


class Trainer:
    """The two heads, the frozen image tower, and the optimiser.

    Args:
        clip: OpenCLIP model with a ViT image tower; moved to the device.
        start: Initial heads; see `load_heads`.
        recipe: Hyperparameters.
        device: Device to train on.
        precision: Precision of the image tower: fp32, bf16 or fp16.
    """

    def __init__(
        self,
        clip: nn.Module,
        start: Mapping[str, Tensor],
        recipe: Recipe,
        device: torch.device | str = 'cpu',
        precision: str = 'fp32',
    ) -> None:
        self.device = torch.device(device)
        visual: Any = clip.visual
        self._backbone = Backbone(visual.to(self.device))
        crop, patch = recipe.sampling.crop, self._backbone.patch_size
        if crop % patch:
            raise TrainingError(f'crop is {crop}; must be a multiple of the patch size {patch}')
        self.recipe, self._precision = recipe, precision
        self.heads = Heads(check_heads(start, self._backbone.width)).to(self.device)
        self.heads.train().requires_grad_(True)
        self.optimizer = torch.optim.AdamW(
            [
                {'params': list(self.heads.obj_proj.parameters())},
                {'params': list(self.heads.bkg_decoder.parameters())},
            ]
        )
        preprocess = getattr(visual, 'preprocess_cfg', {})
        mean, std = preprocess.get('mean', CLIP_MEAN), preprocess.get('std', CLIP_STD)
        self._mean = torch.tensor(mean, device=self.device)[:, None, None]
        self._std = torch.tensor(std, device=self.device)[:, None, None]

    @torch.no_grad()
    def inner(self, batch: Batch) -> Tensor:
        """Return the input of the heads, float32 (B, D, h, w)."""
        with autocast(self.device, self._precision):
            features = self._backbone((batch.images - self._mean) / self._std)
        return features.inner.float()

    def step(self, batch: Batch, teacher: Teacher, iteration: int) -> tuple[float, float]:
        """Train on one batch; return the losses of affinity and foreground.

        Raises:
            TrainingError: A loss is not finite.
        """
        inner = self.inner(batch)
        h, w = inner.shape[-2:]
        affinity, foreground = losses(self.heads, inner, teacher(batch, (h, w)))
        values = affinity.item(), foreground.item()
        if not all(map(math.isfinite, values)):
            raise TrainingError(
                f'the losses are {values} in iteration {iteration + 1}; '
                'use lower learning rates, or fp32'
            )
        self.optimizer.zero_grad(set_to_none=True)
        (affinity + foreground).backward()
        rates = self.recipe.learning_rates(iteration)
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group['lr'] = rate
        self.optimizer.step()
        return values


def train(
    clip: nn.Module,
    images: ImageSource,
    teacher: Teacher,
    folder: str | Path,
    recipe: Recipe | None = None,
    running: Running | None = None,
    start: Mapping[str, Tensor] | None = None,
    about: Mapping[str, Any] | None = None,
) -> dict[str, Tensor]:
    """Train the two heads; write `heads.safetensors` and `training.json`.

    Args:
        clip: OpenCLIP model with a ViT image tower.
        images: Training images.
        teacher: Teacher on the device of the training.
        folder: Output folder; created if missing.
        recipe: Hyperparameters.
        running: Device, precision, checkpoints.
        start: Initial heads; None: random, from the seed.
        about: Further content of `training.json`, such as the names of model and weights.

    Returns:
        The heads, as `load_heads` reads them from the file.

    Raises:
        TrainingError: The folder has another training, or one with other settings.
    """
    recipe, running = recipe or Recipe(), running or Running()
    folder = Path(folder)
    record.check(folder, running.resume, running.force)
    device = find_device(running.device)
    precision = choose_precision(running.precision, device)
    visual: Any = clip.visual
    if start is None:
        start = fresh_heads(visual.conv1.out_channels, recipe.channels, recipe.sampling.seed)
    settings = {
        'recipe': asdict(recipe),
        'pictures': record.digest(images.names),  # key used in checkpoints
        'teacher': teacher.about,
        'image_tower': fingerprint(visual.state_dict()),
        'start': fingerprint(start),
        'precision': precision,
    }
    trainer = Trainer(clip, start, recipe, device, precision)
    folder.mkdir(parents=True, exist_ok=True)
    if running.force:  # so that a later --resume cannot continue the old training
        (folder / record.CHECKPOINT).unlink(missing_ok=True)
    state = _begin_or_resume(trainer, folder, json.dumps(settings), running.resume)
    state = _loop(trainer, state, images, teacher, folder, running)
    heads = {name: tensor.cpu().contiguous() for name, tensor in state.heads.items()}
    record.write(folder, heads, state, images, {**settings, **(about or {})}, device)
    return heads


def _begin_or_resume(trainer: Trainer, folder: Path, settings: str, resume: bool) -> Checkpoint:
    """Return the initial state; load a checkpoint into the trainer if there is one."""
    now = datetime.now(timezone.utc).isoformat(timespec='seconds')
    path = folder / record.CHECKPOINT
    if not (resume and path.is_file()):
        count = json.loads(settings)['recipe']['iterations']
        return _state(trainer, 0, settings, torch.zeros(count, 2, dtype=torch.float64), [now])
    state = Checkpoint.load(path, settings)
    trainer.heads.load_state_dict(state.heads)
    trainer.optimizer.load_state_dict(state.optimizer)
    return _state(trainer, state.iteration, settings, state.losses, [*state.sittings, now])


def _state(
    trainer: Trainer, iteration: int, settings: str, losses: Tensor, sittings: list[str]
) -> Checkpoint:
    return Checkpoint(
        iteration=iteration,
        settings=settings,
        heads={name: value.detach() for name, value in trainer.heads.state_dict().items()},
        optimizer=trainer.optimizer.state_dict(),
        losses=losses,
        sittings=sittings,
    )


def _loop(
    trainer: Trainer,
    state: Checkpoint,
    images: ImageSource,
    teacher: Teacher,
    folder: Path,
    running: Running,
) -> Checkpoint:
    """Train to the end, with a progress bar and checkpoints; return the last state."""
    recipe, history, first = trainer.recipe, state.losses, state.iteration
    stream = batches(images, recipe.sampling, first, recipe.iterations, running.workers)
    with tqdm(
        total=recipe.iterations, initial=first, unit='it', desc='train', mininterval=0.5
    ) as bar:
        for iteration, batch in enumerate(stream, start=first):
            values = trainer.step(batch.to(trainer.device), teacher, iteration)
            history[iteration] = torch.tensor(values)
            bar.set_postfix_str(f'affinity {values[0]:.4f} foreground {values[1]:.4f}', False)
            bar.update()
            done = iteration + 1
            if done % running.checkpoint_every == 0 or done == recipe.iterations:
                state = _state(trainer, done, state.settings, history, state.sittings)
                state.save(folder / record.CHECKPOINT)
    return state
