# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Text embeddings on disk, so that prompts are encoded only once, even after a restart."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from clip_dinoiser_ros.core.sources import cache_folder

SWITCH = 'CLIP_DINOISER_CACHE'  # environment variable; 'off' disables the cache in every program
MAX_FILES = 10_000  # 40 MB; beyond that, the oldest are deleted
_FORMAT = b'clip_dinoiser_ros embedding 1\n'
_DIGEST_BYTES = hashlib.sha256().digest_size

_log = logging.getLogger(__name__)


def default_folder() -> Path | None:
    """Return the folder of the embeddings, in $XDG_CACHE_HOME or ~/.cache; None: switched off."""
    if os.environ.get(SWITCH, '').lower() == 'off':
        return None
    return cache_folder() / 'clip_dinoiser_ros' / 'embeddings'


class EmbeddingCache:
    """One small file for each text, named by everything that its embedding depends on.

    A file holds a checksum of its name and its numbers. A file that is damaged, truncated or
    renamed counts as missing. Files are written under another name and then moved, so any number
    of processes may write at once. If the disk fails, there is one warning, and texts are encoded
    again.

    Args:
        folder: Made when the first embedding is written.
        model: Names the text tower; see `fingerprint`.
    """

    def __init__(self, folder: Path, model: bytes) -> None:
        self._folder = folder
        self._model = model
        self._failed = False
        self._counted = False

    def get(self, text: str, sentences: Iterable[str]) -> npt.NDArray[np.float32] | None:
        """Return the embedding (C,) of a text in these sentences; None: not known."""
        key = self._key(text, sentences)
        try:
            content = self._path(key).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            self._warn(error)
            return None
        start = len(_FORMAT) + _DIGEST_BYTES
        numbers = content[start:]
        if content[:start] != _FORMAT + _checksum(key, numbers) or not numbers:
            return None  # and written again when the text has been encoded
        return np.frombuffer(numbers, '<f4').astype(np.float32)

    def put(self, text: str, sentences: Iterable[str], embedding: npt.NDArray[np.float32]) -> None:
        """Store the embedding (C,) of a text in these sentences."""
        key = self._key(text, sentences)
        numbers = embedding.astype('<f4').tobytes()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._forget_oldest()
            with tempfile.NamedTemporaryFile(dir=self._folder, delete=False) as file:
                try:
                    file.write(_FORMAT + _checksum(key, numbers) + numbers)
                    file.close()
                    Path(file.name).replace(self._path(key))
                except BaseException:
                    Path(file.name).unlink(missing_ok=True)
                    raise
        except OSError as error:
            self._warn(error)

    def _path(self, key: bytes) -> Path:
        return self._folder / f'{key.hex()}.embedding'

    def _key(self, text: str, sentences: Iterable[str]) -> bytes:
        """Return the file name of an embedding: a digest of weights, text and sentences."""
        key = hashlib.sha256(self._model)
        for part in (text, *sentences):
            encoded = part.encode()
            key.update(b'%d:' % len(encoded) + encoded)
        return key.digest()

    def _forget_oldest(self) -> None:
        """Delete the oldest files above the limit; checked once per process."""
        if self._counted:
            return
        self._counted = True
        files = list(self._folder.glob('*.embedding'))
        if len(files) > MAX_FILES:
            files.sort(key=lambda path: path.stat().st_mtime)
            for path in files[: len(files) - MAX_FILES // 2]:
                path.unlink(missing_ok=True)

    def _warn(self, error: OSError) -> None:
        if not self._failed:
            _log.warning('text embeddings are not cached on disk: %s', error)
        self._failed = True


def _checksum(key: bytes, numbers: bytes) -> bytes:
    return hashlib.sha256(key + numbers).digest()


def fingerprint(model: nn.Module) -> bytes:
    """Return a digest of everything that decides what a model computes from a text.

    It leaves out the weights of the image tower, which have no influence and are converted later.
    """
    digest = hashlib.sha256(_FORMAT)
    for name, tensor in sorted(model.state_dict().items()):
        if name.startswith('visual.'):
            continue
        digest.update(f'{name} {tuple(tensor.shape)} {tensor.dtype}\n'.encode())
        content = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
        digest.update(content.numpy().data)
    return digest.digest()
