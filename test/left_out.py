# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Names the tests marked long that a run left out, in its last lines."""

from __future__ import annotations

import pytest

KEY = 'left_out'
_names: set[str] = set()


def pytest_deselected(items):
    if items and 'long' in items[0].config.option.markexpr:  # not by `-k`
        _names.update(item.nodeid for item in items if item.get_closest_marker('long'))


def pytest_sessionfinish(session):
    output = getattr(session.config, 'workeroutput', None)
    if output is not None:  # with `-n` only the workers know what they left out
        output[KEY] = sorted(_names)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    _names.update(getattr(node, 'workeroutput', {}).get(KEY, []))


def pytest_terminal_summary(terminalreporter):
    names = sorted({name.partition('[')[0] for name in _names})
    if names:
        terminalreporter.section(f'{len(_names)} long tests left out; make test-all runs them')
        for name in names:
            terminalreporter.line(name)
