# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Measure the demo model on generated scenes it has never seen: rows of the paper's Table 2."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from clip_dinoiser_ros.core import Vocabulary, dinoiser
from clip_dinoiser_ros.core.backbone import Backbone
from clip_dinoiser_ros.core.preprocess import Preprocess
from clip_dinoiser_ros.core.upsample import enlarge
from clip_dinoiser_ros.core.vocabulary import TextEncoder
from clip_dinoiser_ros.core.weights import (
    check_heads,
    check_shipped,
    demo_files,
    load_clip,
    load_heads,
)
from clip_dinoiser_ros.evaluation.captions_tower.tower import load_captions_clip
from clip_dinoiser_ros.training.demo_model.files import (
    CAPTIONS_GAMMA,
    CAPTIONS_HEADS,
    FOLDER,
    GAMMA,
)
from clip_dinoiser_ros.world.classes import BACKGROUND, CLASSES, HELD_OUT, STUFF, THING_CLASSES
from clip_dinoiser_ros.world.render import Scene
from clip_dinoiser_ros.world.scenes import scene

TEST_SEED = 500_000  # training uses seeds from a million upwards
VALIDATION_SEED = 900_000
IGNORED = 255


@dataclass
class Confusion:
    """Pixel counts by true class (rows) and predicted class (columns)."""

    names: tuple[str, ...]
    counts: npt.NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        self.counts = np.zeros((len(self.names), len(self.names)), np.int64)

    def add(self, truth: npt.NDArray[Any], predicted: npt.NDArray[Any]) -> None:
        """Count the pixels of one image; both hold indices into `names`."""
        k = len(self.names)
        flat = truth.astype(np.int64).ravel() * k + predicted.ravel()
        self.counts += np.bincount(flat, minlength=k * k).reshape(k, k)

    def iou(self) -> dict[str, float]:
        """Return the intersection over union of every class that occurs in the true labels."""
        hit = self.counts.diagonal()
        union = self.counts.sum(0) + self.counts.sum(1) - hit
        seen = self.counts.sum(1) > 0
        return {self.names[i]: float(hit[i] / union[i]) for i in np.flatnonzero(seen)}

    def miou(self, among: Iterable[str] = ()) -> float:
        """Return the mean IoU of all classes that occur, or only of the given ones."""
        chosen = set(among)
        values = [v for name, v in self.iou().items() if not chosen or name in chosen]
        return float(np.mean(values)) if values else float('nan')


def unseen_scenes(
    count: int, held_out: bool = False, start: int = TEST_SEED, width: int = 640, height: int = 480
) -> Iterator[Scene]:
    """Draw scenes that no training has seen, with or without held-out pairs."""
    for seed in range(start, start + count):
        yield scene(seed, width, height, held_out=held_out)


class Bench:
    """The demo model with each part of the method on a switch.

    With everything on, it computes the same as `Segmenter`.

    Args:
        folder: Folder of the demo model.
        short_side: Short side of the images in pixels.
        captions: Folder of the captions tower, used instead of the demo model's image tower;
            None: use the demo model's.
    """

    def __init__(
        self, folder: Path = FOLDER, short_side: int = 448, captions: Path | None = None
    ) -> None:
        files = demo_files(folder)
        if captions is not None:
            clip, tokenizer = load_captions_clip(captions, folder)
            check_shipped(captions, [CAPTIONS_HEADS])
            heads = load_heads(captions / CAPTIONS_HEADS)
        else:
            clip, tokenizer = load_clip(files['model'], files['pretrained'])
            heads = load_heads(files['heads'])
        self.gamma = GAMMA if captions is None else CAPTIONS_GAMMA
        self._backbone = Backbone(clip.visual)
        self._heads = dinoiser.Heads(check_heads(heads, self._backbone.width))
        self._texts = TextEncoder(clip, tokenizer)
        config = getattr(clip.visual, 'preprocess_cfg', {})
        self._preprocess = Preprocess(
            self._backbone.patch_size, short_side, config, torch.device('cpu'), torch.float32
        )

    def encode(self, names: Iterable[str], templates: str = 'imagenet') -> Vocabulary:
        """Encode class names."""
        return self._texts.encode(list(names), BACKGROUND, templates)

    @torch.inference_mode()
    def look(self, image: npt.NDArray[np.uint8]) -> tuple[Tensor, Tensor, Tensor]:
        """Return the MaskCLIP features, the affinity before the threshold, and the objectness."""
        features = self._backbone(self._preprocess(self._preprocess.upload([image])))
        affinity = self._heads.affinity(features.inner)
        return features.maskclip, affinity, self._heads.objectness(features.inner)

    @torch.inference_mode()
    def labels(
        self,
        look: tuple[Tensor, Tensor, Tensor],
        vocabulary: Vocabulary,
        size: tuple[int, int],
        gamma: float | None = GAMMA,
        use_filter: bool = True,
    ) -> npt.NDArray[Any]:
        """Return labels (H, W); gamma None: no pooling."""
        features, affinity, objectness = look
        if gamma is not None:
            features = dinoiser.guided_pooling(features, affinity.clone(), gamma)
        probabilities = dinoiser.class_probabilities(features, vocabulary.embeddings)
        if use_filter and vocabulary.background is not None:
            filtered = dinoiser.background_patches(probabilities, objectness)
            probabilities[:, vocabulary.background].masked_fill_(filtered, 1.0)
        h, w = probabilities.shape[2:]
        found = enlarge(probabilities[0], size, (float(h), float(w))).labels
        return found.numpy()


