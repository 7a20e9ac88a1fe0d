# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The class ids at the start of a node: kept from earlier runs, fixed, or freed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from clip_dinoiser_ros.frames.class_ids import ClassIds


def start_ids(
    ids: ClassIds, fixed: Mapping[str, int], largest: int, names: Sequence[str], logger: Any
) -> ClassIds:
    """Return the ids for the first vocabulary; warn which names lose theirs.

    Args:
        ids: The ids of earlier runs.
        fixed: `class_ids`.
        largest: `max_class_id`.
        names: The classes of the vocabulary.
        logger: `warning(text)` is called.
    """
    begun = fixed_ids(ids, fixed, largest, logger)
    roomy = begun.with_room(names)
    gone = [name for name in begun.known if name not in roomy.known]
    if gone:
        logger.warning(
            'all class ids are in use; the ids of the names longest unused are reused: '
            + _list(gone, begun.known)
        )
    return roomy


def fixed_ids(ids: ClassIds, fixed: Mapping[str, int], largest: int, logger: Any) -> ClassIds:
    """Return the ids with some fixed; arguments as of `start_ids`."""
    begun = ids.with_fixed(fixed, largest)
    changed = [name for name, old in ids.known.items() if begun.known.get(name) != old]
    if changed:
        logger.warning(
            'class_ids or max_class_id change ids of earlier runs, which were '
            + _list(changed, ids.known)
        )
    return begun


def _list(names: Sequence[str], ids: Mapping[str, int]) -> str:
    return ', '.join(f'{name!r} ({ids[name]})' for name in names)
