# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""CLIP by the hub's own client against a hub on loopback, the heads from there too."""

import hashlib
import importlib.util
import logging
import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from web_server import new_session, served_hub

from clip_dinoiser_ros.core import sources, transfer
from clip_dinoiser_ros.core.sources import WeightsError

MODEL = (sources.MODEL, sources.PRETRAINED)
REPOSITORY, REVISION = sources.PINNED[MODEL]
FIRST, SECOND = (f'/{REPOSITORY}/resolve/{REVISION}/{name}' for name in sources.CLIP_FILES)
CONTENT = bytes(range(256)) * 400
BLOB = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def web(monkeypatch, tmp_path):
    """A hub with CLIP and a repository with heads, and caches of this test's own."""
    with served_hub(monkeypatch, tmp_path) as web:
        web.revision = REVISION
        web.files[FIRST] = CONTENT
        yield web


def test_clip_is_brought_into_the_cache_of_the_hubs_client(web):
    from huggingface_hub import hf_hub_download

    assert sources.local_clip(*MODEL) is None
    path = sources.fetch_clip(*MODEL)
    assert path.read_bytes() == CONTENT
    assert path == sources.local_clip(*MODEL)
    assert [p.name for p in path.resolve().parent.iterdir()] == [BLOB]
    asked = len(web.requests)
    theirs = hf_hub_download(
        REPOSITORY, sources.CLIP_FILES[0], revision=REVISION, cache_dir=sources.hub_folder()
    )
    assert (Path(theirs), len(web.requests)) == (path, asked)


def test_clip_goes_on_where_it_broke_off(web, caplog):
    caplog.set_level(logging.INFO, 'clip_dinoiser_ros')
    web.breaks = [30_000, 40_000]
    assert sources.fetch_clip(*MODEL).read_bytes() == CONTENT
    parts = [part for path, part in web.gets() if path.startswith('/cdn')]
    assert parts == ['', 'bytes=30000-', 'bytes=70000-']
    assert 'downloading open_clip_model.safetensors, 0 MB' in caplog.text


def test_clip_goes_on_in_a_later_process(web, tmp_path):
    """The process that is killed reads HF_ENDPOINT, HF_HOME and the pin as a user's does."""
    web.pause_s = 0.05
    code = (
        'from clip_dinoiser_ros.core import sources, transfer\n'
        'transfer.CHUNK_BYTES = 1000\n'
        'print(sources.fetch_clip(sources.MODEL, sources.PRETRAINED))'
    )
    environment = {**os.environ, 'HF_ENDPOINT': web.url}
    part = tmp_path / 'hf/hub' / f'models--{REPOSITORY.replace("/", "--")}/blobs/{BLOB}.part'
    with subprocess.Popen([sys.executable, '-c', code], env=environment) as process:
        while not part.exists() or part.stat().st_size < 5000:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    arrived = part.stat().st_size
    web.pause_s = 0.0
    again = subprocess.run(
        [sys.executable, '-c', code], env=environment, check=True, capture_output=True, text=True
    )
    assert Path(again.stdout.strip()).read_bytes() == CONTENT
    assert ('/cdn' + FIRST, f'bytes={arrived}-') in web.gets()


def test_the_hubs_own_client_would_begin_anew(web, tmp_path):
    """Why the transfer is ours; when this fails, it may be theirs again."""
    from huggingface_hub import hf_hub_download

    blobs = sources.repository_folder(*MODEL) / 'blobs'
    blobs.mkdir(parents=True)
    for name in (f'{BLOB}.incomplete', f'{BLOB}.12345678.incomplete'):
        (blobs / name).write_bytes(CONTENT[:30_000])
    hf_hub_download(
        REPOSITORY, sources.CLIP_FILES[0], revision=REVISION, cache_dir=sources.hub_folder()
    )
    assert [part for path, part in web.gets() if path.startswith('/cdn')] == ['']


def test_a_hub_without_the_first_file(web):
    web.files[SECOND] = web.files.pop(FIRST)
    assert sources.fetch_clip(*MODEL).name == sources.CLIP_FILES[1]
    assert sources.local_clip(*MODEL).read_bytes() == CONTENT


def test_a_hub_with_neither_file(web):
    del web.files[FIRST]
    with pytest.raises(WeightsError, match=r'cannot be downloaded:.*404.*clip-dinoiser download'):
        sources.fetch_clip(*MODEL)


@pytest.mark.parametrize('status', [401, 403])
def test_a_hub_that_refuses(web, status):
    web.statuses = [status] * 9
    with pytest.raises(WeightsError, match=rf'{web.url}.*cannot|cannot be downloaded:.*{status}'):
        sources.fetch_clip(*MODEL)
    assert len(web.requests) == 1


def test_a_hub_that_is_busy_for_a_moment(web):
    web.statuses = [503, 503, 429]
    assert sources.fetch_clip(*MODEL).read_bytes() == CONTENT


def test_a_hub_that_sends_another_file(web):
    web.sends = CONTENT[::-1]
    with pytest.raises(WeightsError, match=f'another file.*{BLOB}'):
        sources.fetch_clip(*MODEL)
    assert sources.local_clip(*MODEL) is None


def test_another_revision_is_refused(web):
    web.revision = '0' * 40
    with pytest.raises(WeightsError, match=r'not a Hugging Face hub.*revision is 0000'):
        sources.fetch_clip(*MODEL)


@pytest.mark.parametrize('etag', ['', '../../../elsewhere', 'a' * 41, 'A' * 64])
def test_a_digest_that_is_none_names_no_file(web, tmp_path, etag):
    web.etag = etag
    with pytest.raises(WeightsError, match='sent no valid digest'):
        sources.fetch_clip(*MODEL)
    assert list(tmp_path.rglob('*')) == []


