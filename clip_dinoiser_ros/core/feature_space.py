# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The space in which features of images and vectors of texts are compared, and shorter ones of it.

A shorter space keeps the directions in which the features of a recording are long: a PCA without
subtraction of the mean, since what counts is the product of a feature with a text.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

LEAST_DIMENSION = 64
PROBE = 'a photo'  # its vector tells whether a file belongs to the model
_LEAST_COSINE = 0.99  # of two vectors of the probe; the precision changes a thousandth
_TENSORS = {'components', 'probe'}


class FeatureSpaceError(ValueError):
    """A file or a dimension that cannot be used; says what was given and what is allowed."""


@dataclass(frozen=True, eq=False)
class FeatureSpace:
    """The space of features and text vectors.

    Attributes:
        digest: Of the model and the components, in hexadecimal: vectors of equal digests can be
            compared.
        components: float32 (C, D), orthonormal columns; None: vectors stay as they are.
    """

    digest: str
    components: npt.NDArray[np.float32] | None = None

    def project(self, vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Bring vectors of the model into this space: float32 (..., C) -> (..., D).

        Vectors become shorter. A text must stay as short as it is then: its length is the part of
        it that features can show.
        """
        return vectors if self.components is None else vectors @ self.components

    def project_features(self, vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Bring features of unit length into this space, and to unit length again."""
        if self.components is None:
            return vectors
        found = self.project(vectors)
        length = np.linalg.norm(found, axis=-1, keepdims=True)
        unit: npt.NDArray[np.float32] = found / length.clip(min=1e-12)
        return unit


def save_components(
    path: Path, components: npt.NDArray[np.float32], probe: Tensor, about: Mapping[str, Any]
) -> None:
    """Write components that `shorter_space` reads.

    Args:
        path: A .safetensors file.
        components: float32 (C, C), orthonormal columns, the most important first.
        probe: float32 (C,), vector of `PROBE` in no template.
        about: How they were made; goes into the header of the file as JSON.
    """
    from safetensors.torch import save_file

    tensors = {'components': torch.from_numpy(components.copy()), 'probe': probe.cpu().clone()}
    save_file(tensors, path, {'about': json.dumps(about, ensure_ascii=False)})


def shorter_space(digest: str, probe: Tensor, path: str | Path, dimension: int) -> FeatureSpace:
    """Return the space of a model in fewer dimensions.

    Args:
        digest: Of the model.
        probe: float32 (C,), vector of `PROBE` by the model.
        path: File with the components; empty: none.
        dimension: `LEAST_DIMENSION` to C; 0: C.

    Raises:
        FeatureSpaceError: A dimension that is not allowed or needs a file, a file that cannot be
            read or belongs to another model.
    """
    width = len(probe)
    if not path and dimension in (0, width):
        return FeatureSpace(digest)
    if not LEAST_DIMENSION <= dimension <= width:
        raise FeatureSpaceError(
            f'feature_dim is {dimension}; must be {LEAST_DIMENSION} to {width} for this model'
            + ', or 0 without feature_pca'
        )
    if not path:
        raise FeatureSpaceError(
            f'feature_dim is {dimension} and feature_pca is empty; give the file that '
            '`clip-dinoiser adapt --pca` wrote'
        )
    components = _read_components(Path(path), probe)[:, :dimension].copy()
    whole = hashlib.sha256(digest.encode() + components.tobytes())
    return FeatureSpace(whole.hexdigest(), components)


def _read_components(path: Path, probe: Tensor) -> npt.NDArray[np.float32]:
    """Read the components (C, C) of the model that gives `probe` (C,)."""
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
    except Exception as error:  # readers raise many types
        raise FeatureSpaceError(f'feature_pca {str(path)!r} cannot be read: {error}') from error
    width = len(probe)
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if shapes.keys() != _TENSORS:
        raise FeatureSpaceError(
            f'feature_pca {str(path)!r} has the tensors {", ".join(sorted(shapes)) or "none"}; '
            f'it must have {", ".join(sorted(_TENSORS))}'
        )
    if shapes != {'components': (width, width), 'probe': (width,)} or (
        float(tensors['probe'].float() @ probe.cpu()) < _LEAST_COSINE
    ):
        raise FeatureSpaceError(
            f'feature_pca {str(path)!r} was made with another model; run `clip-dinoiser adapt '
            '--pca` with the model of the node'
        )
    return tensors['components'].float().numpy()
