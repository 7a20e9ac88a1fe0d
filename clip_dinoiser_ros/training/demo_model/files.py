# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The files of the small demo model, and which words it was trained with."""

from __future__ import annotations

from typing import Any

from clip_dinoiser_ros.core.weights import DEMO_FILES, DEMO_FOLDER, DEMO_GAMMA, DEMO_VOCABULARY
from clip_dinoiser_ros.world.classes import BACKGROUND, CLASSES, HELD_OUT, OF_COLOUR, SYNONYMS
from clip_dinoiser_ros.world.drives import PROMPTS_AFTER, PROMPTS_BEFORE, SEED, THINGS

FOLDER = DEMO_FOLDER
CONFIG, CLIP, HEADS = (DEMO_FILES[role] for role in ('model', 'pretrained', 'heads'))
VOCABULARY = DEMO_VOCABULARY
# The image tower trained by captions alone; its text tower is the other one's.
CAPTIONS_CONFIG, CAPTIONS_TOWER = 'captions-tower.json', 'captions-tower.safetensors'
CAPTIONS_HEADS, CAPTIONS_TRAINING = 'captions-heads.safetensors', 'captions-training.json'
GAMMA = DEMO_GAMMA
CAPTIONS_GAMMA = 0.6  # best on validation scenes, for the tower trained by captions alone


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
