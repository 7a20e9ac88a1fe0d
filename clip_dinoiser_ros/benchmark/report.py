# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Report of the benchmark: Markdown tables and an SVG chart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from clip_dinoiser_ros.benchmark.measuring import BenchmarkRow
from clip_dinoiser_ros.benchmark.stages import STAGES
from clip_dinoiser_ros.benchmark.turns import QUIET, TurnRow
from clip_dinoiser_ros.frames.overlay import colour

_WIDTH, _BAR, _GAP, _LEFT = 900, 22, 10, 210


def text(result: Mapping[str, Any], rows: Sequence[BenchmarkRow]) -> str:
    """Return the report of a run as Markdown."""
    machine = result['machine']
    parts = [
        f'{result["date"]}; ' + ', '.join(f'{key} {value}' for key, value in machine.items()),
        f'model: {result["model"]}; clock: {result["clock"]}',
        *(
            f'limit in {precision}: {limit["gflop_per_s"]:.0f} GFLOP/s, '
            f'copy {limit["gbyte_per_s"]:.1f} GB/s'
            for precision, limit in result['limits'].items()
        ),
        f'published: {result["published"]}',
        '',
        _stage_table(rows),
        '',
        _limit_table(rows),
    ]
    several = _batch_table(rows)
    if several:
        parts += ['', several]
    if any(row.ratio is not None for row in rows):
        parts += ['', _authors_table(rows)]
    for image, turns in result['turns'].items():
        parts += ['', f'{image}, in turn:', '', _turns_table(turns)]
    parts += ['', _prompt_table(result['prompts'])]
    if result['agreement']:
        parts += ['', _agreement_table(result['agreement'])]
    if result['start']:
        parts += ['', starts(result['start'])]
    return '\n'.join(parts)


def starts(found: Mapping[str, Mapping[str, float]]) -> str:
    """Return the seconds to each step of a start as text."""
    lines = []
    for what, steps in found.items():
        told = ', '.join(f'{step} {seconds:.2f} s' for step, seconds in steps.items())
        lines.append(f'from the start of {what}: {told}')
    return '\n'.join(lines)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ['---'] * len(head), *rows]
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def _name(row: BenchmarkRow) -> list[str]:
    return [f'{row.size[1]}x{row.size[0]}', str(row.batch), row.precision]


def _stage_table(rows: Sequence[BenchmarkRow]) -> str:
    head = ['image', 'batch', 'precision', *(f'{stage} ms' for stage in STAGES)]
    return _table(head, [_name(r) + [f'{r.stages_ms[s]:.2f}' for s in STAGES] for r in rows])


def _limit_table(rows: Sequence[BenchmarkRow]) -> str:
    head = ['image', 'batch', 'precision', 'frame ms', 'p95 ms', 'images/s', 'segment ms']
    head += ['GFLOP', 'limit ms', 'share of limit', 'peak MiB']
    return _table(
        head,
        [
            [
                *_name(r),
                *(f'{ms:.1f}' for ms in r.frame_ms),
                f'{r.images_per_s:.2f}',
                f'{r.segment_ms[0]:.1f}',
                f'{r.gflop:.1f}',
                f'{r.shortest_ms:.1f}',
                f'{r.share:.0%}',
                f'{r.peak_memory_mib:.0f}',
            ]
            for r in rows
        ],
    )


def _batch_table(rows: Sequence[BenchmarkRow]) -> str:
    """Return speedup and memory of batches against batch 1; '' if there is nothing to compare."""
    alone = {(row.size, row.precision): row for row in rows if row.batch == 1}
    lines = []
    for row in rows:
        one = alone.get((row.size, row.precision))
        if one is not None and row.batch > 1:
            extra_mib = (row.peak_memory_mib - one.peak_memory_mib) / (row.batch - 1)
            gain = row.images_per_s / one.images_per_s
            lines.append(
                [*_name(row), f'{row.images_per_s:.2f}', f'{gain:.2f}', f'{extra_mib:.0f}']
            )
    head = ['image', 'batch', 'precision', 'images/s', 'times batch 1', 'MiB for each further one']
    return _table(head, lines) if lines else ''


