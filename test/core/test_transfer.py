# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""A file comes whole and as published, whatever the server does, or it is said why not."""

import fcntl
import hashlib
import logging
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest
import web_server
from web_server import served

from clip_dinoiser_ros.core import attempts, progress, transfer
from clip_dinoiser_ros.core.attempts import TransferError
from clip_dinoiser_ros.core.transfer import Published, digest_of, fetch

CONTENT = bytes(range(256)) * 400  # 102400 bytes
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def web(monkeypatch):
    monkeypatch.setattr(attempts, 'PAUSE_S', 0.01)
    for name in ('http_proxy', 'https_proxy', 'HTTP_PROXY', 'HTTPS_PROXY'):
        monkeypatch.delenv(name, raising=False)
    with served() as web:
        web.files['/file'] = CONTENT
        yield web


@pytest.fixture
def target(tmp_path):
    return tmp_path / 'folder' / 'file'


def published(web, digest=DIGEST, size=None):
    return Published(f'{web.url}/file', digest, size)


def part_of(target):
    return target.with_name('file.part')


def test_digests(tmp_path):
    file = tmp_path / 'file'
    file.write_bytes(b'hello\n')
    assert digest_of(file, 40) == 'ce013625030ba8dba906f756967f9e9ca394464a'  # git hash-object
    assert digest_of(file, 64) == hashlib.sha256(b'hello\n').hexdigest()
    assert digest_of(file, 7) == ''


@pytest.mark.parametrize('size', [None, len(CONTENT)])
def test_a_whole_file(web, target, size):
    fetch(published(web, size=size), target)
    assert target.read_bytes() == CONTENT
    assert [p.name for p in target.parent.iterdir()] == ['file']
    assert web.gets() == [('/file', '')]


def test_a_broken_download_goes_on_where_it_was(web, target):
    web.breaks = [30_000, 0, 50_000]
    fetch(published(web), target)
    assert target.read_bytes() == CONTENT
    assert [part for _, part in web.gets()] == ['', 'bytes=30000-', 'bytes=30000-', 'bytes=80000-']


def test_any_number_of_breaks_that_bring_something(web, target):
    web.breaks = [10_000] * 10
    fetch(published(web), target)
    assert target.read_bytes() == CONTENT
    assert len(web.gets()) == 11 > attempts.ATTEMPTS


def test_breaks_that_bring_nothing_are_the_end_until_the_next_start(web, target):
    web.breaks = [30_000] + [0] * 5
    with pytest.raises(TransferError, match='broke off after 30000 of 102400 bytes'):
        fetch(published(web), target)
    assert not target.exists()
    assert part_of(target).read_bytes() == CONTENT[:30_000]
    fetch(published(web), target)
    assert target.read_bytes() == CONTENT
    assert web.gets()[-1] == ('/file', 'bytes=30000-')


def test_a_server_that_knows_no_ranges_sends_all_again(web, target):
    web.ranges, web.breaks = False, [30_000]
    fetch(published(web), target)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize('size', [None, len(CONTENT)])
def test_partial_file_that_is_already_complete(web, target, size):
    target.parent.mkdir()
    part_of(target).write_bytes(CONTENT)
    fetch(published(web, size=size), target)
    assert target.read_bytes() == CONTENT
    assert (web.gets() == []) == (size is not None)


@pytest.mark.parametrize('earlier', [b'damaged' * 100, b'longer' * 100_000])
def test_damaged_partial_file_is_downloaded_again(web, target, earlier):
    target.parent.mkdir()
    part_of(target).write_bytes(earlier)
    fetch(published(web), target)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize('status', [408, 429, 500, 502, 503, 504])
def test_a_status_that_passes(web, target, status):
    web.statuses = [status, status]
    fetch(published(web), target)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize('status', [401, 403, 404, 410])
def test_a_status_that_lasts_is_said_at_once(web, target, status):
    web.statuses = [status] * 9
    with pytest.raises(TransferError, match=f'HTTP Error {status}'):
        fetch(published(web), target)
    assert len(web.gets()) == 1


def test_a_status_that_does_not_pass(web, target):
    web.statuses = [503] * 9
    with pytest.raises(TransferError, match='HTTP Error 503'):
        fetch(published(web), target)
    assert len(web.gets()) == attempts.ATTEMPTS


