# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The tables of `make gpu` in docs/performance.md: one for each device, the newest."""

from __future__ import annotations

import re
from collections.abc import Sequence

BEGIN, END = '<!-- make gpu: begin -->', '<!-- make gpu: end -->'


def with_table(
    page: str, device: str, date: str, notes: str, rows: Sequence[tuple[str, str]]
) -> str:
    """Return a page with the table of a device, in the place of an older one of that device.

    Args:
        page: Has the lines BEGIN and END.
        device: Its name.
        date: Of the run.
        notes: What it was run with.
        rows: What was looked at, and what was seen.

    Raises:
        ValueError: The page has no place for tables.
    """
    before, begin, rest = page.partition(BEGIN)
    between, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f'the page has no lines {BEGIN} and {END}')
    kept = [
        section.strip()
        for section in re.split(r'^(?=### )', between, flags=re.MULTILINE)
        if section.strip() and section.split('\n', 1)[0] != f'### {device}'
    ]
    lines = [f'### {device}', '', f'{date}, {notes}.', '', '| | |', '| --- | --- |']
    lines += [f'| {_cell(name)} | {_cell(value)} |' for name, value in rows]
    sections = '\n\n'.join([*kept, '\n'.join(lines)])
    return f'{before}{BEGIN}\n\n{sections}\n\n{END}{after}'


def _cell(text: str) -> str:
    return ' '.join(text.replace('|', '\\|').split())
