# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Frames to browsers: encoded once for all viewers, the newest one for each.

A browser asks for a frame after it has drawn the one before. So one frame at most is on its way to
a viewer, and who does not read keeps nobody waiting.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

from fastapi import WebSocket, WebSocketDisconnect

from clip_dinoiser_ros.web.packet import LAYERS, Packet
from clip_dinoiser_ros.web.recent import Recent
from clip_dinoiser_ros.web.source import RefusedError, ShownFrame, Source

UNAVAILABLE = 1013  # code with which a connection is closed: try again later
Watch = Callable[[Callable[[ShownFrame], None]], Callable[[], None]]


class Stream:
    """The newest frame of a camera. Watches the camera while it has viewers.

    Args:
        watch: As `Source.watch` for this camera.
    """

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._viewers = 0
        self._turn = asyncio.Lock()
        self._stop: Callable[[], None] | None = None
        self._arrived = asyncio.Event()
        self._number = 0
        self.newest: Packet | None = None

    @property
    def viewers(self) -> int:
        """How many watch at the moment."""
        return self._viewers

    @asynccontextmanager
    async def viewing(self) -> AsyncIterator[None]:
        """Count a viewer while the context is open."""
        self._viewers += 1
        try:
            await self._follow()
            yield
        finally:
            self._viewers -= 1
            await asyncio.shield(self._follow())

    async def _follow(self) -> None:
        """Watch if and only if there are viewers."""
        loop = asyncio.get_running_loop()
        async with self._turn:
            if self._viewers and self._stop is None:

                def on_frame(frame: ShownFrame) -> None:
                    loop.call_soon_threadsafe(self.put, frame)

                self._stop = await asyncio.to_thread(self._watch, on_frame)
            elif not self._viewers and self._stop is not None:
                stop, self._stop = self._stop, None
                self.newest = None
                await asyncio.to_thread(stop)

    def put(self, frame: ShownFrame) -> None:
        """Take a frame; the one before is gone for all who have not asked for it yet."""
        self.newest = Packet(frame)
        self._number += 1
        arrived, self._arrived = self._arrived, asyncio.Event()
        arrived.set()

    async def after(self, number: int) -> tuple[int, Packet]:
        """Wait for a frame that is newer than the one with this number."""
        while self.newest is None or self._number <= number:
            await self._arrived.wait()
        return self._number, self.newest


class Video:
    """The streams of all cameras of a source, and of images that are kept to be looked at.

    Attributes:
        cameras: Names of the cameras.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self.cameras = Recent(lambda: list(source.cameras()))
        self._streams: dict[str, Stream] = {}
        self._kept: dict[str, Stream] = {}
        self._encoder = ThreadPoolExecutor(1, 'encoder')  # one thread: no part is encoded twice

    def camera(self, name: str) -> Stream:
        """Return the stream of a camera."""
        if name not in self._streams:
            self._streams[name] = Stream(lambda on_frame: self._source.watch(name, on_frame))
        return self._streams[name]

    def keep(self, key: str, frame: ShownFrame) -> None:
        """Show one frame to who knows the key."""

        def watch(on_frame: Callable[[ShownFrame], None]) -> Callable[[], None]:
            on_frame(frame)
            return lambda: None

        self._kept[key] = Stream(watch)

    def drop(self, key: str) -> None:
        """Forget a kept frame."""
        self._kept.pop(key, None)

    async def serve(self, socket: WebSocket, kind: str, name: str) -> None:
        """Deliver the frames of a stream to a browser until it leaves."""
        await socket.accept()
        try:
            stream = await self._find(kind, name)
            async with stream.viewing():
                await self._deliver(socket, stream)
        except RefusedError as error:
            await socket.close(UNAVAILABLE, str(error)[:100])

    async def _find(self, kind: str, name: str) -> Stream:
        if kind == 'kept' and name in self._kept:
            return self._kept[name]
        if kind == 'camera' and name in await self.cameras.get():
            return self.camera(name)
        raise RefusedError('nothing has this name')

    async def _deliver(self, socket: WebSocket, stream: Stream) -> None:
        loop = asyncio.get_running_loop()
        number = 0
        asked = asyncio.create_task(socket.receive_text())
        arrival: asyncio.Task[tuple[int, Packet]] | None = None
        try:
            while True:
                layers = _layers(await asked)
                asked = asyncio.create_task(socket.receive_text())  # ends if the browser leaves
                arrival = asyncio.create_task(stream.after(number))
                await asyncio.wait({asked, arrival}, return_when=asyncio.FIRST_COMPLETED)
                if asked.done():  # gone, or another wish
                    arrival.cancel()
                    continue
                number, packet = arrival.result()
                message = await loop.run_in_executor(self._encoder, packet.message, layers)
                await socket.send_bytes(message)
        except (WebSocketDisconnect, RuntimeError, KeyError):
            pass  # gone, or something that is no text
        finally:
            for task in (asked, arrival):
                if task is not None:
                    task.cancel()


def _layers(text: str) -> Collection[str]:
    return frozenset(text.split(',')) & frozenset(LAYERS)
