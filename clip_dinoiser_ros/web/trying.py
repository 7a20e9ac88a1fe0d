# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Trying words on one image, two sets side by side; what is in use stays as it is."""

from __future__ import annotations

import asyncio
import secrets
import weakref
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from nicegui import context, ui
from nicegui.events import UploadEventArguments

from clip_dinoiser_ros.frames.class_ids import UNLABELLED_16, ClassIds
from clip_dinoiser_ros.frames.compressed import decode
from clip_dinoiser_ros.frames.image_layout import ImageError
from clip_dinoiser_ros.frames.outputs import shrink
from clip_dinoiser_ros.web.access import MAX_BODY
from clip_dinoiser_ros.web.packet import MAX_SIDE
from clip_dinoiser_ros.web.source import (
    ClassProbability,
    RefusedError,
    Settings,
    ShownFrame,
    background_in_use,
    pixel_at,
)
from clip_dinoiser_ros.web.viewer import Viewer
from clip_dinoiser_ros.web.words import describe

if TYPE_CHECKING:
    from clip_dinoiser_ros.web.page import Served

MAX_PIXELS = 32 * 2**20  # of an upload; a photo of a phone has 12 to 50 million
Use = Callable[[Settings], Awaitable[str]]
Freeze = Callable[[], npt.NDArray[np.uint8] | None]


class Trying:
    """The part of the page to try words with.

    Args:
        served: What all pages share.
        freeze: Returns the image that is shown; None: there is none.
        words: Returns the settings that the page shows.
        use: Puts words in use; returns why they are refused, or nothing.
    """

    def __init__(
        self, served: Served, freeze: Freeze, words: Callable[[], Settings], use: Use
    ) -> None:
        self._freeze, self._words = freeze, words
        self._image: npt.NDArray[np.uint8] | None = None
        self._ids: dict[str, int] = {}
        ui.label(
            'Take an image, then try words on it. What is in use stays as it is until you say so.'
        )
        with ui.element('div').classes('try-source'):
            ui.button('Take the image above', icon='photo_camera', on_click=self._take)
            # FastAPI keeps the routes of thousands of uploads, which must not lead to closed pages
            own = weakref.proxy(self)

            async def take(event: UploadEventArguments) -> None:
                await own._upload(event)

            upload = ui.upload(
                label='or drop a JPEG or PNG here',
                auto_upload=True,
                max_files=1,
                max_file_size=MAX_BODY - 2**16,
                on_upload=take,
                on_rejected=lambda: own._say(f'Not an image of up to {MAX_BODY // 2**20} MB.'),
            ).props('accept="image/jpeg,image/png" flat bordered')
            describe(upload, 'Choose a JPEG or PNG')
            self._uploader = upload
        self._note = ui.label().classes('note').props('role=status')
        with ui.element('div').classes('try-columns') as columns:
            self._columns = [_Column(served, name, self._ids, use) for name in ('A', 'B')]
        columns.bind_visibility_from(self, '_image', lambda image: image is not None)

    async def _take(self) -> None:
        image = self._freeze()
        if image is None:
            self._say('There is no image yet. With all cameras in view, choose one first.')
        else:
            await self._set(image.copy())

    async def _upload(self, event: UploadEventArguments) -> None:
        self._uploader.reset()
        try:
            content = await event.file.read()
            image = await asyncio.to_thread(_decode, content)
        except ImageError as error:
            self._say(f'This file cannot be used: {error}')
        else:
            await self._set(image)

    async def _set(self, image: npt.NDArray[np.uint8]) -> None:
        height, width = image.shape[:2]
        self._say(f'Image of {width} x {height} pixels.')
        self._image = image
        for column in self._columns:
            await column.take(image, self._words())

    def _say(self, text: str) -> None:
        self._note.text = text


