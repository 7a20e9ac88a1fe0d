# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""What a machine may lack: one line that says what to do, and a second set-up goes on."""

import base64
import re
import subprocess

import pytest
from local_index import Server

by_uv = pytest.mark.parametrize('machine', ['uv'], indirect=True)
by_pip = pytest.mark.parametrize('machine', ['pip'], indirect=True)

REFUSED = 'http://127.0.0.1:9/simple/'  # the discard port: nobody listens


def one_line(ended):
    assert ended.returncode == 1, ended.stdout
    assert len(ended.stderr.splitlines()) == 1, ended.stderr
    assert ended.stderr.startswith('setup: ')
    return ended.stderr


def assert_goes_on(machine, **environment):
    """The next set-up succeeds. It would make the environment again, which has tests of its own."""
    machine.complete()
    ended = machine.install(**environment)
    assert ended.returncode == 0, ended.stderr
    assert [machine.version(name) for name in ('tool', 'meter', 'grain', 'paper')] == ['1.0'] * 4


@pytest.mark.long
@by_uv
def test_an_index_that_is_not_there(machine):
    said = one_line(machine.install(PIP_INDEX_URL=REFUSED))
    assert 'cannot be reached' in said
    assert 'HTTPS_PROXY' in said
    assert_goes_on(machine)


@by_pip
@pytest.mark.long
def test_an_index_that_is_not_there_and_no_uv_yet(machine):
    assert 'cannot be reached' in one_line(machine.install(PIP_INDEX_URL=REFUSED))


@by_uv
@pytest.mark.long
def test_an_index_that_breaks_off(machine, server):
    def half(request):
        name = request.path.rpartition('/')[2]
        if not name.startswith('tool-1.0'):
            return False
        request.send_response(200)
        request.send_header('Content-Length', '100000')
        request.end_headers()
        request.wfile.write(b'PK\x03\x04')  # how a wheel begins
        return True

    server.fault = half
    said = one_line(machine.install())
    assert 'cannot be reached' in said
    server.fault = lambda request: False
    assert_goes_on(machine)


def test_an_index_that_sends_another_file(machine, server, index):
    def exchanged(request):
        if not request.path.startswith('/files/tool-1.0'):
            return False
        request.send(200, index.files['tool-2.0-py3-none-any.whl'], 'application/octet-stream')
        return True

    server.fault = exchanged
    assert 'not the one in the lock' in one_line(machine.install())
    assert machine.version('tool') is None


@pytest.mark.long
def test_an_index_that_lacks_a_package(machine, server):
    def absent(request):
        if request.path == '/simple/grain/':
            request.send(404, b'', 'text/plain')
        return request.path == '/simple/grain/'

    server.fault = absent
    said = one_line(machine.install())
    assert 'the index lacks' in said
    assert 'grain' in said


@by_uv
@pytest.mark.long
def test_an_index_that_wants_a_password(machine, server):
    wanted = 'Basic ' + base64.b64encode(b'robot:secret').decode()

    def guarded(request):
        if request.headers.get('Authorization') == wanted:
            return False
        request.send(401, b'', 'text/plain', WWW_Authenticate='Basic realm="index"')
        return True

    server.fault = guarded
    said = one_line(machine.install(PIP_INDEX_URL=f'http://robot:wrong@{server.address}/simple/'))
    assert 'refuses access' in said
    assert 'wrong' not in said
    assert_goes_on(machine, PIP_INDEX_URL=f'http://robot:secret@{server.address}/simple/')


@pytest.mark.parametrize('name', ['PIP_INDEX_URL', 'UV_INDEX_URL', 'UV_DEFAULT_INDEX', 'pip.conf'])
@by_uv
@pytest.mark.long
def test_the_private_index_of_the_user_is_asked(machine, server, name):
    del machine.environment['PIP_INDEX_URL']
    if name == 'pip.conf':
        machine.environment['PIP_CONFIG_FILE'] = str(machine.folder / name)
        (machine.folder / name).write_text(f'[global]\nindex-url = {server.url}\n')
        assert_goes_on(machine)
    else:
        assert_goes_on(machine, **{name: server.url})


