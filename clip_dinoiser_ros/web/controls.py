# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The part of the page that changes settings: words, background, sliders, sets of words."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

from nicegui import ui
from nicegui.events import GenericEventArguments

from clip_dinoiser_ros.web.settings_file import SetsError, shell_lines, to_yaml
from clip_dinoiser_ros.web.source import Settings, background_in_use, class_name
from clip_dinoiser_ros.web.words import WordRows, describe

if TYPE_CHECKING:
    from clip_dinoiser_ros.web.page import Served

BACKGROUND = 'background'
ADVICE = (
    'On if all words are objects (person, box): what does not look like an object becomes '
    'background. Off if words name surfaces too (floor, wall, sky): they would get holes.'
)
# parameter: label, largest value, step, value as text
SLIDERS = {
    'min_confidence': ('Leave unlabelled below this confidence', 1.0, 0.01, '{:.2f}'),
    'temporal_smoothing': ('Temporal smoothing', 0.99, 0.01, '{:.2f}'),
    'max_rate': ('Most images per second, 0: no limit', 30.0, 0.5, '{:.1f}'),
}
Change = Callable[[Settings], Awaitable[str]]


class Controls:
    """Cards with everything that can be changed.

    Args:
        served: What all pages share.
        change: Changes settings; returns why they are refused, or nothing.
        undo: Takes the last change back; returns the same.

    Attributes:
        encoding: Visible while a change is on its way.
    """

    def __init__(self, served: Served, change: Change, undo: Callable[[], Awaitable[str]]) -> None:
        self._served, self._change, self._undo = served, change, undo
        self._settings: Settings = {}
        self._sliders: dict[str, ui.slider] = {}
        with ui.element('div').classes('controls'):
            self._add_words()
            with _card('Settings'):
                for name in SLIDERS:
                    self._add_slider(name)
            self._add_sets()

    def show(self, settings: Settings, ids: Mapping[str, int]) -> None:
        """Show the settings in use."""
        self._settings = settings
        background = background_in_use(settings)
        self._words.show(settings['prompts'], ids, background)
        self._negatives.show([text for text in settings['negative_prompts'] if text], {}, '')
        self._background.value = bool(background)
        for name, slider in self._sliders.items():
            slider.value = settings[name]
        self._undo_button.set_enabled(self._served.changes.can_undo)

    def _add_words(self) -> None:
        with _card('Words'):
            with ui.row().classes('heading-row'):
                self._undo_button = ui.button('Undo', icon='undo', on_click=self._take_back)
                self._undo_button.props('flat dense').set_enabled(False)
                self.encoding = ui.label('Encoding words; the old ones go on until then ...')
                self.encoding.classes('encoding').props('role=status').set_visibility(False)
            self._words = WordRows('word', lambda texts: self._change({'prompts': texts}))
            self._background = ui.switch('Background filter').on('click', self._switch_background)
            ui.label(ADVICE).classes('hint')
            with ui.expansion('Negative words').classes('negatives'):
                ui.label('They compete with the words above, and what they win has no class.')
                self._negatives = WordRows(
                    'negative word',
                    lambda texts: self._change({'negative_prompts': texts}),
                    has_ids=False,
                )
            self._refusal = _refusal()

    async def _switch_background(self) -> None:
        wanted = bool(self._background.value)
        prompts = list(self._settings['prompts'])
        names = [class_name(prompt) for prompt in prompts]
        if wanted and BACKGROUND not in names:
            prompts.insert(0, BACKGROUND)
        elif not wanted and len(prompts) > 1:
            prompts = [p for p, n in zip(prompts, names, strict=True) if n != BACKGROUND]
        reason = await self._change(
            {'prompts': prompts, 'background': BACKGROUND if wanted else ''}
        )
        _say(self._refusal, reason)

    async def _take_back(self) -> None:
        _say(self._refusal, await self._undo())

    def _add_slider(self, name: str) -> None:
        label, largest, step, form = SLIDERS[name]
        with ui.element('div').classes('slider'):
            ui.label(label)
            slider = ui.slider(min=0, max=largest, step=step, value=0)
            describe(slider, label)
            value = ui.label().classes('value')
            value.bind_text_from(slider, 'value', lambda number: form.format(number or 0))
        refusal = _refusal()

        async def changed(event: GenericEventArguments) -> None:
            _say(refusal, await self._change({name: float(event.args)}))

        slider.on('change', changed, args=[None])  # when it is let go
        self._sliders[name] = slider

    def _add_sets(self) -> None:
        with _card('Sets of words'):
            with ui.element('div').classes('pair'):
                self._set = ui.select(self._served.sets.names(), label='Saved sets')
                self._set.props('dense outlined options-dense aria-label="Saved sets"')
                self._set.on('popup-show', self._list_sets)
                ui.button('Use', on_click=self._use_set).props('outline')
            with ui.element('div').classes('pair'):
                self._name = ui.input('Name for the words in use').props('dense outlined')
                describe(self._name, 'Name for the words in use')
                ui.button('Save', on_click=self._save_set).props('outline')
            with ui.element('div').classes('pair'):
                ui.button('Parameter file', icon='download', on_click=self._download).props('flat')
                ui.button('ros2 param lines', icon='terminal', on_click=self._lines).props('flat')
            self._set_note = ui.label().classes('note').props('role=status')
            self._shell = ui.textarea().props('readonly outlined autogrow').classes('shell')
            describe(self._shell, 'Commands that set these words')
            self._shell.set_visibility(False)

    def _list_sets(self) -> None:
        self._set.set_options(self._served.sets.names())

    async def _use_set(self) -> None:
        try:
            words = await asyncio.to_thread(self._served.sets.load, self._set.value or '')
        except (SetsError, OSError) as error:
            self._set_note.text = str(error)
            return
        reason = await self._change(words)
        self._set_note.text = f'Refused: {reason}' if reason else 'In use.'

    async def _save_set(self) -> None:
        name = (self._name.value or '').strip()
        try:
            await asyncio.to_thread(self._served.sets.save, name, self._settings)
        except (SetsError, OSError) as error:
            self._set_note.text = str(error)
            return
        self._list_sets()
        self._set_note.text = f'Saved {name}.'

    def _download(self) -> None:
        content = to_yaml(self._settings, self._node)
        ui.download.content(content, 'words.yaml', 'application/yaml')

    def _lines(self) -> None:
        self._shell.value = shell_lines(self._settings, self._node)
        self._shell.set_visibility(True)
        ui.clipboard.write(self._shell.value)

    @property
    def _node(self) -> str:
        title = self._served.source.title
        return title if title.startswith('/') else '/clip_dinoiser'


def _card(title: str) -> ui.element:
    card = ui.element('section').classes('card')
    describe(card, title)
    with card:
        ui.label(title).classes('heading').props('role=heading aria-level=2')
    return card


def _refusal() -> ui.label:
    label = ui.label().classes('refusal').props('role=alert')
    label.set_visibility(False)
    return label


def _say(label: ui.label, reason: str) -> None:
    label.text = f'Refused: {reason}' if reason else ''
    label.set_visibility(bool(reason))