def _authors_table(rows: Sequence[BenchmarkRow]) -> str:
    head = ['image', 'batch', 'precision', "authors' ms", 'ours ms', 'ratio', 'same labels']
    return _table(
        head,
        [
            [
                *_name(r),
                f'{r.authors_ms:.1f}',
                f'{r.segment_ms[0]:.1f}',
                f'{r.ratio:.2f}',
                f'{r.same_labels:.2%}',
            ]
            for r in rows
            if r.ratio is not None
        ],
    )


def _turns_table(turns: Sequence[TurnRow]) -> str:
    lines = [
        [
            row.name,
            f'{row.ms:.1f}',
            f'{row.ratio:.2f}',
            f'{row.same_labels:.2%}',
            'not known' if row.others is None else f'{row.others:.0%}',
            str(row.repeated),
        ]
        for row in turns
    ]
    head = ['', 'ms', f'times {turns[0].name}', 'same labels', 'used by others', 'repeated']
    table = _table(head, lines)
    disturbed = [row.name for row in turns if row.others is not None and row.others > QUIET]
    if disturbed:
        table += f'\n\nOthers used more than {QUIET:.0%} of the machine in every try of: '
        table += f'{", ".join(disturbed)}. Measure again when it is quiet.'
    return table


def _prompt_table(prompts: Mapping[str, float]) -> str:
    return _table(
        ['prompt change', 'ms'],
        [[name, f'{value:.2f}'] for name, value in prompts.items()],
    )


def _agreement_table(agreements: Sequence[Mapping[str, Any]]) -> str:
    head = [
        'engine',
        'precision',
        'scenes',
        'same labels as fp32',
        'least of a scene',
        'mIoU',
        'mIoU fp32',
    ]
    rows = [
        [
            a['engine'],
            a['precision'],
            str(a['scenes']),
            *(f'{a[key]:.2%}' for key in ('same', 'least', 'miou', 'miou_fp32')),
        ]
        for a in agreements
    ]
    return _table(head, rows)


def drawing(rows: Sequence[BenchmarkRow]) -> str:
    """Return an SVG chart: one bar per row, divided into stages, in time per image."""
    longest = max(sum(row.stages_ms.values()) / row.batch for row in rows)
    scale = (_WIDTH - _LEFT - 80) / longest
    parts = []
    for index, row in enumerate(rows):
        x, y = float(_LEFT), index * (_BAR + _GAP) + _GAP
        parts.append(f'<text x="0" y="{y + 16}">{escape(", batch ".join(_name(row)[:2]))}, ')
        parts.append(f'{row.precision}</text>')
        for number, (stage, ms) in enumerate(row.stages_ms.items()):
            length = ms / row.batch * scale
            parts.append(
                f'<rect x="{x:.1f}" y="{y}" width="{length:.1f}" height="{_BAR}" '
                f'fill="rgb{colour(number)}"><title>{stage} {ms / row.batch:.2f} ms</title>'
                '</rect>'
            )
            x += length
        parts.append(f'<text x="{x + 6:.1f}" y="{y + 16}">{(x - _LEFT) / scale:.0f} ms</text>')
    height = len(rows) * (_BAR + _GAP) + 2 * _GAP
    for number, stage in enumerate(STAGES):
        x = number * _WIDTH / len(STAGES)
        rgb = colour(number)
        parts.append(f'<rect x="{x:.0f}" y="{height}" width="12" height="12" fill="rgb{rgb}"/>')
        parts.append(f'<text x="{x + 16:.0f}" y="{height + 11}">{stage}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height + 20}" '
        f'font-family="sans-serif" font-size="13">{"".join(parts)}</svg>\n'
    )


def objects(
    size: tuple[int, int], count: int, found_ms: float, followed_ms: float, located_ms: float
) -> str:
    """Return the times of the objects of a label image (H, W) as text; see `time_objects`."""
    return (
        f'{size[1]}x{size[0]}, {count} objects: found in {found_ms:.1f} ms, '
        f'followed in {followed_ms:.1f} ms, located in {located_ms:.1f} ms'
    )


def questions(size: tuple[int, int], times_ms: Mapping[str, float]) -> str:
    """Return the times of questions about a frame (H, W) as text; see `time_questions`."""
    told = ', '.join(f'{name} {taken:.1f} ms' for name, taken in times_ms.items())
    return f'{size[1]}x{size[0]}: {told}'
