# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Results of an evaluation: a table for people and files for programs."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from clip_dinoiser_ros.bag.output_files import refuse_link, replace_file
from clip_dinoiser_ros.evaluation.metric import Counts
from clip_dinoiser_ros.evaluation.running import Outcome

RESULT, TABLE, CLASSES = 'result.json', 'table.md', 'classes.csv'
MOST_LISTED = 100  # images listed in result.json that were left out or have unknown labels


def result(
    outcome: Outcome, names: Sequence[str], method: str, background: str, about: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the content of result.json.

    Args:
        outcome: Outcome of all images.
        names: Class names.
        method: Value of --method.
        background: Value of --background.
        about: Settings, weights and data.
    """
    counts = outcome.counts
    return {
        'miou': _percent(counts.miou),
        'accuracy': _percent(counts.accuracy),
        'classes': list(names),
        'iou': [_percent(value) for value in counts.iou],
        'intersect': counts.intersect.tolist(),
        'union': counts.union.tolist(),
        'predicted': counts.predicted.tolist(),
        'labelled': counts.labelled.tolist(),
        'pixels': counts.pixels,
        'edges': {
            str(width): {'miou': _percent(near.miou), 'accuracy': _percent(near.accuracy)}
            for width, near in outcome.edges.items()
        },
        'method': method,
        'background': background,
        'images': outcome.images,
        'images_per_second': round(outcome.images_per_second, 4),
        'left_out': _listed(outcome.left_out),
        'odd': _listed(outcome.odd),
        **about,
    }


def _percent(value: float) -> float | None:
    return None if math.isnan(value) else 100 * float(value)


def _listed(lines: Sequence[str]) -> dict[str, Any]:
    return {'count': len(lines), 'first': list(lines[:MOST_LISTED])}


def markdown(content: Mapping[str, Any], counts: Counts) -> str:
    """Return the table of a result.

    Args:
        content: From `result`.
        counts: Counts of the outcome; classes whose union is empty are left out of the table.
    """
    facts = [
        ('data', f'{content["data"]["name"]}, {content["images"]} images'),
        ('method', f'{content["method"]}, background {content["background"]}'),
        ('mIoU', shown(content['miou'])),
        ('pixel accuracy', shown(content['accuracy'])),
        *(
            (
                f'within {width} px of an edge',
                f'{shown(near["accuracy"])} right, mIoU {shown(near["miou"])}',
            )
            for width, near in content['edges'].items()
        ),
        ('images per second', f'{content["images_per_second"]:.2f}'),
    ]
    for key, what in (('left_out', 'images left out'), ('odd', 'images with odd labels')):
        if content[key]['count']:
            facts.append((what, str(content[key]['count'])))
    rows = [
        (cell(name), shown(iou), f'{labelled}', f'{predicted}')
        for name, iou, labelled, predicted in zip(
            content['classes'],
            content['iou'],
            counts.labelled.tolist(),
            counts.predicted.tolist(),
            strict=True,
        )
        if iou is not None
    ]
    return '\n'.join(
        [
            *_table(('', ''), facts),
            '',
            *_table(('class', 'IoU', 'true pixels', 'predicted pixels'), rows),
        ]
    )


def shown(percent: float | None) -> str:
    """Format a percentage; None: not available."""
    return '-' if percent is None else f'{percent:.2f} %'


def cell(text: str) -> str:
    """Escape text for a Markdown table."""
    return text.replace('|', '\\|')


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [head, ['---'] * len(head), *rows]
    return [f'| {" | ".join(line)} |' for line in lines]


def write(folder: Path, content: Mapping[str, Any], table: str) -> None:
    """Write result.json, table.md and classes.csv, each atomically."""
    rows = io.StringIO()
    writer = csv.writer(rows, lineterminator='\n')
    columns = ('classes', 'iou', 'intersect', 'union', 'predicted', 'labelled')
    writer.writerow(('class', *columns[1:]))
    writer.writerows(zip(*(content[column] for column in columns), strict=True))
    put(folder / RESULT, json.dumps(content, indent=2, ensure_ascii=False) + '\n')
    put(folder / TABLE, table + '\n')
    put(folder / CLASSES, rows.getvalue())


def put(path: Path, text: str) -> None:
    """Write a file atomically: under another name, then renamed."""
    refuse_link(path)
    replace_file(path, text.encode())
