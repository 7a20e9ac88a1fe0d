# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Frames to browsers: the newest, encoded once, only while someone watches."""

import asyncio
import io
import json
import time

import numpy as np
import pytest

pytest.importorskip('nicegui', reason='the extra `web` is not installed')

import websockets
from fake_source import FakeSource
from PIL import Image

from clip_dinoiser_ros.frames.overlay import colour
from clip_dinoiser_ros.web.packet import MAX_SIDE, Packet
from clip_dinoiser_ros.web.source import ShownClass, ShownFrame
from clip_dinoiser_ros.web.video import Stream


def frame(labels, classes, **other):
    image = np.zeros((*labels.shape, 3), np.uint8)
    return ShownFrame('front', 1, image, labels, None, 65535, classes, **other)


def unpack(message):
    length = int.from_bytes(message[:4], 'big')
    header = json.loads(message[4 : 4 + length])
    parts, start = {}, 4 + length
    for name, size in header['parts'].items():
        parts[name] = Image.open(io.BytesIO(message[start : start + size]))
        start += size
    assert start == len(message)
    return header, parts


def test_labels_have_the_colours_of_the_overlay():
    labels = np.array([[300, 7], [65535, 9]], np.uint16)
    classes = (ShownClass(300, 'a', 'a'), ShownClass(7, 'b', 'b', is_background=True))
    header, parts = unpack(Packet(frame(labels, classes)).message({'labels'}))
    pixels = np.asarray(parts['labels'].convert('RGBA'))
    assert tuple(pixels[0, 0]) == (*colour(300), 255)
    assert tuple(pixels[0, 1]) == (0, 0, 0, 255)
    assert pixels[1, 0, 3] == pixels[1, 1, 3] == 0  # unlabelled, and of no known class
    assert [row['share'] for row in header['legend']] == [0.25, 0.25]


def test_parts_are_encoded_once():
    packet = Packet(FakeSource().frame('front', 1, ['floor', 'wall']))
    first = packet.message({'image', 'labels', 'confidence'})
    assert packet._labels is packet._labels
    assert packet.message({'image', 'labels', 'confidence'}) == first
    header, parts = unpack(first)
    assert list(parts) == ['image', 'labels', 'confidence']
    assert header['times_ms']['segment'] == 61.0


def test_large_images_are_made_smaller():
    labels = np.zeros((1500, 3000), np.uint8)
    _, parts = unpack(
        Packet(frame(labels, (ShownClass(0, 'a', 'a'),))).message({'image', 'labels'})
    )
    assert parts['image'].size == parts['labels'].size == (MAX_SIDE, MAX_SIDE // 2)


def test_watched_once_for_all_and_not_without_viewers():
    watching = []

    def watch(on_frame):
        watching.append(on_frame)
        return lambda: watching.remove(on_frame)

    async def run():
        stream = Stream(watch)
        assert not watching
        async with stream.viewing():
            async with stream.viewing():
                assert len(watching) == 1
            assert len(watching) == 1
        assert not watching
        async with stream.viewing():
            assert len(watching) == 1
        assert not watching

    asyncio.run(run())


def test_each_gets_the_newest():
    async def run():
        stream = Stream(lambda on_frame: lambda: None)
        for stamp in range(5):
            stream.put(frame(np.full((2, 2), stamp, np.uint8), ()))
        number, packet = await stream.after(0)
        assert packet.frame.labels[0, 0] == 4
        waiting = asyncio.create_task(stream.after(number))
        await asyncio.sleep(0.01)
        assert not waiting.done()
        stream.put(frame(np.full((2, 2), 9, np.uint8), ()))
        assert (await waiting)[1].frame.labels[0, 0] == 9

    asyncio.run(run())


def test_who_does_not_read_keeps_nobody_waiting(fake_page):
    """One viewer asks and never reads, one never asks; the third gets every frame."""

    async def run():
        address = f'ws://127.0.0.1:{fake_page.port}/video/camera/front'
        origin = f'http://127.0.0.1:{fake_page.port}'
        options = {'origin': origin, 'compression': None, 'close_timeout': 0.2}
        async with (
            websockets.connect(address, max_queue=1, **options) as deaf,
            websockets.connect(address, **options),
            websockets.connect(address, **options) as viewer,
        ):
            deaf.transport.pause_reading()
            for _ in range(200):
                await deaf.send('image,labels,confidence')
            began, stamps = time.monotonic(), []
            while time.monotonic() < began + 3:
                await viewer.send('image,labels')
                header, _ = unpack(await viewer.recv())
                stamps.append(header['stamp_s'])
                assert time.time() - header['stamp_s'] < 1
            assert len(stamps) > 20
            assert len(set(stamps)) == len(stamps)  # each frame once

    asyncio.run(run())


def test_what_is_not_there_is_said(fake_page):
    async def run(path):
        origin = f'http://127.0.0.1:{fake_page.port}'
        address = f'ws://127.0.0.1:{fake_page.port}/video/{path}'
        async with websockets.connect(address, origin=origin) as socket:
            await socket.wait_closed()
            return socket.close_code, socket.close_reason

    for path in ('camera/absent', 'kept/guessed', 'other/front', 'camera/..%2f..%2fetc'):
        assert asyncio.run(run(path)) == (1013, 'nothing has this name')
