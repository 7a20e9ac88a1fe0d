# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Rows of words to type into: one for each class, and one to add another."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from nicegui import ui

from clip_dinoiser_ros.web.packet import css_colour
from clip_dinoiser_ros.web.source import ShownClass, class_name

# Takes the new list of words; returns why it is refused, or nothing
Change = Callable[[list[str]], Awaitable[str]]


def describe(element: ui.element, text: str) -> None:
    """Set what a screen reader says; any text is allowed."""
    element.props['aria-label'] = text
    element.update()


@dataclass(eq=False)
class _Row:
    text: str  # in use
    whole: ui.element
    swatch: ui.element
    input: ui.input
    number: ui.label | None
    buttons: list[tuple[ui.button, str]] = field(default_factory=list)
    coming: str = ''  # asked for

    def show(self, text: str, index: int, class_id: int | None, is_background: bool) -> None:
        """Show a word in use; what is being typed stays."""
        if self.input.value == self.text or self.coming:
            self.input.value = text
        self.text = text
        if class_id is not None:
            colour = css_colour(ShownClass(class_id, '', '', is_background))
            self.swatch.style(f'background: {colour}')
            self.swatch.classes(replace='swatch')
        else:
            self.swatch.classes(replace='swatch none')
        if self.number is not None:
            self.number.text = '' if class_id is None else f'id {class_id}'
        describe(self.input, f'Word {index + 1} and its synonyms, separated by |')
        for button, what in self.buttons:
            describe(button, what.format(text))


class WordRows:
    """A list of words that can be changed, removed, moved and extended.

    Args:
        what: One of the words, for labels: 'word'.
        change: Called with the new list.
        has_ids: The words are classes with an id and a colour.
    """

    def __init__(self, what: str, change: Change, has_ids: bool = True) -> None:
        self._change, self._has_ids = change, has_ids
        self._rows: list[_Row] = []
        with ui.element('div').classes('words') as whole:
            self._list = ui.element('div').props('role=list')
        describe(whole, f'{what}s')
        with ui.element('div').classes('word-row'):
            ui.element('span').classes('swatch none')
            self._new = ui.input(placeholder=f'add a {what}, such as pallet|wooden pallet')
            self._new.props('dense outlined maxlength=1000').on('keydown.enter', self._add)
            self._new.classes('word-input')
            describe(self._new, f'Add a {what}')
            add = ui.button(icon='add', on_click=self._add).props('flat dense round')
            describe(add, f'Add the {what}')

    @property
    def texts(self) -> list[str]:
        """The words in use."""
        return [row.text for row in self._rows]

    def show(self, texts: Sequence[str], ids: Mapping[str, int], background: str) -> None:
        """Show the words in use, whoever changed them."""
        known = {row.text: row for row in self._rows}
        known |= {row.coming: row for row in self._rows if row.coming}
        rows = []
        for text in texts:
            row = known.get(text)
            if row is None or row in rows:
                with self._list:
                    row = self._make()
            rows.append(row)
        for row in self._rows:
            if row not in rows:
                row.whole.delete()
        if rows != [row for row in self._rows if row in rows] or self._rows[: len(rows)] != rows:
            for index, row in enumerate(rows):
                row.whole.move(target_index=index)
        self._rows = rows
        for index, (row, text) in enumerate(zip(rows, texts, strict=True)):
            name = class_name(text)
            row.show(text, index, ids.get(name), bool(background) and name == background)

    def _make(self) -> _Row:
        with ui.element('div').classes('word-row').props('role=listitem') as whole:
            swatch = ui.element('span').classes('swatch none')
            text = ui.input().props('dense outlined maxlength=1000').classes('word-input')
            number = ui.label().classes('word-id') if self._has_ids else None
            row = _Row('', whole, swatch, text, number)
            for icon, what, act in (
                ('arrow_upward', 'Move {} up', lambda: self._move(row, -1)),
                ('arrow_downward', 'Move {} down', lambda: self._move(row, 1)),
                ('close', 'Remove {}', lambda: self._remove(row)),
            ):
                button = ui.button(icon=icon, on_click=act).props('flat dense round size=sm')
                row.buttons.append((button, what))
        text.on('keydown.enter', lambda: self._edit(row))
        text.on('blur', lambda: self._edit(row))
        text.on('keydown.escape', lambda: self._revert(row))
        return row

    def _revert(self, row: _Row) -> None:
        row.input.value, row.input.error = row.text, None

    async def _edit(self, row: _Row) -> None:
        text = (row.input.value or '').strip()
        if text == row.text:
            row.input.error = None
        elif text != row.coming:  # Enter and then leaving the row is one change
            row.coming = text
            reason = await self._change([text if r is row else r.text for r in self._rows])
            row.coming = ''
            row.input.error = reason or None
            if not reason:
                row.text = text

    async def _add(self) -> None:
        text = (self._new.value or '').strip()
        if text:
            reason = await self._change([*self.texts, text])
            self._new.error = reason or None
            if not reason:
                self._new.value = ''

    async def _remove(self, row: _Row) -> None:
        reason = await self._change([r.text for r in self._rows if r is not row])
        row.input.error = reason or None

    async def _move(self, row: _Row, by: int) -> None:
        texts = self.texts
        place = self._rows.index(row)
        if 0 <= place + by < len(texts):
            texts.insert(place + by, texts.pop(place))
            row.input.error = await self._change(texts) or None
