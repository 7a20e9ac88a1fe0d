# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""What the small model is trained for: patches against words, and the two heads."""

import numpy as np
import open_clip
import torch
from torch import Tensor
from torch.nn import functional as F

from clip_dinoiser_ros.world.classes import (
    BACKGROUND,
    COLOURS,
    OBJECTS,
    OF_COLOUR,
    PERSON,
    SEEN_CLASSES,
    STUFF,
    SYNONYMS,
    split_name,
)

SCALE = 100.0  # CLIP's temperature, as used at inference
GAMMA = 0.2
KINDS = (*STUFF, *OBJECTS, PERSON)
_THINGS = torch.tensor([name not in STUFF for name in SEEN_CLASSES])


def _membership(groups: tuple[str, ...], part: int) -> Tensor:
    """Return (classes, groups): 1 where the colour (part 0) or kind (part 1) is the group."""
    rows = [[float(split_name(name)[part] == group) for group in groups] for name in SEEN_CLASSES]
    return torch.tensor(rows)


_TO_KIND = _membership(KINDS, 1)
_TO_COLOUR = _membership(COLOURS, 0)


# Rows of the text embeddings of one step, in the order of `draw_phrases`.
CLASS_ROWS = slice(0, len(SEEN_CLASSES))
KIND_ROWS = slice(CLASS_ROWS.stop, CLASS_ROWS.stop + len(KINDS))
COLOUR_ROWS = slice(KIND_ROWS.stop, KIND_ROWS.stop + len(COLOURS))
BACKGROUND_ROW = COLOUR_ROWS.stop


def say(name: str, rng: np.random.Generator) -> str:
    """Put a name into a sentence; now and then by another word."""
    colour, kind = split_name(name)
    if kind in SYNONYMS and rng.random() < 0.12:
        kind = str(rng.choice(SYNONYMS[kind]))
    name = f'{colour} {kind}'.strip()
    draw = rng.random()
    if draw < 0.15:
        return name
    if draw < 0.3:
        return f'a photo of a {name}.'
    templates = open_clip.OPENAI_IMAGENET_TEMPLATES
    return templates[rng.integers(len(templates))](name)


def draw_phrases(rng: np.random.Generator) -> list[str]:
    """Draw one phrase for every class, kind and colour, and for the background."""
    thing = (*OF_COLOUR, '')
    names = [
        *SEEN_CLASSES,
        *KINDS,
        *(f'{colour} {rng.choice(thing)}'.strip() for colour in COLOURS),
        BACKGROUND,
    ]
    return [say(name, rng) for name in names]


