# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The page of one viewer: what a camera sees, and the words that can be changed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from nicegui import background_tasks, context, ui

from clip_dinoiser_ros.web.changes import Changes
from clip_dinoiser_ros.web.controls import Controls
from clip_dinoiser_ros.web.recent import Recent
from clip_dinoiser_ros.web.settings_file import WordSets
from clip_dinoiser_ros.web.source import (
    ClassProbability,
    RefusedError,
    Settings,
    Source,
    Status,
)
from clip_dinoiser_ros.web.trying import Trying
from clip_dinoiser_ros.web.video import Video
from clip_dinoiser_ros.web.viewer import Viewer
from clip_dinoiser_ros.web.words import describe

STATUS_S = 1.0
ALL = '*'  # no camera has this name
MOST_AT_ONCE = 16  # cameras side by side; a folder may have thousands of images
STYLE = Path(__file__).with_name('page.css')
T = TypeVar('T')
LEVELS = ('ok', 'warning', 'error', 'silent')


class Served:
    """What all pages of a server share.

    Args:
        source: The robot, or the images.
        sets: Named sets of words.
        read_only: Nothing can be changed and nothing can be tried.

    Attributes:
        video: Its frames.
        changes: Makes changes to it.
        words: Its settings and the class ids of the words.
    """

    def __init__(self, source: Source, sets: WordSets, read_only: bool) -> None:
        self.source, self.sets = source, sets
        self.can_change = source.can_change and not read_only
        self.video = Video(source)
        self.changes = Changes(source)
        self.words = Recent(lambda: (source.settings(), _ids(source)))
        self._statuses: dict[str, Recent[Status]] = {}

    def status(self, camera: str) -> Recent[Status]:
        """Return how a camera is."""
        if camera not in self._statuses:
            self._statuses[camera] = Recent(lambda: self.source.status(camera))
        return self._statuses[camera]


def _ids(source: Source) -> Mapping[str, int]:
    """Return the ids of the words; a node that has not started has none yet."""
    try:
        return source.class_ids()
    except RefusedError:
        return {}


