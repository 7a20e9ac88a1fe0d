# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Features and texts as a mapper reads them, as the documentation says."""

import numpy as np
from clip_dinoiser_ros.msg import DenseFeatures

from clip_dinoiser_ros.core.dinoiser import DELTA


def vectors_of(message):
    """Read features as the documentation says: (h, w, d)."""
    vectors = np.frombuffer(bytes(message.features), '<f2').astype(np.float64)
    return vectors.reshape(message.height, message.width, message.dimension)


def encode(peer, texts):
    """Ask the node; return vectors, float64 (K, d), and their digest."""
    answer = peer.ask('encode_text', texts=texts)
    assert answer.success, answer.message
    vectors = np.array(answer.vectors, np.float64).reshape(len(texts), answer.dimension)
    return vectors, answer.model_digest


def probabilities(message, texts, background):
    """Compute what the documentation says of features and texts: float64 (K, h, w)."""
    scores = DenseFeatures.TEMPERATURE * np.einsum('kd,hwd->khw', texts, vectors_of(message))
    found = np.exp(scores - scores.max(axis=0))
    found /= found.sum(axis=0)
    objectness = np.reshape(message.objectness, (message.height, message.width))
    found[background, (found.max(axis=0) < DELTA) & (objectness <= 0.5)] = 1.0
    return found