def cross_entropy(logits: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return the mean cross-entropy with soft targets that may sum to less than one."""
    loss = -(target * F.log_softmax(logits, dim=-1)).sum(-1)
    return loss.mean() if weight is None else (loss * weight).mean() / weight.mean()


def busy(target: Tensor) -> Tensor:
    """Return the weight (B, N) of patches: those with a thing in them count three times.

    A mixed patch weighs as much as a full one, or the outlines of things would be drawn too wide.
    """
    return 1 + 2 * (target[..., _THINGS.to(target.device)].sum(-1) > 0).float()


def word_losses(
    features: Tensor, text: Tensor, target: Tensor, rng: np.random.Generator
) -> dict[str, Tensor]:
    """Return the losses of patch features (B, N, D) against text (K, D).

    Args:
        features: Unit patch features.
        text: Unit embeddings of the phrases.
        target: Float (B, N, classes): share of each class in each patch.
        rng: Draws which classes are prompted beside 'background'.
    """
    logits = SCALE * features @ text.T
    colour_target, weight = target @ _TO_COLOUR.to(target.device), busy(target)
    return {
        'class': cross_entropy(logits[..., CLASS_ROWS], target, weight),
        'kind': cross_entropy(logits[..., KIND_ROWS], target @ _TO_KIND.to(target.device), weight),
        'colour': cross_entropy(logits[..., COLOUR_ROWS], colour_target),
        'background': _background_loss(logits, target, rng),
    }


def _background_loss(logits: Tensor, target: Tensor, rng: np.random.Generator) -> Tensor:
    """Prompt for some classes and 'background', which stands for all that is not prompted."""
    count = len(target)
    present = target.amax(dim=1).cpu() > 0  # (B, classes)
    chance = torch.where(present, 0.7, float(rng.uniform(0.02, 0.4)))
    chance = torch.where(_THINGS, chance, 0.3 if rng.random() < 0.3 else 0.0)
    drawn = torch.from_numpy(rng.random((count, len(SEEN_CLASSES)), dtype=np.float32)) < chance
    mask = drawn[:, None, :].to(target.device)
    prompted = logits[..., CLASS_ROWS].masked_fill(~mask, -1e4)
    both = torch.cat([prompted, logits[..., BACKGROUND_ROW, None]], dim=-1)
    asked = target * mask
    rest = (target * ~mask).sum(-1, keepdim=True)
    return cross_entropy(both, torch.cat([asked, rest], dim=-1))


def objectness_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return the loss of objectness logits (B, N) against the share of things in each patch."""
    things = target[..., _THINGS.to(target.device)].sum(-1).clamp(0, 1)
    return F.binary_cross_entropy_with_logits(logits, things)


def affinity_loss(affinity: Tensor, target: Tensor) -> Tensor:
    """Return the loss of affinities (B, N, N) about the threshold they are cut at.

    A pair belongs together as far as its patches show the same class. Pairs of different classes
    that pass the threshold do the harm, so both sides weigh the same however rare one is.
    """
    together = target @ target.transpose(1, 2)
    loss = F.binary_cross_entropy_with_logits(
        (affinity - GAMMA) / 0.1, together.clamp(0, 1), reduction='none'
    )
    size = target.sum(dim=1, keepdim=True).clamp(min=1)  # (B, 1, classes): patches per class
    weight = (target / size).sum(-1)  # small things count as much as the ground
    weight = weight / weight.sum(dim=1, keepdim=True)
    pairs = weight[:, :, None] * (together / (together.sum(-1, keepdim=True) + 1e-6))
    apart = (1 - together).clamp(min=0)
    pairs = pairs + weight[:, :, None] * (apart / (apart.sum(-1, keepdim=True) + 1e-6))
    return (pairs * loss).sum(dim=(1, 2)).mean()


def pooling_losses(affinity: Tensor, same: Tensor, gamma: float) -> tuple[Tensor, Tensor]:
    """Return what pooling by affinities would mix in, and what it would miss.

    Args:
        affinity: Of some patches to all others, (B, R, N).
        same: How much both show the same class, in [0, 1], (B, R, N).
        gamma: Threshold of the pooling; here it is a little soft.

    Returns:
        purity: Mean of -log of the share of the pooled weight that falls on the same class.
        reach: Mean of -log of the share of the same class that passes the threshold.
    """
    passes = torch.sigmoid((affinity - gamma) / 0.05)
    weight = affinity.clamp(min=0) * passes
    pure = (weight * same).sum(-1) / (weight.sum(-1) + 1e-6)
    reached = (passes * same).sum(-1) / same.sum(-1).clamp(min=1)
    return -pure.clamp(min=1e-4).log().mean(), -reached.clamp(min=1e-4).log().mean()


def caption(classes: Tensor, rng: np.random.Generator) -> str:
    """Name what an image shows, in any order."""
    names = [SEEN_CLASSES[int(index)] for index in classes]
    return ', '.join(f'a {names[i]}' for i in rng.permutation(len(names)))


def contrastive_loss(images: Tensor, texts: Tensor) -> Tensor:
    """Return CLIP's symmetric loss of paired unit embeddings (B, D), at a mild temperature."""
    logits = 20.0 * images @ texts.T
    pairs = torch.arange(len(images), device=images.device)
    return (F.cross_entropy(logits, pairs) + F.cross_entropy(logits.T, pairs)) / 2
