# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""What the package says by Python's logging is in the node's log."""

from harness import NodeProcess
from web_server import served


def test_a_download_is_in_the_log(parameters, tmp_path, monkeypatch):
    """Slow, broken off once, and not the authors' file in the end."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    for name in ('http_proxy', 'HTTP_PROXY', 'HF_HUB_OFFLINE'):
        monkeypatch.delenv(name, raising=False)
    with served() as web:
        web.files['/heads'] = bytes(7_000_000)
        web.breaks = [3_000_000]
        url = f'{web.url}/heads'
        with NodeProcess({**parameters, 'heads': url}, tmp_path) as node:
            node.wait_for_log(f"cannot configure: '{url}' cannot be downloaded")
            assert 'downloading heads, 7 MB\n' in node.log
            assert 'downloading heads, 7 MB, 3 MB of them are here' in node.log
            assert sum('heads: ' in line and ' MB/s, ' in line for line in node.lines) >= 8
            warning = next(line for line in node.lines if 'broke off after 3000000' in line)
            assert warning.startswith('[WARN]')
            assert node.end() == 0
