# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Class ids that are fixed by the user: ['person:1', 'floor:7']."""

from __future__ import annotations

from collections.abc import Sequence

from clip_dinoiser_ros.core.vocabulary import parse_prompts
from clip_dinoiser_ros.frames.class_ids import MAX_CLASS_ID, UNLABELLED_8


class FixedIdError(ValueError):
    """A fixed class id that cannot be used; says what was given and what is allowed."""


def parse_fixed_ids(texts: Sequence[str], largest: int = MAX_CLASS_ID) -> dict[str, int]:
    """Read texts 'NAME:ID', split at the last colon.

    Args:
        texts: One per class; NAME may be a prompt with synonyms, whose first is the class.
        largest: The largest id that is allowed.

    Raises:
        FixedIdError: An id is missing, out of range or reserved for unlabelled, or a name or an id
            is given twice.
        PromptError: A name cannot be used as a prompt.
    """
    fixed: dict[str, int] = {}
    for text in texts:
        before, _, number = text.rpartition(':')
        number = number.strip()
        if not before.strip() or not (number.isascii() and number.isdecimal()):
            raise FixedIdError(f"class_ids: {text!r} is not 'NAME:ID', such as 'person:1'")
        name, class_id = parse_prompts([before])[0].name, int(number)
        owner = next((other for other, taken in fixed.items() if taken == class_id), None)
        problem = ''
        if class_id > largest:
            problem = f'ids go from 0 to {largest} (max_class_id)'
        elif class_id == UNLABELLED_8:
            problem = f'{UNLABELLED_8} means unlabelled; take another id'
        elif name in fixed:
            problem = f'{name!r} has the id {fixed[name]} already'
        elif owner is not None:
            problem = f'the id {class_id} belongs to {owner!r} already'
        if problem:
            raise FixedIdError(f'class_ids: {text!r}: {problem}')
        fixed[name] = class_id
    if fixed:
        parse_prompts(list(fixed))  # names that differ only in case are one class
    return fixed