class _Column:
    """One of two sets of words, and what it makes of the image."""

    def __init__(self, served: Served, name: str, ids: dict[str, int], use: Use) -> None:
        self._served, self._ids, self._use = served, ids, use
        self._key = secrets.token_urlsafe(16)
        self._image: npt.NDArray[np.uint8] | None = None
        self._frame: ShownFrame | None = None
        context.client.on_delete(lambda: served.video.drop(self._key))
        with ui.element('section').classes('try-column') as whole:
            describe(whole, f'Set {name}')
            ui.label(f'Set {name}').classes('heading')
            self._text = ui.textarea('Words, one on each line').props('outlined rows=7')
            describe(self._text, f'Words of set {name}, one on each line')
            self._background = ui.input('Background word, or nothing').props('outlined dense')
            describe(self._background, f'Background word of set {name}, or nothing')
            with ui.element('div').classes('buttons'):
                self._try = ui.button('Try', on_click=self._segment)
                self._using = ui.button('Use these', on_click=self._put_in_use).props('outline')
            self._note = ui.label().classes('note').props('role=status')
            self._viewer = Viewer(self._at, layered=False)

    async def take(self, image: npt.NDArray[np.uint8], words: Settings) -> None:
        """Show an image with the words that are there, or else with those in use."""
        self._image = image
        if not self._text.value:
            self._text.value = '\n'.join(words['prompts'])
            self._background.value = background_in_use(words)
        await self._segment()

    def _given(self) -> tuple[list[str], str]:
        lines = (self._text.value or '').splitlines()
        return [line.strip() for line in lines if line.strip()], self._background.value.strip()

    async def _segment(self) -> None:
        if self._image is None:
            return
        self._note.text = 'Encoding and segmenting ...'
        self._try.disable()
        try:
            frame = await asyncio.to_thread(
                self._served.source.segment, self._image, *self._given()
            )
            _, ids = await self._served.words.get()
        except RefusedError as error:
            self._note.text = f'Refused: {error}'
            return
        finally:
            self._try.enable()
        self._note.text = ''
        self._ids |= ids
        self._frame = frame = same_ids(frame, self._ids)
        self._served.video.drop(self._key)
        self._key = secrets.token_urlsafe(16)
        self._served.video.keep(self._key, frame)
        self._viewer.show('kept', self._key)

    async def _put_in_use(self) -> None:
        prompts, background = self._given()
        reason = await self._use({'prompts': prompts, 'background': background})
        self._note.text = f'Refused: {reason}' if reason else 'In use.'

    async def _at(self, x: float, y: float) -> Sequence[ClassProbability]:
        """Return the classes at a place; of an answer of a node only the likeliest is known."""
        frame = self._frame
        if frame is not None and frame.probabilities is not None:
            return await asyncio.to_thread(frame.probabilities, x, y)
        if frame is None or frame.confidence is None:
            return ()
        height, width = frame.labels.shape
        at = pixel_at((height, width), x, y)
        label = int(frame.labels[at])
        name = next((one.name for one in frame.classes if one.id == label), 'no class')
        return (ClassProbability(name, float(frame.confidence[at])),)


def _decode(content: bytes) -> npt.NDArray[np.uint8]:
    """Decode an upload by the decoder for images from the network, and make it smaller."""
    image = decode(content, turned=True, max_pixels=MAX_PIXELS, max_bytes=MAX_BODY)
    height, width = image.shape[:2]
    scale = min(1.0, MAX_SIDE / max(height, width))
    return shrink(image, (max(1, round(height * scale)), max(1, round(width * scale))))


def same_ids(frame: ShownFrame, ids: dict[str, int]) -> ShownFrame:
    """Give the classes of a frame the ids, and so the colours, that their names have elsewhere.

    Args:
        frame: With ids of its own.
        ids: By name; gets new ones for other names.
    """
    ids |= ClassIds(dict(ids)).with_names([one.name for one in frame.classes]).known
    table = np.full(2**16, UNLABELLED_16, np.uint16)
    for one in frame.classes:
        table[one.id] = ids[one.name]
    return replace(
        frame,
        labels=table[frame.labels],
        unlabelled_id=UNLABELLED_16,
        classes=tuple(replace(one, id=ids[one.name]) for one in frame.classes),
    )