@pytest.mark.parametrize(
    ('content', 'said'), [(b'x' * 102_400, 'another file'), (b'\n<!DOCTYPE html>', 'a web page')]
)
def test_another_file_is_not_kept(web, target, content, said):
    web.files['/file'] = content
    with pytest.raises(TransferError, match=f'{DIGEST}.*|.*{said}') as raised:
        fetch(published(web), target)
    assert said in str(raised.value)
    assert DIGEST in str(raised.value)
    assert not target.exists()
    assert part_of(target).read_bytes() == b''


def test_a_size_that_is_not_the_published_one(web, target):
    with pytest.raises(TransferError, match='announces 102400 bytes, the file must have 99'):
        fetch(published(web, size=99), target)


@pytest.mark.parametrize(
    ('length', 'said'), [(99, 'another file'), (200_000, 'broke off after 102400 of 200000 bytes')]
)
def test_a_length_that_is_a_lie(web, target, length, said):
    web.length, web.ranges = length, False
    with pytest.raises(TransferError, match=said):
        fetch(published(web), target)
    assert not target.exists()


def test_silent_server_times_out(web, target, monkeypatch):
    monkeypatch.setattr(transfer, 'TIMEOUT_S', 0.05)
    web.pause_s = 0.5
    with pytest.raises(TransferError, match='timed out'):
        fetch(published(web), target)
    web.pause_s = 0.0
    fetch(published(web), target)
    assert target.read_bytes() == CONTENT


def test_nobody_answers(web, target):
    with pytest.raises(TransferError, match='Connection refused'):
        fetch(Published('http://127.0.0.1:9/file', DIGEST), target)


def test_a_file_of_this_machine_is_no_published_one(tmp_path, target):
    (tmp_path / 'file').write_bytes(CONTENT)
    with pytest.raises(TransferError, match='not an http or https address'):
        fetch(Published(f'file://{tmp_path}/file', DIGEST), target)


def test_a_proxy_that_wants_a_password(web, target, monkeypatch):
    web.password = 'robot:secret'
    source = Published('http://far.example/file', DIGEST)
    monkeypatch.setenv('http_proxy', web.url)
    with pytest.raises(TransferError, match=r'407.*HTTPS_PROXY=http://NAME:PASSWORD@HOST:PORT'):
        fetch(source, target)
    monkeypatch.setenv('http_proxy', f'http://robot:secret@127.0.0.1:{web.port}')
    fetch(source, target)
    assert target.read_bytes() == CONTENT
    assert web.gets()[-1] == ('http://far.example/file', '')


def test_a_proxy_for_https_that_wants_a_password(web, target, monkeypatch):
    web.password = 'robot:secret'
    monkeypatch.setenv('https_proxy', web.url)
    with pytest.raises(TransferError, match=r'407.*NAME:PASSWORD@HOST:PORT'):
        fetch(Published('https://far.example/file', DIGEST), target)
    assert [(method, path) for method, path, _ in web.requests] == [('CONNECT', 'far.example:443')]


def test_hosts_that_need_no_proxy(web, target, monkeypatch):
    monkeypatch.setenv('http_proxy', 'http://127.0.0.1:9')
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    fetch(published(web), target)
    assert target.read_bytes() == CONTENT


def test_no_room_is_said_before_it_is_full(web, target, monkeypatch):
    usage = shutil.disk_usage(web_server.__file__)._replace(free=2_000_000)
    monkeypatch.setattr(transfer.shutil, 'disk_usage', lambda _: usage)
    web.files['/file'] = bytes(10_000_000)
    with pytest.raises(transfer.DiskError, match=r'10 MB are missing, .* has room for 2 MB'):
        fetch(published(web), target)


