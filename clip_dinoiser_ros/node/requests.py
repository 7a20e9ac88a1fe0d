# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The numbers in a request."""

from __future__ import annotations

import math
from typing import Any

from clip_dinoiser_ros.node.jobs import RefusedError


def checked(request: Any, name: str, most: float = 1.0, of_node: float | None = None) -> float:
    """Return a number of a request.

    Args:
        request: As received.
        name: Of the field.
        most: The largest value; the least is 0.
        of_node: Stands for a negative number; None: such a number is refused.

    Raises:
        RefusedError: Another value; says which are allowed.
    """
    given: float = getattr(request, name)
    if of_node is not None and given < 0:
        return of_node
    if not 0 <= given <= most:
        allowed = f'0 to {most:g}' if math.isfinite(most) else '0 or more'
        other = '' if of_node is None else ', or a negative number for the value of the node'
        raise RefusedError(f'{name} is {given:g}; allowed is {allowed}{other}')
    return given
