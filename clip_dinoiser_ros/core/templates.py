# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The sentences that a prompt is put into: the same for all classes, or chosen for each."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clip_dinoiser_ros.core.plain_clip import open_clip_module

TEMPLATES = ('imagenet', 'simple', 'none')
SUFFIX = '.json'
ALLOWED = f'{", ".join(TEMPLATES)}, or a {SUFFIX} file that clip-dinoiser adapt has written'
PLACE = '{}'  # of the prompt, in a template
MOST_BYTES = 4 << 20
MOST_TEMPLATES = 200  # of a class
MOST_CHARACTERS = 300  # of a template


class TemplateError(ValueError):
    """Templates that cannot be used; says which, and what is allowed."""


@dataclass(frozen=True, eq=False)
class Sentences:
    """Puts texts into templates.

    Attributes:
        key: Differs where sentences differ.
        common: Templates of all texts that have none of their own; '{}' stands for the text.
        own: Those of single texts.
    """

    key: str
    common: Sequence[str]
    own: Mapping[str, Sequence[str]]

    def of(self, text: str) -> list[str]:
        """Put a text into each of its templates."""
        return [template.replace(PLACE, text) for template in self.own.get(text, self.common)]


def find_sentences(templates: str) -> Sentences:
    """Return what a name, or a file from `clip-dinoiser adapt`, stands for.

    Raises:
        TemplateError: Another name, or a file that cannot be used.
    """
    if templates in TEMPLATES:
        return Sentences(templates, common_templates(templates), {})
    if not str(templates).endswith(SUFFIX):
        raise TemplateError(f'templates is {templates!r}; allowed: {ALLOWED}')
    try:
        content = _read(Path(templates).expanduser())
        own = _checked(json.loads(content))
    except (OSError, ValueError, RecursionError) as error:
        raise TemplateError(f'templates {templates!r} cannot be used: {error}') from error
    digest = hashlib.sha256(content).hexdigest()
    return Sentences(digest, common_templates('imagenet'), own)


def common_templates(name: str) -> list[str]:
    """Return the templates of one of `TEMPLATES`; '{}' stands for the text."""
    if name == 'none':
        return [PLACE]
    known = open_clip_module('zero_shot_metadata')
    chosen = {
        'imagenet': known.OPENAI_IMAGENET_TEMPLATES,
        'simple': known.SIMPLE_IMAGENET_TEMPLATES,
    }
    return [template(PLACE) for template in chosen[name]]


def _read(path: Path) -> bytes:
    if path.exists() and not path.is_file():
        raise ValueError('not a file')
    with path.open('rb') as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ValueError(f'the file has more than {MOST_BYTES} bytes')
    return content


def _checked(content: Any) -> dict[str, tuple[str, ...]]:
    """Return the templates of each text; raises ValueError for other content."""
    own = content.get('templates') if isinstance(content, dict) else None
    if not isinstance(own, dict):
        raise ValueError('it needs "templates": {"a prompt": ["a photo of a {}.", ...], ...}')
    for text, given in own.items():
        if not isinstance(given, list) or not 1 <= len(given) <= MOST_TEMPLATES:
            raise ValueError(f'{text!r} needs a list of 1 to {MOST_TEMPLATES} templates')
        for template in given:
            if not isinstance(template, str) or template.count(PLACE) != 1:
                raise ValueError(f'{text!r}: a template must contain {PLACE} once: {template!r}')
            if len(template) > MOST_CHARACTERS or not template.isprintable():
                raise ValueError(
                    f'{text!r}: a template must have at most {MOST_CHARACTERS} printable characters'
                )
    return {text: tuple(given) for text, given in own.items()}
