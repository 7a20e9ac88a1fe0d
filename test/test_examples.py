# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The prompts in examples follow docs/prompts.md: the node would warn of none of them."""

import re
import shlex
from pathlib import Path

import pytest
import torch
import yaml

from clip_dinoiser_ros.core.prompt_advice import advice
from clip_dinoiser_ros.core.vocabulary import Vocabulary, join_prompts, parse_prompts

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md'))]
FENCE = re.compile(r'^ *```bash\n(.*?)^ *```', re.MULTILINE | re.DOTALL)
SHOWN_AS_BAD = [['person']]  # docs/prompts.md begins with it


def in_files():
    for file in sorted((ROOT / 'config').glob('*.yaml')):
        own = yaml.safe_load(file.read_text())['/**/clip_dinoiser']['ros__parameters']
        negatives = [prompt for prompt in own.get('negative_prompts', []) if prompt]
        yield file.name, own['prompts'], negatives, own.get('background', 'background')


def in_pages():
    for page in PAGES:
        for block in FENCE.findall(page.read_text()):
            for line in block.replace('\\\n', ' ').splitlines():
                words = shlex.split(line, comments=True)
                for prompts in told(words):
                    if '...' not in prompts and prompts not in SHOWN_AS_BAD:
                        yield page.name, prompts, [], 'background'


def told(words):
    """Yield the prompts in a command line: of ros2 launch, of ros2 param set, of clip-dinoiser."""
    for index, word in enumerate(words):
        if word.startswith('prompts:='):
            yield [text.strip() for text in word.removeprefix('prompts:=').split(',')]
        elif word == 'prompts':
            yield yaml.safe_load(words[index + 1])
        elif word == '--prompts':
            rest = words[index + 1 :]
            yield rest[: next((i for i, w in enumerate(rest) if w.startswith('-')), len(rest))]


EXAMPLES = [*in_files(), *in_pages()]


def test_examples_are_found():
    assert len(list(in_files())) >= 5
    assert len(list(in_pages())) >= 10


@pytest.mark.parametrize(('place', 'prompts', 'negatives', 'background'), EXAMPLES)
def test_an_example_needs_no_advice(place, prompts, negatives, background):
    parsed = parse_prompts(join_prompts(prompts, negatives))
    names = [prompt.name for prompt in parsed]
    index = names.index(background) if background in names else None
    vocabulary = Vocabulary(parsed, torch.zeros(len(parsed), 4), index, 'none')
    assert advice(vocabulary, len(prompts)) == []
