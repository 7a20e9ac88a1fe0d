# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""An image tower in 8-bit integers: the folder that `clip-dinoiser quantize` writes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clip_dinoiser_ros.core.sources import WeightsError
from clip_dinoiser_ros.core.transfer import digest_of

GRAPH, WEIGHTS, RECORD = 'tower.xml', 'tower.bin', 'quantized.json'


def tower_digest(visual: Any) -> str:
    """Return the SHA-256 of the weights of an image tower: names, shapes and float32 values."""
    digest = hashlib.sha256()
    for name, tensor in sorted(visual.state_dict().items()):
        digest.update(f'{name} {tuple(tensor.shape)}\n'.encode())
        digest.update(tensor.detach().float().contiguous().numpy().data)
    return digest.hexdigest()


def save_quantized(folder: Path, model: Any, visual: Any, report: Mapping[str, Any]) -> None:
    """Write an OpenVINO model made of a tower; the record comes last, so what it names is whole.

    Args:
        folder: Is made.
        model: `openvino.Model` with the inputs and outputs of `openvino_tower.build`.
        visual: The tower in float32.
        report: How it was made and how well it agrees; kept in the record.
    """
    import openvino

    folder.mkdir(parents=True, exist_ok=True)
    (folder / RECORD).unlink(missing_ok=True)
    openvino.save_model(model, folder / GRAPH, compress_to_fp16=False)
    record = {
        'tower': tower_digest(visual),
        'files': {name: digest_of(folder / name, 64) for name in (GRAPH, WEIGHTS)},
        'openvino': openvino.__version__,
        **report,
    }
    (folder / RECORD).write_text(json.dumps(record, indent=1) + '\n')


def load_quantized(folder: Path, visual: Any) -> Any:
    """Read what `save_quantized` wrote.

    Args:
        folder: Holds it.
        visual: The tower that is to be replaced, in float32.

    Returns:
        The `openvino.Model`.

    Raises:
        WeightsError: No such folder, a damaged file, or one made of other weights.
    """
    import openvino

    made = 'make it by `clip-dinoiser quantize`'
    try:
        record = json.loads((folder / RECORD).read_text())
        files, tower = dict(record['files']), record['tower']
        damaged = [name for name in (GRAPH, WEIGHTS) if digest_of(folder / name, 64) != files[name]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(f'quantized {str(folder)!r} cannot be read: {error}; {made}') from error
    if damaged:
        raise WeightsError(f'quantized {str(folder)!r} is damaged: {", ".join(damaged)}; {made}')
    if tower != tower_digest(visual):
        raise WeightsError(f'quantized {str(folder)!r} was made from other weights; {made} again')
    return openvino.Core().read_model(folder / GRAPH)
