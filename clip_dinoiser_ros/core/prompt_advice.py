# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Warnings about prompts that can be encoded but do not do what their author expects."""

from __future__ import annotations

from clip_dinoiser_ros.core.vocabulary import Vocabulary

# Stuff has no outline of its own. The objectness head does not see it as an object
NAMES = (
    'asphalt carpet ceiling dirt floor grass gravel ground lawn pavement road sand sidewalk sky '
    'snow street terrain wall water'
)
SURFACES = frozenset(NAMES.split())


def advice(vocabulary: Vocabulary, published: int) -> list[str]:
    """Return a sentence for each mistake that the author of a vocabulary may have made.

    Args:
        vocabulary: All classes that compete.
        published: How many of them, from the first, are published; negative ones follow.
    """
    told = []
    found = [
        prompt.text
        for index, prompt in enumerate(vocabulary.prompts[:published])
        if index != vocabulary.background and any(map(is_surface, prompt.synonyms))
    ]
    if found and vocabulary.background is not None:
        told.append(
            f'the background filter will make holes in {", ".join(map(repr, found))}: surfaces do '
            'not look like objects, so it turns them into background; set background to an empty '
            'string to turn it off, or use only objects as prompts'
        )
    first = vocabulary.prompts[0].text
    if published == 1 and ',' in first:
        told.append(
            f'{first!r} is one prompt, commas included; for several prompts give a list: '
            f'{[text.strip() for text in first.split(",")]}'
        )
    elif len(vocabulary) == 1:
        told.append(
            f'{vocabulary.names[0]!r} is the only class, so every pixel gets it with confidence '
            "1.0; add 'background', or other classes in view"
        )
    return told


def is_surface(text: str) -> bool:
    """Return whether a name is that of a surface, by its last word, as in 'wooden floors'."""
    *_, noun = text.casefold().split()
    return noun in SURFACES or noun.removesuffix('s') in SURFACES