def test_a_disk_that_is_full_all_the_same(web, target):
    """A limit on the size of files stands for a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with pytest.raises(transfer.DiskError, match=r'file\.part cannot be written: File too l'):
            fetch(published(web), target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    arrived = part_of(target).stat().st_size
    fetch(published(web), target)
    assert target.read_bytes() == CONTENT
    assert arrived == 50_000
    assert web.gets()[-1] == ('/file', 'bytes=50000-')


def test_a_folder_that_cannot_be_made(web, tmp_path):
    (tmp_path / 'folder').write_text('a file')
    with pytest.raises(transfer.DiskError, match='cannot be written'):
        fetch(published(web), tmp_path / 'folder' / 'file')


def test_killed_and_started_again(web, target):
    web.pause_s = 0.05
    code = (
        'import sys; from pathlib import Path; from clip_dinoiser_ros.core import transfer\n'
        'transfer.CHUNK_BYTES = 1000\n'
        'transfer.fetch(transfer.Published(*sys.argv[1:3]), Path(sys.argv[3]))'
    )
    command = [sys.executable, '-c', code, f'{web.url}/file', DIGEST, str(target)]
    with subprocess.Popen(command) as process:
        while not part_of(target).exists() or part_of(target).stat().st_size < 5000:
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
    arrived = part_of(target).stat().st_size
    web.pause_s = 0.0
    fetch(published(web), target)
    assert target.read_bytes() == CONTENT
    assert web.gets()[-1] == ('/file', f'bytes={arrived}-')


def test_several_want_the_same_file(web, target, caplog):
    caplog.set_level(logging.INFO, 'clip_dinoiser_ros')
    web.pause_s = 0.005
    threads = [threading.Thread(target=fetch, args=(published(web), target)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert target.read_bytes() == CONTENT
    assert len(web.gets()) == 1
    assert 'another process is downloading it; waiting' in caplog.text


def test_a_file_system_without_locks(web, target, monkeypatch):
    def flock(*_):
        raise OSError(37, 'No locks available')

    monkeypatch.setattr(fcntl, 'flock', flock)
    fetch(published(web), target)
    assert target.read_bytes() == CONTENT


@pytest.mark.skipif(shutil.which('openssl') is None, reason='no openssl to make a certificate')
def test_a_certificate_that_is_not_trusted(target, tmp_path, monkeypatch, caplog):
    """As where a proxy opens connections, until SSL_CERT_FILE says that it may."""
    file = tmp_path / 'both.pem'
    making = (
        'openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=a -addext subjectAltName=IP:127.0.0.1'
    )
    subprocess.run([*making.split(), '-keyout', file, '-out', tmp_path / 'cert.pem'], check=True)
    file.write_bytes(file.read_bytes() + (tmp_path / 'cert.pem').read_bytes())
    with served(file) as web:
        web.files['/file'] = CONTENT
        source = Published(f'https://127.0.0.1:{web.port}/file', DIGEST)
        with pytest.raises(TransferError, match='CERTIFICATE_VERIFY_FAILED'):
            fetch(source, target)
        assert 'trying again' not in caplog.text
        monkeypatch.setenv('SSL_CERT_FILE', str(tmp_path / 'cert.pem'))
        fetch(source, target)
    assert target.read_bytes() == CONTENT


def test_progress_is_in_the_log(web, target, caplog, monkeypatch):
    caplog.set_level(logging.INFO, 'clip_dinoiser_ros')
    monkeypatch.setattr(transfer, 'CHUNK_BYTES', 1024)
    web.breaks = [51_200]
    fetch(published(web), target)
    told = [record.getMessage() for record in caplog.records]
    percents = [int(text.split(': ')[1].split(' %')[0]) for text in told if ' %, ' in text]
    assert percents == [10, 20, 30, 40, 50, 60, 70, 80, 90, 100]
    assert told[0] == 'downloading file, 0 MB'
    (broken,) = [text for text in told if 'trying again in' in text]
    assert broken.startswith('127.0.0.1: ')
    assert 'broke off after 51200 of 102400 bytes; trying again in' in broken


def test_a_slow_download_says_something_now_and_then(caplog, monkeypatch):
    caplog.set_level(logging.INFO, 'clip_dinoiser_ros')
    clock = [0.0]
    monkeypatch.setattr(progress.time, 'monotonic', lambda: clock[0])
    bar = progress.Progress('clip', 100_000_000, 600_000_000)
    for second in range(61):
        clock[0] = float(second)
        bar.tell(100_000_000 + second * 100_000)
    assert [record.getMessage() for record in caplog.records] == [
        'downloading clip, 600 MB, 100 MB of them are here',
        'clip: 17 %, 103 MB, 0.1 MB/s, 4970 s left',
        'clip: 17 %, 106 MB, 0.1 MB/s, 4940 s left',
    ]
