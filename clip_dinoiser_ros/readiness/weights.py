# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Checks of the weights, of downloading them, and of the cache folders."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from clip_dinoiser_ros.core import sources
from clip_dinoiser_ros.core.attempts import TransferError
from clip_dinoiser_ros.core.transfer import Published, reach
from clip_dinoiser_ros.readiness.finding import Finding

BRING = 'download it before the start: clip-dinoiser download'
ELSEWHERE = (
    'on a machine with a network: clip-dinoiser download DIR; then give its files as pretrained '
    'and heads'
)


def examine_weights(model: str, pretrained: str, heads: str) -> Iterator[Finding]:
    """Check the weights that the parameters select."""
    if model == 'demo':
        yield _examine_demo()
        return
    yield _examine_clip(model, pretrained)
    yield _examine_heads(heads)


def _examine_demo() -> Finding:
    try:
        from clip_dinoiser_ros.core.weights import demo_files

        return Finding('model demo', 'ok', str(Path(demo_files()['model']).parent))
    except (ImportError, ValueError) as error:
        return Finding('model demo', 'missing', str(error), 'see torch above')


def _examine_clip(model: str, pretrained: str) -> Finding:
    path = Path(pretrained)
    if not path.is_file() and (model, pretrained) not in sources.PINNED:
        text = f'{pretrained} of {model}: OpenCLIP looks for it when the node starts'
        return Finding('CLIP', 'note', text, 'give a file as pretrained to be sure')
    found = path if path.is_file() else sources.local_clip(model, pretrained)
    if found is not None:
        return Finding('CLIP', 'ok', f'{found}, {_megabytes(found.stat().st_size)}')
    parts = (sources.repository_folder(model, pretrained) / 'blobs').glob('*.part')
    return _examine_source(
        'CLIP', lambda: sources.published_clip(model, pretrained, attempts=1), parts
    )


def _examine_heads(heads: str) -> Finding:
    if not sources.is_heads_source(heads):
        if Path(heads).is_file():
            return Finding('heads', 'ok', heads)
        return Finding('heads', 'missing', f'{heads} is not a file', 'give a file, or authors')
    path, published = sources.authors_path(), sources.published_heads(heads)
    if published.is_at(path):
        return Finding('heads', 'ok', f'{path}, the content that the authors published')

    def ask() -> Published:
        if sources.is_offline():
            raise TransferError('HF_HUB_OFFLINE is set')
        return reach(published)

    return _examine_source('heads', ask, path.parent.glob(f'{path.name}.part'))


def _examine_source(about: str, ask: Callable[[], Published], parts: Iterator[Path]) -> Finding:
    """Check whether missing weights can be downloaded."""
    here = sum(part.stat().st_size for part in parts)
    arrived = f', {_megabytes(here)} of them are here' if here else ''
    try:
        published = ask()
    except (TransferError, ImportError) as error:
        text = f'not here{arrived}, and cannot be downloaded: {error}'
        return Finding(about, 'missing', text, ELSEWHERE)
    size = 'of unknown size' if published.size is None else _megabytes(published.size)
    text = f'not here; the first start downloads {size}{arrived}, from {published.url}'
    return Finding(about, 'note', text, BRING)


def examine_folders() -> Iterator[Finding]:
    """Check the folders of downloads and text embeddings."""
    cache = sources.cache_folder() / 'clip_dinoiser_ros'
    for about, folder, variable in (
        ("cache of the hub's client", sources.hub_folder(), 'HF_HOME'),
        ('cache of this package', cache, 'XDG_CACHE_HOME'),
    ):
        if _can_write(folder):
            yield Finding(about, 'ok', f'{folder}, writable')
        else:
            text = f'{folder} is not writable: nothing can be downloaded to it or cached in it'
            yield Finding(about, 'note', text, f'set {variable} to a writable folder')
    try:
        from clip_dinoiser_ros.core.embedding_cache import SWITCH, default_folder
    except ImportError:  # no torch, which is said already
        return
    embeddings = default_folder()
    text = f'off, by {SWITCH}'
    if embeddings is not None:
        text = f'{len(list(embeddings.glob("*.embedding")))} in {embeddings}'
    yield Finding('text embeddings', 'ok', text)


def _can_write(folder: Path) -> bool:
    """Whether a folder is writable, or can be created."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)


def _megabytes(size: int) -> str:
    return f'{size / 1e6:.0f} MB'
