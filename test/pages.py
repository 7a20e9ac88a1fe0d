# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""What the pages tell a reader to type: fenced blocks of shell, Python and YAML."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', *sorted((ROOT / 'docs').glob('*.md'))]
_FENCE = re.compile(r'^( *)```(\w*)\n(.*?)^ *```', re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        page: Path from the root.
        line: Where it begins.
        language: Of the fence; empty: none.
        text: Without the fence and its indentation.
    """

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f'{self.page}:{self.line}'

    @property
    def commands(self) -> list[str]:
        """Its command lines, without comments; one that goes on is one."""
        lines = self.text.replace('\\\n', ' ').splitlines()
        bare = (re.sub(r'(^|\s)#\s.*', '', line) for line in lines)
        return [' '.join(line.split()) for line in bare if line.strip()]


@dataclass(frozen=True)
class Command:
    """A command line of a block."""

    block: Block
    text: str

    def __str__(self) -> str:
        return f'{self.block} {self.text}'

    @property
    def words(self) -> list[str]:
        """As the shell takes it apart."""
        return shlex.split(self.text)


def blocks(*languages: str) -> list[Block]:
    """Return the blocks of some languages on all pages."""
    found = []
    for page in PAGES:
        text = page.read_text()
        for fence in _FENCE.finditer(text):
            indent, language, content = fence.groups()
            if language in languages:
                line = text.count('\n', 0, fence.start()) + 1
                bare = re.sub(f'^{indent}', '', content, flags=re.MULTILINE)
                found.append(Block(page.relative_to(ROOT).as_posix(), line, language, bare))
    return found


def commands() -> list[Command]:
    """Return the command lines of all blocks of shell."""
    return [Command(block, text) for block in blocks('bash') for text in block.commands]


def spoken_of(program: str) -> list[tuple[str, str]]:
    """Return (page, command line) of a program where the text itself names it in backquotes."""
    found = []
    for page in PAGES:
        text = _FENCE.sub('', page.read_text())
        for line in re.findall(rf'`({program}\s[^`]+)`', text):
            found.append((page.name, ' '.join(line.split())))
    return found
