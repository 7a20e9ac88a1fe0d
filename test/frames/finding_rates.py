# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""How often a text is found where it is and absent where it is not, on generated scenes.

Run as a program, it prints the figures of docs/services.md, which takes minutes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from types import SimpleNamespace

import numpy as np
import torch

from clip_dinoiser_ros import Segmenter
from clip_dinoiser_ros.core.objects import MIN_OBJECT_SIZE
from clip_dinoiser_ros.frames.finding import MIN_CONFIDENCE, SeenFrame, find_in, with_general
from clip_dinoiser_ros.frames.settings import CameraSettings
from clip_dinoiser_ros.world.classes import CLASSES, HELD_OUT, STUFF, THING_CLASSES
from clip_dinoiser_ros.world.drives import PROMPTS_AFTER, PROMPTS_BEFORE, demo_drive
from clip_dinoiser_ros.world.scenes import drive, scene

VISIBLE = 0.01  # of the image: what covers less may be found or not
ABSENT = 12  # texts for each frame
TUNED = (101, 202, 303, 404)  # seeds of the drives on which MIN_CONFIDENCE was chosen
UNSEEN = (505, 606, 707, 808, 909)


def seen(segmenter, image, prompts, region=None):
    """A frame that was segmented by some prompts."""
    (patches,) = segmenter.segment_patches([image], segmenter.encode(prompts), with_features=True)
    own = CameraSettings() if region is None else CameraSettings(region=region)
    settings = SimpleNamespace(output_scale=1.0, camera=lambda name: own)
    return SeenFrame('camera', None, image.shape[:2], settings, patches.features, 0.0)


def contrasts_of(things: Sequence[str]) -> dict[str, list[str]]:
    """Contrasts that someone may give in a place with some things."""
    return {
        'half of the things, background': ['background', *things[::2]],
        'all things and surfaces': [*things, *STUFF],
        'surfaces': list(STUFF),
        'floor, wall': ['floor', 'wall'],
    }


@torch.inference_mode()
def rates(
    segmenter: Segmenter,
    scenes: Iterable,
    contrasts: dict[str, Sequence[str]],
    texts: Sequence[str] = (),
    min_confidence: float = MIN_CONFIDENCE,
) -> Counter:
    """Ask in each scene for the things that cover 1 % of it, and for some that are not there.

    Args:
        segmenter: The model.
        scenes: With their true labels.
        contrasts: By what they are called.
        texts: Only these; empty: all things.
        min_confidence: Of the request.

    Returns:
        How many answers, by (contrasts, text, whether it is there, whether it was found).
    """
    chance, counts = np.random.default_rng(0), Counter()
    for shown in scenes:
        frame = seen(segmenter, shown.image, PROMPTS_BEFORE)
        pixels = np.bincount(shown.labels.ravel(), minlength=len(CLASSES)) / shown.labels.size
        shares = dict(zip(CLASSES, pixels, strict=False))
        missing = [name for name in texts or THING_CLASSES if not shares[name]]
        visible = [name for name in texts or THING_CLASSES if shares[name] >= VISIBLE]
        asked = visible + (missing if texts else list(chance.choice(missing, ABSENT, False)))
        for text in asked:
            for called, others in contrasts.items():
                prompts = with_general([text, *(other for other in others if other != text)])
                vocabulary = segmenter.encode(prompts, None)
                found = find_in(segmenter, frame, vocabulary, min_confidence, MIN_OBJECT_SIZE)
                counts[called, text, text in visible, bool(found)] += 1
    return counts


def right(counts: Counter, called: str, there: bool, texts: Sequence[str] = ()) -> tuple[int, int]:
    """Return how many answers were right, and of how many."""
    chosen = {
        was_found: sum(
            number
            for (one, text, is_there, found), number in counts.items()
            if (one, is_there, found) == (called, there, was_found) and (not texts or text in texts)
        )
        for was_found in (False, True)
    }
    return chosen[there], sum(chosen.values())


def drives(seeds: Iterable[int]) -> Iterator[tuple[Iterable, dict[str, Sequence[str]]]]:
    """Yield the frames of drives, and contrasts made of the things that each shows."""
    for seed in seeds:
        frames = list(drive(seed, rate_hz=0.5))
        labels = np.unique([shown.labels for shown in frames])
        things = [name for index, name in enumerate(CLASSES) if index in labels]
        yield frames, contrasts_of([name for name in things if name in THING_CLASSES])


def main() -> None:
    """Print the tables."""
    segmenter = Segmenter.load('demo', device='cpu', precision='fp32')
    known = [name for name in THING_CLASSES if name not in HELD_OUT]
    for title, seeds, singles in (('chosen on', TUNED, 5000), ('not seen before', UNSEEN, 7000)):
        counts = Counter()
        for frames, contrasts in drives(seeds):
            counts += rates(segmenter, frames, contrasts)
        for seed in range(singles, singles + 30):
            shown = scene(seed, held_out=None)
            things = [CLASSES[i] for i in np.unique(shown.labels) if CLASSES[i] in THING_CLASSES]
            counts += rates(segmenter, [shown], contrasts_of(things))
        _print(title, counts, known)
    demo = {'first prompts': PROMPTS_BEFORE, 'second prompts': PROMPTS_AFTER}
    frames = list(demo_drive(rate_hz=2.5))
    shown = {CLASSES[index] for index in np.unique([frame.labels for frame in frames])}
    never = [name for name in THING_CLASSES if name not in shown]
    counts = rates(segmenter, frames, demo, ['blue barrel', *never])
    _print('never shown', Counter({key: n for key, n in counts.items() if key[1] in never}), known)
    for text in ('blue barrel', *never):
        _print(text, Counter({key: n for key, n in counts.items() if key[1] == text}), known)


def _print(title: str, counts: Counter, known: Sequence[str]) -> None:
    for called in dict.fromkeys(key[0] for key in counts):
        there, trained = right(counts, called, True), right(counts, called, True, known)
        absent = right(counts, called, False)
        shares = [
            f'{100 * good / max(1, of):.1f} % of {of}' for good, of in (there, trained, absent)
        ]
        print(f'| {title} | {called} | {" | ".join(shares)} |', flush=True)  # noqa: T201


if __name__ == '__main__':
    main()