class Page:
    """Builds the page; lives as long as its browser is connected."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._client = context.client
        self._camera = ''  # the one that is shown alone
        self._tiles: dict[str, ui.label] = {}  # the status of each of all cameras
        self._settings: Settings = {}
        self._shown: Sequence[tuple[str, str]] = ()  # details
        ui.add_css(STYLE)
        ui.colors(primary='#0072b2')
        with ui.element('header').classes('top'):
            ui.label(served.source.title).classes('title').props('role=heading aria-level=1')
            self._cameras = ui.select({}, on_change=lambda event: self._watch(event.value))
            self._cameras.props('dense outlined options-dense aria-label=Camera')
            self._status = ui.label('...').classes('status').props('role=status')
        with ui.element('main').classes('page'):
            with ui.element('section').classes('watch').props('aria-label="Camera image"'):
                with ui.element('div') as self._alone:
                    self._viewer = Viewer(self._probabilities)
                    with ui.expansion('Details', icon='monitor_heart').classes('details'):
                        self._details = ui.element('dl')
                self._grid = ui.element('div').classes('tiles')
            self._controls: Controls | None = None
            self._trying: ui.expansion | None = None
            if served.can_change:
                self._controls = Controls(served, self._change, self._undo)
                self._trying = ui.expansion('Try words on an image', icon='science')
                with self._trying.classes('try card'):
                    Trying(served, self._frozen, lambda: self._settings, self._change)
        self._follow()
        ui.timer(STATUS_S, self._look)

    def _follow(self) -> None:
        """Hear of changes by others, from whichever thread they come."""
        loop = asyncio.get_running_loop()

        def hear() -> None:
            loop.call_soon_threadsafe(self._changed)

        stop = self._served.source.on_change(hear)
        self._client.on_delete(stop)
        background_tasks.create(self._refresh())

    def _changed(self) -> None:
        self._served.words.forget()
        background_tasks.create(self._refresh())

    # watching

    def _watch(self, chosen: str | None) -> None:
        self._camera = '' if chosen in (None, ALL) else str(chosen)
        self._viewer.show('camera', self._camera)
        self._alone.set_visibility(chosen != ALL)
        self._grid.clear()
        self._tiles = {}
        if chosen == ALL:
            with self._grid:
                for name in self._cameras.options:
                    if name != ALL:
                        self._add_tile(name)

    def _add_tile(self, name: str) -> None:
        with ui.element('section').classes('tile') as tile:
            describe(tile, name)
            with ui.element('div').classes('tile-top'):
                alone = ui.button(name, on_click=lambda: self._cameras.set_value(name))
                describe(alone.props('flat dense'), f'{name} alone')
                self._tiles[name] = ui.label('...').classes('status')
            viewer = Viewer(partial(self._probabilities, camera=name), layered=False, small=True)
            viewer.show('camera', name)

    async def _look(self) -> None:
        """Show what changes by itself."""
        cameras = await _answer(self._served.video.cameras.get())
        if cameras is not None:
            self._offer(cameras)
        if cameras == [] and self._trying is not None:
            self._trying.open()  # there is nothing else
            self._trying = None
        found = {
            name: await _answer(self._served.status(name).get())
            for name in [*self._tiles] or [self._camera]
        }
        statuses = {name: status for name, status in found.items() if status is not None}
        for name in statuses.keys() & self._tiles.keys():
            _show_status(self._tiles[name], statuses[name])
        if statuses:
            worst = max(statuses, key=lambda name: statuses[name].level)
            status = statuses[worst]
            _show_status(self._status, status, f'{worst}: ' if self._tiles else '')
            self._show_details(status.details)
        if self._controls is not None:
            is_encoding = any(status.is_encoding for status in statuses.values())
            self._controls.encoding.set_visibility(self._served.changes.is_encoding or is_encoding)
            if not self._settings:
                await self._refresh()

    def _offer(self, cameras: Sequence[str]) -> None:
        options = {name: name for name in cameras}
        if 1 < len(cameras) <= MOST_AT_ONCE:
            options[ALL] = 'all cameras'
        if options != self._cameras.options:
            before = self._cameras.value
            chosen = before if before in options else next(iter(options), None)
            self._cameras.set_options(options, value=chosen)
            if chosen == before:  # nothing is told of that
                self._watch(chosen)
        self._cameras.set_visibility(len(cameras) > 1)

    def _show_details(self, details: Sequence[tuple[str, str]]) -> None:
        if self._shown == details:
            return
        self._shown = details
        self._details.clear()
        with self._details:
            for name, value in details:
                with ui.element('dt'):
                    ui.label(name)
                with ui.element('dd'):
                    ui.label(value)

    async def _probabilities(
        self, x: float, y: float, camera: str = ''
    ) -> Sequence[ClassProbability]:
        ask = self._served.source.probabilities
        return await _answer(asyncio.to_thread(ask, camera or self._camera, x, y)) or ()

    def _frozen(self) -> Any:
        newest = self._served.video.camera(self._camera).newest if self._camera else None
        return None if newest is None else newest.frame.image

    # typing

    async def _refresh(self) -> None:
        if self._client.is_deleted:
            return
        found = await _answer(self._served.words.get())
        if found is not None and not self._client.is_deleted and self._controls is not None:
            self._settings, ids = found
            with self._client:
                self._controls.show(self._settings, ids)

    async def _change(self, settings: Settings) -> str:
        """Change settings; return why they are refused, or nothing."""
        return await self._made(lambda: self._served.changes.make(settings))

    async def _undo(self) -> str:
        return await self._made(self._served.changes.undo)

    async def _made(self, make: Callable[[], None]) -> str:
        assert self._controls is not None
        self._controls.encoding.set_visibility(True)
        try:
            await asyncio.to_thread(make)
        except RefusedError as error:
            return str(error)
        finally:
            self._controls.encoding.set_visibility(False)
            self._served.words.forget()
            await self._refresh()
        return ''


def _show_status(label: ui.label, status: Status, before: str = '') -> None:
    label.text = before + status.summary
    label.classes(replace=f'status {LEVELS[status.level]}')


async def _answer(asked: Awaitable[T]) -> T | None:
    """Wait for an answer; a node that is not there has none."""
    try:
        return await asked
    except RefusedError:
        return None