def test_a_login_page_is_no_hub(web):
    web.revision = None
    web.files[FIRST] = b'<!DOCTYPE html>'
    with pytest.raises(WeightsError, match=r'not a Hugging Face hub.*login page.*revision is None'):
        sources.fetch_clip(*MODEL)


def test_a_proxy_that_wants_a_password(web, monkeypatch):
    import huggingface_hub.constants as hub

    far = 'http://far.example/{repo_id}/resolve/{revision}/{filename}'
    monkeypatch.setattr(hub, 'HUGGINGFACE_CO_URL_TEMPLATE', far)
    web.password = 'robot:secret'
    monkeypatch.setenv('HTTP_PROXY', web.url)
    monkeypatch.setenv('NO_PROXY', 'localhost')
    new_session()
    with pytest.raises(WeightsError, match=r'407.*NAME:PASSWORD@HOST:PORT'):
        sources.fetch_clip(*MODEL)
    web.password = None
    monkeypatch.setenv('HTTP_PROXY', f'http://robot:secret@127.0.0.1:{web.port}')
    new_session()
    assert sources.fetch_clip(*MODEL).read_bytes() == CONTENT


def test_a_mirror_that_wants_a_token(web, monkeypatch):
    web.token = 'Bearer hf_secret'
    with pytest.raises(WeightsError, match='401'):
        sources.fetch_clip(*MODEL)
    monkeypatch.setenv('HF_TOKEN', 'hf_secret')
    assert sources.fetch_clip(*MODEL).read_bytes() == CONTENT


def test_offline_nothing_is_asked_for(web, monkeypatch):
    import huggingface_hub.constants as hub

    monkeypatch.setenv('HF_HUB_OFFLINE', '1')
    monkeypatch.setattr(hub, 'HF_HUB_OFFLINE', True)
    with pytest.raises(WeightsError, match=r'HF_HUB_OFFLINE.*clip-dinoiser download'):
        sources.fetch_clip(*MODEL)
    with pytest.raises(WeightsError, match=r'HF_HUB_OFFLINE is set and .*last.pt does not exist'):
        sources.authors_heads()
    assert web.requests == []


def test_a_cache_that_cannot_be_written(web, tmp_path, monkeypatch):
    (tmp_path / 'file').write_text('')
    monkeypatch.setenv('HF_HOME', str(tmp_path / 'file'))
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'file'))
    with pytest.raises(WeightsError, match=r'cannot be written: Not a directory.*set HF_HOME'):
        sources.fetch_clip(*MODEL)
    with pytest.raises(WeightsError, match='set XDG_CACHE_HOME'):
        sources.authors_heads()


def test_a_full_disk(web, monkeypatch):
    usage = shutil.disk_usage('/')._replace(free=10_000)
    monkeypatch.setattr(transfer.shutil, 'disk_usage', lambda _: usage)
    with pytest.raises(WeightsError, match=r'MB are missing.*make room, or set HF_HOME'):
        sources.fetch_clip(*MODEL)


def test_a_content_that_the_hubs_client_shares_is_not_damaged(web, tmp_path):
    path = sources.fetch_clip(*MODEL)
    path.resolve().rename(tmp_path / ('0' * 64))  # it names what models share in another way
    (path.parent / path.readlink()).symlink_to(tmp_path / ('0' * 64))
    asked = len(web.requests)
    assert sources.checked_clip(*MODEL) == path
    assert len(web.requests) == asked


def test_damaged_clip_is_found_and_brought_again(web, caplog):
    path = sources.checked_clip(*MODEL)
    asked = len(web.requests)
    assert sources.checked_clip(*MODEL) == path
    assert len(web.requests) == asked
    path.resolve().write_bytes(CONTENT[:-1])
    assert sources.checked_clip(*MODEL).read_bytes() == CONTENT
    assert 'is damaged and will be downloaded again' in caplog.text


@pytest.mark.parametrize(
    'variables',
    [
        {},
        {'HF_HOME': '/a'},
        {'HF_HOME': '~/a', 'XDG_CACHE_HOME': '/b'},
        {'XDG_CACHE_HOME': '/b'},
        {'HUGGINGFACE_HUB_CACHE': '/c'},
        {'HF_HUB_CACHE': '$HOME/d', 'HUGGINGFACE_HUB_CACHE': '/c', 'HF_HOME': '/a'},
    ],
)
def test_the_cache_is_where_the_hubs_client_has_it(monkeypatch, variables):
    """Its constants are read from the environment when they are imported: anew here."""
    import huggingface_hub.constants as hub

    for name in ('HF_HOME', 'XDG_CACHE_HOME', 'HF_HUB_CACHE', 'HUGGINGFACE_HUB_CACHE'):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    spec = importlib.util.spec_from_file_location('constants_anew', hub.__file__)
    anew = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(anew)
    assert str(sources.hub_folder()) == anew.HF_HUB_CACHE


def test_no_home(monkeypatch):
    """HOME is not set in a service or a container; the system knows a user's home, or has none."""
    monkeypatch.delenv('XDG_CACHE_HOME', raising=False)
    monkeypatch.delenv('HOME', raising=False)
    known = pwd.getpwuid(os.getuid()).pw_dir
    assert sources.cache_folder() == Path(known) / '.cache'

    def unknown(uid):
        raise KeyError(f'getpwuid(): uid not found: {uid}')

    monkeypatch.setattr(pwd, 'getpwuid', unknown)
    with pytest.raises(OSError, match='no home folder; set HOME or XDG_CACHE_HOME'):
        sources.cache_folder()
    monkeypatch.setenv('XDG_CACHE_HOME', '/cache')
    assert sources.cache_folder() == Path('/cache')
