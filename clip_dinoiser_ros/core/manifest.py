# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The SHA-256 of shipped files, so that a damaged or replaced file is not loaded.

`make manifest` updates the list after the files change.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

MANIFEST = 'manifest.json'
_SUFFIXES = ('.json', '.safetensors')


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def listed_files(folder: Path) -> list[str]:
    """Return the names of the files that the manifest of a folder has to list."""
    return sorted(
        path.name for path in folder.iterdir() if path.suffix in _SUFFIXES and path.name != MANIFEST
    )


def write_manifest(folder: Path) -> None:
    """Write the manifest of the files that are in a folder now."""
    content = {name: sha256(folder / name) for name in listed_files(folder)}
    (folder / MANIFEST).write_text(json.dumps(content, indent=2) + '\n')


def changed_files(folder: Path, names: Iterable[str]) -> list[str]:
    """Return the names of files that are missing or differ from the manifest.

    Args:
        folder: Holds the files and their manifest; without a manifest, every file differs.
        names: Files in the folder.
    """
    manifest = folder / MANIFEST
    listed = json.loads(manifest.read_text()) if manifest.is_file() else {}
    return [
        name
        for name in names
        if not (folder / name).is_file() or sha256(folder / name) != listed.get(name)
    ]
