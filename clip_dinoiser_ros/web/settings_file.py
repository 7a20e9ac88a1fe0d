# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Named sets of words: YAML files that the node takes as `params_file`, and lines for a shell."""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from clip_dinoiser_ros.bag.output_files import replace_file
from clip_dinoiser_ros.web.source import Settings

WORDS = ('prompts', 'negative_prompts', 'background')
_NAME = re.compile(r'\w[\w -]{0,58}\w|\w')
_MAX_BYTES = 2**20


class SetsError(ValueError):
    """A set of words that cannot be saved or read; says why."""


def default_folder() -> Path:
    """Return the folder of this user's sets of words."""
    data = os.environ.get('XDG_DATA_HOME') or '~/.local/share'
    return Path(data).expanduser() / 'clip_dinoiser_ros/words'


class WordSets:
    """The sets in a folder, a file for each. Names cannot leave the folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def names(self) -> list[str]:
        """Return the names of all sets, sorted."""
        paths = self._folder.glob('*.yaml') if self._folder.is_dir() else ()
        return sorted(path.stem for path in paths if _NAME.fullmatch(path.stem))

    def save(self, name: str, settings: Settings) -> None:
        """Write a set; one of this name is replaced."""
        path = self._path(name)
        self._folder.mkdir(parents=True, exist_ok=True)
        replace_file(path, to_yaml(settings).encode())

    def load(self, name: str) -> dict[str, Any]:
        """Read the words of a set."""
        path = self._path(name)
        if path.is_symlink() or not path.is_file():
            raise SetsError(f'there is no set {name!r}')
        if path.stat().st_size > _MAX_BYTES:
            raise SetsError(f'{name}: the file is too large')
        return from_yaml(path.read_text(encoding='utf-8'))

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise SetsError(
                f'{name!r} is no name; use up to 60 letters, digits, spaces, - and _, with a '
                'letter or digit at both ends'
            )
        return self._folder / f'{name}.yaml'


def to_yaml(settings: Settings, node: str = '/clip_dinoiser') -> str:
    """Return the words of settings as a parameter file."""
    lines = [f'/**/{node.rsplit("/", 1)[-1]}:', '  ros__parameters:']
    lines += [f'    {name}: {value}' for name, value in _values(settings).items()]
    return '\n'.join(lines) + '\n'


def from_yaml(text: str) -> dict[str, Any]:
    """Return the words of a parameter file; none of negative prompts is an empty list.

    Raises:
        SetsError: It is none, or has no prompts.
    """
    try:
        (node,) = yaml.safe_load(text).values()
        found = node['ros__parameters']
        words = {name: _list(found.get(name, [])) for name in WORDS[:2]}
        background = str(found.get('background', 'background'))
    except (yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise SetsError('not a parameter file of one node') from error
    if not words['prompts']:
        raise SetsError('the parameter file has no prompts')
    return {**words, 'background': background}


def shell_lines(settings: Settings, node: str = '/clip_dinoiser') -> str:
    """Return the commands that set the words of a running node."""
    return '\n'.join(
        f'ros2 param set {node} {name} {shlex.quote(value)}'
        for name, value in _values(settings).items()
    )


def _values(settings: Settings) -> Mapping[str, str]:
    """Return the words in YAML, negative prompts as the node wants none of them: ['']."""
    values: dict[str, str] = {}
    for name in WORDS:
        value = settings[name]
        if name == 'negative_prompts':
            value = list(value) or ['']
        value = value if isinstance(value, str) else list(value)
        values[name] = json.dumps(value, ensure_ascii=False)  # a string of JSON is one of YAML
    return values


def _list(value: Sequence[str]) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise TypeError
    return [text for text in value if text]
