# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Where the published weights (CLIP, the authors' heads) come from and where they are stored.

This module does not need torch.
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path

from clip_dinoiser_ros.core.attempts import ATTEMPTS, TransferError, persist, status_of
from clip_dinoiser_ros.core.transfer import DiskError, Published, digest_of, fetch

AUTHORS = 'authors'  # stands for the heads published with the paper
AUTHORS_URL = (
    'https://raw.githubusercontent.com/wysoczanska/clip_dinoiser/'
    'a954aae6fb61f5ff18834e50a0c78a2258cd9afb/checkpoints/last.pt'
)
AUTHORS_BLOB = '0b6c94d9c439ebac7bcb07fe805be3654ea03c7f'  # git's id of that file's content
AUTHORS_FILE = 'last.pt'

MODEL, PRETRAINED = 'ViT-B-16', 'laion2b_s34b_b88k'  # of the paper
# OpenCLIP loads the newest revision of a repository; these are the revisions that we know
PINNED = {
    (MODEL, PRETRAINED): (
        'laion/CLIP-ViT-B-16-laion2B-s34B-b88K',
        '7288da5a0d6f0b51c4a2b27c624837a9236d0112',
    ),
}
# of a repository, in the order in which OpenCLIP looks for them
CLIP_FILES = ('open_clip_model.safetensors', 'open_clip_pytorch_model.bin')

_log = logging.getLogger(__name__)


class WeightsError(ValueError):
    """Weights cannot be found or used; the message says why and what to do."""


def cache_folder() -> Path:
    """Return the user's cache folder: $XDG_CACHE_HOME, or ~/.cache.

    Raises:
        FileNotFoundError: The user has no home, as in a container with a numeric user.
    """
    given = os.environ.get('XDG_CACHE_HOME')
    try:
        return Path(given) if given else Path.home() / '.cache'
    except RuntimeError as error:
        raise FileNotFoundError(
            'this user has no home folder; set HOME or XDG_CACHE_HOME to a writable folder'
        ) from error


def is_offline() -> bool:
    """Return whether HF_HUB_OFFLINE forbids the network, as the hub's client reads it."""
    value = os.environ.get('HF_HUB_OFFLINE') or os.environ.get('TRANSFORMERS_OFFLINE') or ''
    return value.upper() in ('1', 'ON', 'YES', 'TRUE')


def hub_folder() -> Path:
    """Return the model folder of the hub's client, without importing the client."""
    home = os.environ.get('HF_HOME', cache_folder() / 'huggingface')
    older = os.environ.get('HUGGINGFACE_HUB_CACHE', Path(home) / 'hub')
    folder = os.environ.get('HF_HUB_CACHE', older)
    return Path(os.path.expandvars(folder)).expanduser()


def repository_folder(model: str, pretrained: str) -> Path:
    """Return the folder of a pinned model's repository in the hub's cache."""
    repository, _ = PINNED[model, pretrained]
    return hub_folder() / f'models--{repository.replace("/", "--")}'


def local_clip(model: str, pretrained: str) -> Path | None:
    """Return the weights file of a pinned model, downloaded earlier; None: there is none."""
    if (model, pretrained) not in PINNED:
        return None
    _, revision = PINNED[model, pretrained]
    folder = repository_folder(model, pretrained) / 'snapshots' / revision
    return next((folder / name for name in CLIP_FILES if (folder / name).is_file()), None)


def published_clip(model: str, pretrained: str, attempts: int = ATTEMPTS) -> Published:
    """Ask the hub for a pinned model's weights file: the first of `CLIP_FILES` that it has.

    Raises:
        TransferError: The hub does not answer, or has neither file.
    """
    first, second = CLIP_FILES
    try:
        return _ask_hub(*PINNED[model, pretrained], first, attempts)
    except TransferError as error:
        if error.__cause__ is None or status_of(error.__cause__) != 404:
            raise
    return _ask_hub(*PINNED[model, pretrained], second, attempts)


