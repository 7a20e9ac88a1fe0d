# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""What `make gpu` looks at; each check returns what it saw and raises where that is wrong."""

from __future__ import annotations

import statistics
import time
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import cuda

from clip_dinoiser_ros.core import Segmenter, edges, edges_triton, upsample
from clip_dinoiser_ros.core.graphs import GraphRunner
from clip_dinoiser_ros.core.pipeline import Query
from clip_dinoiser_ros.core.segmentation import Patches

SIZES = ((480, 640), (720, 1280), (1080, 1920), (1200, 1600))  # (H, W) of cameras
CHANGES = 50
CAPTURES = 500
SETTLED = 20  # captures after which memory must not grow any more
MOST_GROWTH = 32 * 2**20  # bytes
LARGE = (1080, 1920)  # (H, W) that patches are enlarged to
REPEATS = 20

Rows = list[tuple[str, str]]


def noise(size: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Make an image (H, W, 3) of noise."""
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def _ms(work: object, device: torch.device) -> float:
    start = time.perf_counter()
    work()
    cuda.synchronize(device)
    return 1e3 * (time.perf_counter() - start)


def prompt_changes(segmenter: Segmenter) -> Rows:
    """Change the prompts again and again: the next frame is as fast, nothing is captured."""
    device, image = segmenter.device, noise((480, 640))
    words = segmenter.encode(['grass', 'red ball'], None, 'none')
    segmenter.warm_up(words)
    usual = statistics.median(
        _ms(lambda: segmenter.segment(image, words), device) for _ in range(20)
    )
    graphs, before, times = _graphs(segmenter), None, []
    for change in range(CHANGES):
        prompts = [f'thing {change} {i}' for i in range(1 + 3 * change % 40)]
        words = segmenter.encode(prompts, prompts[0] if change % 2 else None, 'none')
        gamma = 0.9 * change / CHANGES
        times.append(_ms(lambda w=words, g=gamma: segmenter.segment(image, w, g), device))
        if change == SETTLED:
            before = cuda.memory_reserved(device)
    grown = cuda.memory_reserved(device) - (before or 0)
    assert _graphs(segmenter) == graphs, 'a change of prompts captured a graph'
    assert grown <= MOST_GROWTH, f'{CHANGES} changes of prompts took {grown} bytes'
    return [
        (f'{CHANGES} prompt changes: graphs captured', '0'),
        ('first frame after a change, median, longest', f'{_middle(times)} ms'),
        ('a frame without a change, median', f'{usual:.2f} ms'),
        ('memory growth over the changes', f'{grown / 2**20:.0f} MiB'),
    ]


def camera_sizes(segmenter: Segmenter) -> Rows:
    """Frames of four cameras in turn; the first ones of each are looked at."""
    device, rows = segmenter.device, []
    words = segmenter.encode(['grass', 'red ball'], None, 'none')
    for size in SIZES:
        graphs = _graphs(segmenter)
        times = [
            _ms(lambda i=noise(size): segmenter.segment(i, words), device)  # noqa: B008
            for _ in range(20)
        ]
        rows.append(
            (
                f'{size[1]}x{size[0]}: first three frames, median of the rest, graphs captured',
                f'{", ".join(f"{t:.2f}" for t in times[:3])}, '
                f'{statistics.median(times[3:]):.2f} ms, {_graphs(segmenter) - graphs}',
            )
        )
    return rows


def captures(segmenter: Segmenter) -> Rows:
    """Capture and drop graphs again and again: memory must not creep."""
    device = segmenter.device
    run = GraphRunner(segmenter.pipeline, device)
    words = segmenter.encode(['grass', 'red ball'], None, 'none')
    query = Query(words.embeddings.to(device), None, 0.2, 0.99)
    pixels = segmenter.pipeline.preprocess.upload([noise((480, 640))])
    before, times = 0, []
    with torch.inference_mode():
        run(pixels, query)
        for number in range(CAPTURES):
            run.release()
            run._captures_from = 0
            times.append(_ms(lambda: run(pixels, query), device))
            assert len(run._graphs) == 1, 'nothing was captured'
            if number == SETTLED:
                before = cuda.memory_reserved(device)
    grown = cuda.memory_reserved(device) - before
    assert grown <= MOST_GROWTH, f'{CAPTURES} captures took {grown} bytes'
    return [
        (f'{CAPTURES} captures: memory growth', f'{grown / 2**20:.0f} MiB'),
        ('a frame with a capture, median, longest', f'{_middle(times)} ms'),
    ]


def enlarging(device: torch.device) -> Rows:
    """Compare the ways to enlarge with that of a CPU, and time them."""
    rows = []
    for classes in (8, 150, 300):
        generator = torch.Generator().manual_seed(classes)
        maps = (20 * torch.randn(classes, 28, 50, generator=generator)).softmax(dim=0)
        own = torch.rand(28, 50, generator=generator)
        size, extent = LARGE, (28.0, 50.0)
        expected = upsample.enlarge(maps, size, extent, (1, own))
        there, filtered = maps.to(device), (1, own.to(device))
        given = (there, size, extent, filtered)
        ways = {
            'the kernel': partial(upsample.enlarge, *given),
            'torch alone': partial(upsample._enlarge_by_classes, *given),
        }
        for name, way in ways.items():
            found = way()
            same = found.labels.cpu() == expected.labels
            assert same.float().mean() > 0.999, f'{name}: {same.float().mean():.4f} of the labels'
            worst = (found.confidence.cpu() - expected.confidence)[same].abs().max()
            assert worst < 1e-4, f'{name}: confidence differs by {worst:.1e}'
            if found.mono8 is not None:
                rounded = upsample.to_mono8(found.confidence)
                assert torch.equal(found.mono8, rounded), f'{name}: rounded otherwise'
            times = [_ms(way, device) for _ in range(REPEATS)]
            rows.append(
                (
                    f'enlarging {classes} classes to {size[1]}x{size[0]} by {name}',
                    f'{_middle(times)} ms',
                )
            )
    return rows


def sharpening(device: torch.device) -> Rows:
    """Compare the ways to sharpen edges with that of a CPU, and time them."""
    rows, image = [], noise((480, 640))
    image[:, 200:] //= 4
    for classes in (13, 150):
        generator = torch.Generator().manual_seed(classes)
        maps = (3 * torch.randn(classes, 28, 37, generator=generator)).softmax(dim=0)
        given = Patches(maps, None, (28.0, 37.0), None)
        there = replace(given, probabilities=maps.to(device))
        for mode in ('fast', 'fine'):
            expected = edges.refine(given, image, mode).probabilities
            for name in ('the kernel', 'torch alone'):
                works = edges_triton._trial.works
                edges_triton._trial.works = works if name == 'the kernel' else {device: False}
                try:
                    found = edges.refine(there, image, mode).probabilities.cpu()
                    way = partial(edges.refine, there, image, mode)
                    times = [_ms(way, device) for _ in range(REPEATS)]
                finally:
                    edges_triton._trial.works = works
                same = (found.argmax(dim=0) == expected.argmax(dim=0)).float().mean()
                assert same > 0.999, f'{name}: {same:.4f} of the labels'
                rows.append((f'edges {mode}, {classes} classes, {name}', f'{_middle(times)} ms'))
    return rows


def waiting(device: torch.device) -> Rows:
    """What it costs to wait for an event without keeping a core busy."""
    rows = []
    for name, blocking in (('blocking', True), ('spinning', False)):
        times, busy = [], time.process_time()
        for _ in range(50):
            event = cuda.Event(blocking=blocking)
            cuda._sleep(2_000_000)  # about a millisecond
            event.record(cuda.current_stream(device))
            start = time.perf_counter()
            event.synchronize()
            times.append(1e3 * (time.perf_counter() - start))
        share = (time.process_time() - busy) / (sum(times) / 1e3)
        rows.append((f'a wait of the same length, {name}', f'{_middle(times)} ms, CPU {share:.0%}'))
    return rows


def second_device(make: object) -> Rows:
    """Segment on `cuda:1` while `cuda:0` is the current device; the answers must be the same."""
    first, second = make('cuda:0'), make('cuda:1')
    image, labels = noise((480, 640)), []
    for segmenter in (first, second):
        words = segmenter.encode(['grass', 'red ball', 'person'], None, 'none')
        labels += [segmenter.segment(image, words).labels for _ in range(3)]
        other = segmenter.segment(noise((480, 640), 1), words).labels
        assert not np.array_equal(other, labels[-1]), 'the answer of an earlier image came again'
    same = min(float((one == labels[0]).mean()) for one in labels[1:])
    assert same > 0.999, f'cuda:1 labels {same:.2%} as cuda:0 does'
    return [('labels of cuda:1 as those of cuda:0', f'{same:.2%}')]


def _graphs(segmenter: Segmenter) -> int:
    return len(segmenter._run._graphs)


def _middle(times: list[float]) -> str:
    return f'{statistics.median(times):.2f}, {max(times):.2f}'
