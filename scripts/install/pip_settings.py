# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The settings of pip, passed on to uv.

uv does not read pip's configuration. A machine that is set up for pip (a private index, a proxy, a
folder of wheels, a certificate) would have to be set up twice.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path

from runs import run

# If an option is set several times, pip takes the last of these.
_SECTIONS = ('global', 'install', ':env:')


def uv_settings(python: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Translate the settings of the pip of `python` to variables of uv; existing ones stay."""
    options = pip_options(python, environment)
    settings = {
        'UV_FIND_LINKS': ','.join(options.get('find-links', '').split()),
        'UV_INSECURE_HOST': ' '.join(options.get('trusted-host', '').split()),
        'UV_NO_INDEX': '1' if options.get('no-index', '').lower() in ('1', 'true', 'yes') else '',
        'UV_HTTP_TIMEOUT': options.get('timeout', options.get('default-timeout', '')),
        'SSL_CERT_FILE': options.get('cert', ''),
        'ALL_PROXY': options.get('proxy', ''),
    }
    if not environment.keys() & {'UV_INDEX_URL', 'UV_DEFAULT_INDEX'}:
        settings['UV_DEFAULT_INDEX'] = options.get('index-url', '')
    if not environment.keys() & {'UV_EXTRA_INDEX_URL', 'UV_INDEX'}:
        settings['UV_INDEX'] = ' '.join(options.get('extra-index-url', '').split())
        # pip takes a version from any index; the hashes ensure that the file is right
        settings['UV_INDEX_STRATEGY'] = 'unsafe-best-match' if settings['UV_INDEX'] else ''
    return {name: value for name, value in settings.items() if value and name not in environment}


def pip_options(python: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Ask pip for its settings: files and variables, the later over the earlier."""
    listed = run([python, '-m', 'pip', 'config', 'list'], environment, quiet=True)
    found: dict[str, dict[str, str]] = {section: {} for section in _SECTIONS}
    for line in listed.output.splitlines():
        key, _, value = line.partition('=')
        section, _, option = key.rpartition('.')
        if section in found:
            found[section][option] = ast.literal_eval(value)
    return {option: value for section in _SECTIONS for option, value in found[section].items()}
