# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""What computes the image tower: torch, or OpenVINO where it is faster."""

from clip_dinoiser_ros.core.engines.choice import (
    ENGINES,
    Engine,
    cpu_has_bf16,
    find_engine,
    make_tower,
)

__all__ = ['ENGINES', 'Engine', 'cpu_has_bf16', 'find_engine', 'make_tower']
