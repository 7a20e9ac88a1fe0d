# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The user's own labelled images: a folder of images, one of PNG labels, a table of classes."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from clip_dinoiser_ros.core.vocabulary import Prompt, parse_prompts
from clip_dinoiser_ros.evaluation.benchmarks import require
from clip_dinoiser_ros.evaluation.metric import IGNORED, NO_CLASS
from clip_dinoiser_ros.evaluation.samples import Colours, DataError, DataSet, Sample
from clip_dinoiser_ros.frames.image_files import SUFFIXES

_COLOUR = ('red', 'green', 'blue')
MAX_ID = 65533


def open_folder(
    images: Path,
    labels: Path,
    classes: Path,
    label_suffix: str = '.png',
    background: str = 'background',
    limit: int | None = None,
) -> DataSet:
    """Find labelled images.

    All label images are used, also in subfolders. The image of each has the same relative path and
    another suffix.

    Args:
        images: Folder.
        labels: Folder; may be the same.
        classes: CSV file, see `read_classes`.
        label_suffix: Ending of the name of a label image, after the stem of its image.
        background: Name of the class that a background filter may apply to.
        limit: Use only the first `limit` images; None: all.

    Raises:
        DataError: A path is missing, or the table is invalid. The message says which and why.
        PromptError: A prompt is invalid.
    """
    for path in (images, labels, classes):
        require(path, '')
    prompts, meaning = table_meaning(classes, read_classes(classes))
    names = [prompt.name for prompt in parse_prompts(prompts)]
    samples = _pair(images, labels, label_suffix)
    return DataSet(
        name=images.absolute().name,
        prompts=tuple(prompts),
        background=names.index(background) if background in names else None,
        filtered=background in names,
        samples=samples[:limit],
        meaning=meaning,
    )


def read_classes(path: Path) -> list[dict[str, str]]:
    """Read a table of classes: CSV whose first line names the columns.

    The columns are `prompt`, and `id` or `red`, `green` and `blue`. Pixels of a row without a
    prompt are ignored. Rows with the same prompt are one class.

    Raises:
        DataError: The columns are wrong, or there is no row.
    """
    try:
        with path.open(newline='', encoding='utf-8-sig') as file:
            reader = csv.DictReader(file, skipinitialspace=True, restval='')
            columns = set(reader.fieldnames or ())
            if not (columns >= {'prompt', 'id'} or columns >= {'prompt', *_COLOUR}):
                raise DataError(
                    f'{path}: the first line must name the columns prompt, and id or '
                    f'{", ".join(_COLOUR)}; found: {", ".join(sorted(map(str, columns))) or "none"}'
                )
            rows = list(reader)
    except (OSError, UnicodeError, csv.Error) as error:
        raise DataError(f'{path} cannot be read: {error}') from error
    if not any(row['prompt'].strip() for row in rows):
        raise DataError(f'{path} lists no classes')
    return rows


def table_meaning(
    path: Path, rows: Sequence[Mapping[str, str]]
) -> tuple[list[str], npt.NDArray[np.uint16] | Colours]:
    """Return the prompts of a table, and the class of each value or colour (`DataSet.meaning`)."""
    prompts = list(dict.fromkeys(row['prompt'].strip() for row in rows if row['prompt'].strip()))
    index = {prompt: number for number, prompt in enumerate(prompts)} | {'': IGNORED}
    means = np.array([index[row['prompt'].strip()] for row in rows], np.uint16)
    if 'id' in rows[0]:
        ids = [_number(path, line, row, 'id', MAX_ID) for line, row in enumerate(rows, 2)]
        _refuse_twice(path, ids)
        return prompts, ids_table(dict(zip(ids, means.tolist(), strict=True)))
    colours = [
        tuple(_number(path, line, row, name, 255) for name in _COLOUR)
        for line, row in enumerate(rows, 2)
    ]
    _refuse_twice(path, colours)
    return prompts, Colours(np.array(colours, np.uint8), means)


def ids_table(known: Mapping[int, int]) -> npt.NDArray[np.uint16]:
    """Return the class index of each label value, see `DataSet.meaning`.

    Args:
        known: Class index or `IGNORED` of each id. 255 and 65535 are ignored if not in it.
    """
    table = np.full(1 << 16, NO_CLASS, np.uint16)
    table[[255, 65535]] = IGNORED
    for value, meaning in known.items():
        table[value] = meaning
    return table


def _number(path: Path, line: int, row: Mapping[str, str], column: str, most: int) -> int:
    text = row[column].strip()
    if not text.isascii() or not text.isdigit() or int(text) > most:
        raise DataError(f'{path}, line {line}: {column} is {text!r}; must be between 0 and {most}')
    return int(text)


def _refuse_twice(path: Path, values: Sequence[object]) -> None:
    for number, value in enumerate(values):
        if value in values[:number]:
            raise DataError(f'{path}, line {number + 2}: {value} is given twice')


def _pair(images: Path, labels: Path, suffix: str) -> list[Sample]:
    """Find the image of every label image."""
    found = sorted(path.relative_to(labels).as_posix() for path in labels.rglob(f'*{suffix}'))
    if not found:
        raise DataError(f'{labels} and its subfolders contain no *{suffix}')
    samples = []
    for name in found:
        stem = name.removesuffix(suffix)
        places = [images / f'{stem}{ending}' for ending in SUFFIXES]
        there = [p for p in places if p.is_file() and p != labels / name]
        if not there:
            allowed = ', '.join(SUFFIXES)
            raise DataError(f'{images / stem} is missing, the image of {labels / name}: {allowed}')
        if len(there) > 1:
            raise DataError(f'{there[0]} and {there[1]}: which is the image of {labels / name}?')
        samples.append(Sample(stem, there[0], labels / name))
    return samples


def prompts_for(
    prompts: Sequence[Prompt], names: Mapping[int, str], background: str
) -> dict[int, int]:
    """Find the prompt of each named id.

    Args:
        prompts: The classes.
        names: Class names of the true labels, by id.
        background: Prompt that stands for all other classes.

    Returns:
        Index of the prompt that has the name as a synonym, else the index of the background, or
        `IGNORED` if there is none.
    """
    synonyms = {s: index for index, prompt in enumerate(prompts) for s in prompt.synonyms}
    other = synonyms.get(background, IGNORED)
    return {number: synonyms.get(name, other) for number, name in names.items()}