@pytest.mark.long
def test_a_proxy(machine, server):
    """The name of the index does not exist: only the proxy can answer."""
    machine.environment['PIP_INDEX_URL'] = 'http://index.invalid/simple/'
    server.fault = lambda request: request.send(407, b'', 'text/plain') or True
    machine.environment['PIP_TRUSTED_HOST'] = 'index.invalid'
    proxy = {'HTTP_PROXY': f'http://{server.address}', 'NO_PROXY': ''}
    assert 'NAME:PASSWORD' in one_line(machine.install(**proxy))
    server.fault = lambda request: False
    assert_goes_on(machine, **proxy)


@by_uv
@pytest.mark.long
def test_an_environment_that_was_left_half_made(machine):
    assert machine.install().returncode == 0
    next(machine.venv.glob('lib/*/site-packages/tool.py')).unlink()  # its metadata stay
    ended = machine.install()
    assert ended.returncode == 0, ended.stderr
    assert machine.version('tool') == '1.0'


@by_uv
@pytest.mark.long
def test_an_environment_whose_python_is_gone(machine):
    assert machine.install().returncode == 0
    for python in machine.venv.glob('bin/python*'):
        python.unlink()
    assert_goes_on(machine)


@by_uv
def test_a_folder_of_somebody_is_left_alone(machine):
    machine.venv = machine.folder / 'documents'
    machine.venv.mkdir()
    (machine.venv / 'thesis.txt').write_text('years of work')
    assert 'CLIP_DINOISER_VENV' in one_line(machine.install())
    assert (machine.venv / 'thesis.txt').read_text() == 'years of work'


@pytest.mark.long
def test_a_cache_that_cannot_be_written(machine):
    """A file where the folder should be stops root as well."""
    blocked = machine.folder / 'file'
    blocked.write_text('')
    # uv is in the cache that cannot be written, so pip installs where a test has no other index
    assert_goes_on(machine, XDG_CACHE_HOME=str(blocked / 'cache'))
    assert machine.venv.with_name('venv.cache').is_dir()


@by_uv
@pytest.mark.long
def test_a_full_disk(machine):
    """The environment is alone on a disk that is too small for it."""
    machine.venv = machine.folder / 'small'
    machine.venv.mkdir()
    mount = f'mount -t tmpfs -o size=1m tmpfs {machine.venv}'
    alone = ('unshare', '--user', '--map-root-user', '--mount', 'sh', '-c')
    if subprocess.run([*alone, 'mount -t tmpfs tmpfs /tmp'], check=False).returncode:
        pytest.skip('this machine lets nobody mount a disk of his own')
    said = one_line(machine.install(*alone, mount + ' && exec "$@"', 'sh'))
    assert 'the disk is full' in said
    assert re.search(rf'0\.0 GB at {machine.venv}', said)
    ended = machine.install()
    assert ended.returncode == 0, ended.stderr
    assert machine.version('tool') == '1.0'


@pytest.mark.long
@by_uv
def test_nothing_is_said_of_passwords(machine):
    url = 'http://robot:secret@127.0.0.1:9/simple/'
    assert 'secret' not in one_line(machine.install(PIP_INDEX_URL=url))


@by_uv
@pytest.mark.long
def test_settings_of_uv_win_over_those_of_pip(machine, server, index):
    with Server(index) as other:
        assert_goes_on(machine, UV_DEFAULT_INDEX=other.url)
        assert other.asked
        assert not server.asked


@by_uv
@pytest.mark.long
def test_odd_shells(machine):
    """Settings of the shell that a set-up must not care about."""
    machine.venv = machine.folder / 'new'
    odd = {'LC_ALL': 'de_DE.UTF-8', 'LANG': 'C', 'PYTHONHASHSEED': '1', 'PYTHONSAFEPATH': '1'}
    environment = {**odd, 'HOME': '/dev/null', 'PYTHONPATH': '/nowhere', 'PIP_USER': '1'}
    umask = ('sh', '-c', 'umask 077; exec "$@"', 'sh')
    ended = machine.install(*umask, **environment)
    assert ended.returncode == 0, ended.stderr
    assert machine.version('tool') == '1.0'
    assert machine.venv.stat().st_mode & 0o77 == 0