def _ask_hub(repository: str, revision: str, name: str, attempts: int) -> Published:
    """Ask for a file; the hub's client handles HF_ENDPOINT, a token and offline mode."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    url = hf_hub_url(repository, name, revision=revision)
    try:
        metadata = persist(url, lambda: get_hf_file_metadata(url), attempts=attempts)
    except TransferError as error:
        raise TransferError(f'{url}: {error}') from error.__cause__
    if metadata.commit_hash != revision:
        raise TransferError(
            f'the server of {url} is not a Hugging Face hub (wrong HF_ENDPOINT, or a login page of '
            f'the network?): its revision is {metadata.commit_hash}'
        )
    digest = metadata.etag or ''
    if not re.fullmatch('[0-9a-f]{40}|[0-9a-f]{64}', digest):  # it is also used as a file name
        raise TransferError(f'the server of {url} sent no valid digest: {digest!r}')
    return Published(url, digest, metadata.size, build_hf_headers())


def fetch_clip(model: str, pretrained: str) -> Path:
    """Download a pinned model's weights file into the hub's cache; return its path.

    Since version 1.18, the hub's client restarts a broken download from zero. So it only names the
    file and adds the finished download to its cache.

    Raises:
        WeightsError: The download failed; the message says why and what to do.
    """
    from huggingface_hub import hf_hub_download

    repository, revision = PINNED[model, pretrained]
    try:
        published = published_clip(model, pretrained)
        fetch(published, repository_folder(model, pretrained) / 'blobs' / published.digest)
        entry = hf_hub_download(
            repository, published.name, revision=revision, cache_dir=hub_folder()
        )
        return Path(entry)
    except Exception as error:  # over time the hub's client has used three libraries
        raise _cannot_come(pretrained, 'HF_HOME', error) from error


def checked_clip(model: str, pretrained: str) -> Path:
    """Return a pinned model's weights file after checking its content; download it if necessary.

    Raises:
        WeightsError: As `fetch_clip`.
    """
    path = local_clip(model, pretrained)
    if path is not None:
        # the entry is a link to a file named by its digest, which may itself be a link
        blob = path.parent / path.readlink() if path.is_symlink() else path
        if digest_of(blob, len(blob.name)) in ('', blob.name):
            return path
        _log.warning('%s is damaged and will be downloaded again', path)
        blob.unlink()
        path.unlink(missing_ok=True)
    return fetch_clip(model, pretrained)


def _cannot_come(what: str, variable: str, error: Exception) -> WeightsError:
    advice = (
        'on a machine without a network, run `clip-dinoiser download DIR` elsewhere and give its '
        'files as pretrained and heads'
    )
    if isinstance(error, DiskError):
        advice = f'make room, or set {variable} to a folder that can be written'
    reason = ' '.join(str(error).split())
    return WeightsError(f'{what!r} cannot be downloaded: {reason}; {advice}')


def authors_path() -> Path:
    """Return the path of the authors' heads in the cache."""
    return cache_folder() / 'clip_dinoiser_ros' / AUTHORS_FILE


def published_heads(heads: str = AUTHORS) -> Published:
    """Return the URL of the authors' heads: their repository, or a mirror."""
    return Published(AUTHORS_URL if heads == AUTHORS else heads, AUTHORS_BLOB)


def is_heads_source(heads: str) -> bool:
    """Return whether `heads` means the authors' file: its name, or the URL of a mirror."""
    return heads == AUTHORS or heads.startswith(('http://', 'https://'))


def authors_heads(heads: str = AUTHORS) -> Path:
    """Return the path of the authors' heads, downloaded to the user's cache when missing.

    Args:
        heads: 'authors', or the URL of a mirror, which must send the authors' file.

    Raises:
        WeightsError: The download failed; the message says why and what to do.
    """
    path, published = authors_path(), published_heads(heads)
    try:
        if published.is_at(path):
            return path
        if is_offline():
            raise TransferError(f'HF_HUB_OFFLINE is set and {path} does not exist')
        if path.is_file():  # damaged
            path.unlink()
        fetch(published, path)
    except OSError as error:
        raise _cannot_come(heads, 'XDG_CACHE_HOME', error) from error
    return path


def is_authors_file(path: Path) -> bool:
    """Return whether a file equals the one that the authors published."""
    return digest_of(path, len(AUTHORS_BLOB)) == AUTHORS_BLOB
