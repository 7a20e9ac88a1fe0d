# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""What is wanting in a lock: every requirement of every package followed, without an index."""

import re
from dataclasses import dataclass, field

from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


@dataclass
class Gaps:
    """What following the requirements has found; all empty for a lock as it should be."""

    missing: list[str] = field(default_factory=list)  # required, and not or otherwise pinned
    unrecorded: set[str] = field(
        default_factory=set
    )  # pins of which it is not known what they require
    superfluous: set[str] = field(default_factory=set)  # pinned, and not required


def marker_environment(python):
    return {
        'sys_platform': 'linux',
        'platform_system': 'Linux',
        'platform_machine': 'x86_64',
        'os_name': 'posix',
        'implementation_name': 'cpython',
        'platform_python_implementation': 'CPython',
        'python_version': python,
        'python_full_version': f'{python}.0',
    }


def pins(lock, python):
    """The versions that a lock, as text, pins on a Python, by name."""
    found = {}
    for line in lock.replace('\\\n', ' ').splitlines():
        if line and not line.startswith('#'):
            requirement = Requirement(re.sub(r'\s*--hash=\S+', '', line))
            if _holds(requirement.marker, python):
                (pin,) = requirement.specifier
                assert pin.operator == '=='
                found[canonicalize_name(requirement.name)] = pin.version
    return found


def gaps(lists, lock, recorded, python):
    """Follow the requirements from the lists to the last package.

    Args:
        lists: The lines of the requirement lists.
        lock: The text of the lock.
        recorded: What the pinned packages require, as requirements/requires.json has it.
        python: Such as '3.12'.
    """
    pinned = pins(lock, python)
    found = Gaps()
    reached = set()
    todo = [(Requirement(line), 'the lists', ()) for line in lists]
    while todo:
        requirement, by, extras = todo.pop()
        if not any(_holds(requirement.marker, python, extra) for extra in ('', *extras)):
            continue
        name = canonicalize_name(requirement.name)
        version = pinned.get(name)
        if version is None or not requirement.specifier.contains(version, prereleases=True):
            found.missing.append(f'{requirement} of {by}')
            continue
        for extra in ('', *sorted(requirement.extras)):
            if (name, extra) in reached:
                continue
            reached.add((name, extra))
            pin = f'{name}=={version}'
            entry = _entry(recorded, pin, python)
            if entry is None:
                found.unrecorded.add(pin)
            elif extra and canonicalize_name(extra) not in map(canonicalize_name, entry['extras']):
                found.missing.append(f'extra {extra} of {pin}, wanted by {by}')
            else:
                todo += [(Requirement(line), pin, (extra,)) for line in entry['requires']]
    found.superfluous = pinned.keys() - {name for name, _ in reached}
    return found


def _entry(recorded, pin, python):
    return next((e for e in recorded.get(pin, ()) if python in e['pythons']), None)


def _holds(marker: Marker | None, python, extra=''):
    return marker is None or marker.evaluate({**marker_environment(python), 'extra': extra})
