# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The loss of the captions tower: whole images against sentences, nothing per patch."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from clip_dinoiser_ros.evaluation.captions_tower.captioned_crops import CaptionedImage
from clip_dinoiser_ros.training.demo_model.objectives import KINDS, say
from clip_dinoiser_ros.world.classes import COLOURS, OBJECTS, SEEN_CLASSES, split_name

PHRASES = (*SEEN_CLASSES, *(kind for kind in KINDS if kind not in SEEN_CLASSES))
_NAMES = np.array(  # (phrases, classes): which classes a phrase is true of
    [[phrase in (name, split_name(name)[1]) for name in SEEN_CLASSES] for phrase in PHRASES]
)


def _other(phrase: str, possible: np.ndarray, rng: np.random.Generator) -> str | None:
    """Return a false phrase: the same kind in another colour, or another kind in this colour."""
    colour, kind = split_name(phrase)
    if colour:
        near = [f'{other} {kind}' for other in COLOURS]
        near += [f'{colour} {other}' for other in OBJECTS]
    else:
        near = list(PHRASES[len(SEEN_CLASSES) :] if kind in OBJECTS else KINDS)
    absent = [p for p in near if p in PHRASES and not possible[_NAMES[PHRASES.index(p)]].any()]
    return str(rng.choice(absent)) if absent else None


def describe(seen: CaptionedImage, rng: np.random.Generator) -> list[list[str]]:
    """Return two sentences about an image as lists of phrases: a true one and a nearly true one."""
    count = int(rng.choice([1, 2, 3], p=[0.6, 0.25, 0.15]))
    names = [SEEN_CLASSES[index] for index in rng.permutation(np.flatnonzero(seen.shown))[:count]]
    phrases = [split_name(name)[1] if rng.random() < 0.15 else name for name in names]
    if not phrases:
        return []
    place = int(rng.integers(len(phrases)))
    wrong = _other(phrases[place], seen.possible, rng)
    if wrong is None:
        return [phrases]
    return [phrases, [*phrases[:place], wrong, *phrases[place + 1 :]]]


def sentence(phrases: Sequence[str], rng: np.random.Generator) -> str:
    """Join phrases into one sentence."""
    if len(phrases) == 1:
        return say(phrases[0], rng)
    return ' and '.join(f'a {phrase}' for phrase in phrases)


def judge(
    batch: Sequence[CaptionedImage], sentences: Sequence[Sequence[str]]
) -> tuple[Tensor, Tensor]:
    """Return which sentences (columns) are true, and which are false, of which images (rows).

    A sentence about something too small to be sure of is neither.
    """
    said = np.array([[p in phrases for p in PHRASES] for phrases in sentences])
    shown = np.array([seen.shown for seen in batch]) @ _NAMES.T  # (B, phrases)
    possible = np.array([seen.possible for seen in batch]) @ _NAMES.T
    true = ~((~shown).astype(np.float32) @ said.T.astype(np.float32) > 0)
    false = (~possible).astype(np.float32) @ said.T.astype(np.float32) > 0
    return torch.from_numpy(true), torch.from_numpy(false)


def caption_loss(
    images: Tensor, texts: Tensor, true: Tensor, false: Tensor, scale: Tensor | float
) -> Tensor:
    """Return CLIP's symmetric contrastive loss for several positives per row and column.

    A true pair competes with the false pairs of the same image and of the same sentence.

    Args:
        images: Unit embeddings (B, D) of whole images.
        texts: Unit embeddings (M, D) of sentences.
        true: bool (B, M).
        false: bool (B, M).
        scale: Inverse temperature.
    """
    logits = scale * images @ texts.T
    return (_compete(logits, true, false) + _compete(logits.T, true.T, false.T)) / 2


def _compete(logits: Tensor, true: Tensor, false: Tensor) -> Tensor:
    """Return the mean over rows of the mean over their true entries."""
    others = logits.masked_fill(~false, -1e4).logsumexp(dim=1, keepdim=True)
    loss = torch.nn.functional.softplus(others - logits) * true
    return (loss.sum(1) / true.sum(1).clamp(min=1)).sum() / true.any(1).sum()