@dataclass(frozen=True)
class WorldScores:
    """One row of the table: mean IoU over classes, in [0, 1]."""

    pooling: bool
    own: float  # prompts: the classes of each scene
    every: float  # prompts: every class of the world
    held_out: float  # held-out pairs only, in scenes with them; prompts: the classes of each scene
    things: float  # prompts: the objects of each scene and 'background', filter off
    things_filtered: float  # the same, filter on


def measure(
    bench: Bench,
    count: int = 300,
    gamma: float | None = None,
    start: int = TEST_SEED,
    templates: str = 'imagenet',
) -> list[WorldScores]:
    """Measure MaskCLIP features with and without guided pooling on the same scenes.

    Args:
        bench: The model.
        count: Number of scenes without held-out pairs, and of scenes with them.
        gamma: Threshold of the pooling; None: the one chosen for this tower.
        start: Seed of the first scene.
        templates: Text templates for the prompts.
    """
    gamma = bench.gamma if gamma is None else gamma
    with_background = (BACKGROUND, *CLASSES)
    every = bench.encode(CLASSES, templates)
    tables: dict[tuple[str, bool], Confusion] = {}
    for pooling in (False, True):
        for column in ('own', 'every', 'held_out'):
            tables[column, pooling] = Confusion(CLASSES)
        for column in ('things', 'things_filtered'):
            tables[column, pooling] = Confusion(with_background)
    for held_out in (False, True):
        for shown in unseen_scenes(count, held_out, start):
            _measure_scene(bench, shown, held_out, every, gamma, tables)
    return [
        WorldScores(
            pooling,
            tables['own', pooling].miou(),
            tables['every', pooling].miou(),
            tables['held_out', pooling].miou(HELD_OUT),
            tables['things', pooling].miou(),
            tables['things_filtered', pooling].miou(),
        )
        for pooling in (False, True)
    ]


def _measure_scene(
    bench: Bench,
    shown: Scene,
    held_out: bool,
    every: Vocabulary,
    gamma: float,
    tables: dict[tuple[str, bool], Confusion],
) -> None:
    size = shown.labels.shape
    look = bench.look(shown.image)
    own = shown.names()
    things = [name for name in own if name in THING_CLASSES]
    for pooling in (False, True):
        threshold = gamma if pooling else None
        found = bench.labels(look, bench.encode(own, every.templates), size, threshold)
        column = 'held_out' if held_out else 'own'
        tables[column, pooling].add(shown.labels, indices(own)[found])
        if held_out:
            continue
        tables['every', pooling].add(shown.labels, bench.labels(look, every, size, threshold))
        asked = [BACKGROUND, *things]
        truth = np.where(shown.labels < len(STUFF), 0, shown.labels + 1)
        for use_filter in (False, True):
            found = bench.labels(
                look, bench.encode(asked, every.templates), size, threshold, use_filter
            )
            column = 'things_filtered' if use_filter else 'things'
            tables[column, pooling].add(truth, np.array([0, *(indices(things) + 1)])[found])


def indices(names: Iterable[str]) -> npt.NDArray[np.int64]:
    """Return the index of each name in CLASSES."""
    return np.array([CLASSES.index(name) for name in names], np.int64)


def true_indices(truth: npt.NDArray[np.uint8], names: Sequence[str]) -> npt.NDArray[np.uint8]:
    """Turn indices into `CLASSES` into indices into the prompts.

    Classes that are not prompted for become 'background' if that is a prompt, else `IGNORED`.
    """
    other = names.index(BACKGROUND) if BACKGROUND in names else IGNORED
    lookup = [names.index(name) if name in names else other for name in CLASSES]
    return np.array(lookup, np.uint8)[truth]


def table(rows: list[WorldScores], digits: int = 3) -> str:
    """Write the rows as a Markdown table."""
    lines = [
        '| features | own prompts | every class | held-out pairs '
        '| things + background | with filter |',
        '| --- | --- | --- | --- | --- | --- |',
    ]
    for row in rows:
        name = 'guided pooling' if row.pooling else 'MaskCLIP'
        values = (row.own, row.every, row.held_out, row.things, row.things_filtered)
        lines.append(f'| {name} | ' + ' | '.join(f'{value:.{digits}f}' for value in values) + ' |')
    return '\n'.join(lines)
