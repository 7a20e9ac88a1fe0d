# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The page of one viewer: what a camera sees, and the words that can be changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nicegui import background_tasks, context, run, ui

from clip_dinoiser_ros.web.changes import Changes
from clip_dinoiser_ros.web.controls import Controls
from clip_dinoiser_ros.web.settings_file import WordSets
from clip_dinoiser_ros.web.source import ClassProbability, RefusedError, Settings, Source
from clip_dinoiser_ros.web.trying import Trying
from clip_dinoiser_ros.web.video import Video
from clip_dinoiser_ros.web.viewer import Viewer

STATUS_S = 1.0
STYLE = Path(__file__).with_name('page.css')
LEVELS = ('ok', 'warning', 'error', 'silent')


@dataclass(frozen=True)
class Served:
    """What all pages of a server share.

    Attributes:
        source: The robot, or the images.
        video: Its frames.
        changes: Makes changes to it.
        sets: Named sets of words.
        read_only: Nothing can be changed and nothing can be tried.
    """

    source: Source
    video: Video
    changes: Changes
    sets: WordSets
    read_only: bool


class Page:
    """Builds the page; lives as long as its browser is connected."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._client = context.client
        self._camera = ''
        self._settings: Settings = {}
        ui.add_css(STYLE)
        ui.colors(primary='#0072b2')
        with ui.element('header').classes('top'):
            ui.label(served.source.title).classes('title').props('role=heading aria-level=1')
            self._cameras = ui.select([], on_change=lambda event: self._watch(event.value))
            self._cameras.props('dense outlined options-dense aria-label=Camera')
            self._status = ui.label('...').classes('status').props('role=status')
        with ui.element('main').classes('page'):
            with ui.element('section').classes('watch').props('aria-label="Camera image"'):
                self._viewer = Viewer(self._probabilities)
                with ui.expansion('Details', icon='monitor_heart').classes('details'):
                    self._details = ui.element('dl')
            self._controls = None
            if served.source.can_change and not served.read_only:
                self._controls = Controls(served, self._change, self._undo)
                with ui.expansion('Try words on an image', icon='science').classes('try card'):
                    Trying(served, self._frozen, lambda: self._settings, self._change)
        self._follow()
        ui.timer(STATUS_S, self._look)

    def _follow(self) -> None:
        """Hear of changes by others, from whichever thread they come."""
        loop = asyncio.get_running_loop()

        def hear() -> None:
            loop.call_soon_threadsafe(lambda: background_tasks.create(self._refresh()))

        stop = self._served.source.on_change(hear)
        self._client.on_delete(stop)
        background_tasks.create(self._refresh())

    # watching

    def _watch(self, camera: str | None) -> None:
        self._camera = camera or ''
        self._viewer.show('camera', self._camera)

    async def _look(self) -> None:
        """Show what changes by itself."""
        cameras = await self._asked(lambda: list(self._served.source.cameras()), None)
        if cameras is not None and cameras != self._cameras.options:
            chosen = self._camera if self._camera in cameras else next(iter(cameras), None)
            self._cameras.set_options(cameras, value=chosen)
        self._cameras.set_visibility(len(self._cameras.options) > 1)
        status = await self._asked(lambda: self._served.source.status(self._camera), None)
        if status is not None:
            self._status.text = status.summary
            self._status.classes(replace=f'status {LEVELS[status.level]}')
            self._show_details(status.details)
        if self._controls is not None:
            self._controls.encoding.set_visibility(self._served.changes.is_encoding)
            if not self._settings:
                await self._refresh()

    def _show_details(self, details: Sequence[tuple[str, str]]) -> None:
        if getattr(self, '_shown', None) == details:
            return
        self._shown = details
        self._details.clear()
        with self._details:
            for name, value in details:
                with ui.element('dt'):
                    ui.label(name)
                with ui.element('dd'):
                    ui.label(value)

    async def _probabilities(self, x: float, y: float) -> Sequence[ClassProbability]:
        ask = self._served.source.probabilities
        found: Sequence[ClassProbability] = await self._asked(lambda: ask(self._camera, x, y), ())
        return found

    def _frozen(self) -> Any:
        newest = self._served.video.camera(self._camera).newest if self._camera else None
        return None if newest is None else newest.frame.image

    async def _asked(self, ask: Callable[[], Any], otherwise: Any) -> Any:
        """Ask the source in a thread; a node that is not there has no answer."""
        try:
            return await run.io_bound(ask)
        except RefusedError:
            return otherwise

    # typing

    async def _refresh(self) -> None:
        if self._client.is_deleted:
            return
        source = self._served.source
        found = await self._asked(lambda: (source.settings(), source.class_ids()), None)
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
            await run.io_bound(make)
        except RefusedError as error:
            return str(error)
        finally:
            self._controls.encoding.set_visibility(False)
            await self._refresh()
        return ''
