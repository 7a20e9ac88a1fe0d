"""Where the small demo model lies, how it is loaded, and which words it was trained with."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

from clip_dinoiser_ros.core import Segmenter
from clip_dinoiser_ros.core.segmenter import Precision
from clip_dinoiser_ros.demo.tour import PROMPTS_AFTER, PROMPTS_BEFORE, SEED, THINGS
from clip_dinoiser_ros.demo.words import BACKGROUND, CLASSES, HELD_OUT, OF_COLOUR, SYNONYMS

NAME = 'clip-dinoiser-demo'
FOLDER = Path(__file__).parent / 'model'
CONFIG = f'{NAME}.json'
CLIP = f'{NAME}.safetensors'
HEADS = 'heads.safetensors'
VOCABULARY = 'vocabulary.json'
GAMMA = 0.7  # best for this model on validation scenes; the paper's 0.2 lets things leak


def model_files(folder: Path = FOLDER) -> dict[str, str]:
    """Return the arguments `model`, `pretrained` and `heads` of `Segmenter.load`."""
    return {
        'model': str(folder / CONFIG),
        'pretrained': str(folder / CLIP),
        'heads': str(folder / HEADS),
    }


def load_segmenter(
    device: str = 'auto',
    precision: Precision = 'auto',
    short_side: int | None = 448,
    folder: Path = FOLDER,
) -> Segmenter:
    """Load the demo model by the code that loads the real ones."""
    return Segmenter.load(
        **model_files(folder), device=device, precision=precision, short_side=short_side
    )


def describe_vocabulary() -> dict[str, Any]:
    """Return what `vocabulary.json` holds: the words of training, and prompts that go well."""
    texts = [*CLASSES, *(word for words in SYNONYMS.values() for word in words), *OF_COLOUR]
    words = {word for text in [*texts, BACKGROUND] for word in text.split()}
    return {
        'words': sorted(words | {'a', 'an', 'the'}),
        'classes': list(CLASSES),
        'held_out': list(HELD_OUT),
        'synonyms': {name: list(words) for name, words in SYNONYMS.items()},
        'gamma': GAMMA,
        'drive': {
            'seed': SEED,
            'things': list(THINGS),
            'prompts_before': list(PROMPTS_BEFORE),
            'prompts_after': list(PROMPTS_AFTER),
        },
    }


@lru_cache(maxsize=1)
def known_words() -> frozenset[str]:
    """Return the words, lower case, that the demo model has met."""
    return frozenset(json.loads((FOLDER / VOCABULARY).read_text())['words'])


def unknown_words(prompts: Iterable[str]) -> list[str]:
    """Return the words of prompts ('a|b' allowed) that the demo model never saw, sorted."""
    words = {word for prompt in prompts for word in re.findall(r"[\w'-]+", prompt.lower())}
    return sorted(words - known_words())
