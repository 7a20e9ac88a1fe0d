# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Who gets in: token, origin, host, size; by HTTP and by WebSocket, against a running page."""

import argparse
import asyncio
import http.client

import pytest

pytest.importorskip('nicegui', reason='the extra `web` is not installed')
pytest.importorskip('websockets', reason='it comes with the extra `web`')

import websockets
from served import FAKE, ServedPage

from clip_dinoiser_ros.web.access import MAX_BODY, make_access
from clip_dinoiser_ros.web.server import TOKEN_VARIABLE, add_arguments, address

TOKEN = 'a1b2c3d4e5f6a7b8'


@pytest.fixture(scope='module')
def local(tmp_path_factory):
    served = ServedPage(FAKE, '--sets', tmp_path_factory.mktemp('sets'))
    yield served
    served.close()


@pytest.fixture(scope='module')
def shared(tmp_path_factory):
    served = ServedPage(
        FAKE, '--sets', tmp_path_factory.mktemp('sets'), '--host', '0.0.0.0', '--token', TOKEN
    )
    yield served
    served.close()


def ask(served, path='/', method='GET', body=None, **headers):
    """Return status, headers and text of an answer."""
    connection = http.client.HTTPConnection('127.0.0.1', served.port, timeout=20)
    headers = {name.replace('_', '-'): value for name, value in headers.items()}
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    text = answer.read().decode(errors='replace')
    connection.close()
    return answer.status, dict(answer.getheaders()), text


def connect(served, path, origin='same', **headers):
    """Return whether a WebSocket is accepted."""

    async def attempt():
        host = headers.get('Host', f'127.0.0.1:{served.port}')
        own = f'http://{host}' if origin == 'same' else origin
        try:
            async with websockets.connect(
                f'ws://127.0.0.1:{served.port}{path}',
                additional_headers={**headers, **({'Origin': own} if own else {})},
            ):
                return True
        except websockets.InvalidStatus:
            return False

    return asyncio.run(attempt())


SOCKETS = ('/video/camera/front', '/_nicegui_ws/socket.io/?EIO=4&transport=websocket')


def test_on_loopback_no_token_is_asked_for(local):
    status, headers, text = ask(local)
    assert status == 200
    assert '/fake_node' in text
    assert "frame-ancestors 'none'" in headers['content-security-policy']


@pytest.mark.parametrize('path', ['/', '/_nicegui_ws/socket.io/?EIO=4&transport=polling'])
def test_a_name_that_points_at_this_machine_is_refused(local, path):
    assert ask(local, path, Host='evil.example')[0] == 403
    assert ask(local, path, Host=f'localhost:{local.port}')[0] == 200
    assert ask(local, path, Host=f'[::1]:{local.port}')[0] == 200


@pytest.mark.parametrize('path', SOCKETS)
def test_a_connection_from_another_page_is_refused(local, path):
    assert connect(local, path)
    for origin in ('http://evil.example', 'null', '', f'http://127.0.0.1:{local.port + 1}'):
        assert not connect(local, path, origin)
    assert not connect(local, path, Host='evil.example')


def test_a_request_from_another_page_is_refused(local):
    path = '/_nicegui_ws/socket.io/?EIO=4&transport=polling'
    own = f'http://127.0.0.1:{local.port}'
    assert ask(local, path, Origin='http://evil.example')[0] == 403
    assert ask(local, '/', 'POST', b'x', Origin='http://evil.example')[0] == 403
    assert ask(local, '/', 'POST', b'x')[0] == 403
    assert ask(local, '/', 'POST', b'x', Origin=own)[0] == 405  # allowed, but nothing is there


def test_without_the_token_nothing_is_shown(shared):
    for path in ('/', '/favicon.ico', '/_nicegui_ws/socket.io/?EIO=4&transport=polling'):
        status, _, text = ask(shared, path)
        assert status == 401
        assert 'fake_node' not in text
        assert TOKEN not in text
    assert ask(shared, '/?token=wrong')[0] == 401
    assert ask(shared, '/', Cookie=f'clip_dinoiser_{shared.port}=wrong')[0] == 401


@pytest.mark.parametrize('path', SOCKETS)
def test_without_the_token_nothing_connects(shared, path):
    cookie = f'clip_dinoiser_{shared.port}='
    assert not connect(shared, path)
    assert not connect(shared, path, Cookie=f'{cookie}wrong')
    assert connect(shared, path, Cookie=cookie + TOKEN)
    assert not connect(shared, path, 'http://evil.example', Cookie=cookie + TOKEN)


def test_the_token_leaves_the_address(shared):
    status, headers, _ = ask(shared, f'/?token={TOKEN}')
    assert (status, headers['location']) == (303, '/')
    cookie = headers['set-cookie']
    assert 'HttpOnly' in cookie
    assert 'SameSite=lax' in cookie
    assert ask(shared, '/', Cookie=cookie.split(';')[0], Host='robot.local')[0] == 200
    assert not [line for line in shared.lines if TOKEN in line and 'page: ' not in line]


def test_large_uploads_are_refused_before_they_are_read(local):
    own = f'http://127.0.0.1:{local.port}'
    too_large = str(MAX_BODY + 1)
    assert ask(local, '/', 'POST', b'', Origin=own, Content_Length=too_large)[0] == 413
    assert ask(local, '/', 'POST', iter([b'x']), Origin=own)[0] == 411


@pytest.mark.parametrize(
    'path',
    [
        '/../../etc/passwd',
        '/video/camera/../../etc/passwd',
        '/_nicegui/3.18.0/static/../../x',
        '/docs',
    ],
)
def test_no_file_is_reached(local, path):
    status, _, text = ask(local, path)
    assert status == 404
    assert 'root:' not in text


def test_read_only_has_nothing_to_change(tmp_path):
    served = ServedPage(FAKE, '--sets', tmp_path, '--read-only')
    try:
        text = ask(served)[2]
        assert 'Camera' in text
        for absent in ('Add a word', 'Undo', 'Try words', 'Save', 'Background filter', '/upload/'):
            assert absent not in text
    finally:
        served.close()


def test_who_listens_for_others_asks_for_a_token():
    access = make_access('0.0.0.0')
    assert len(access.token) == 32
    assert make_access('0.0.0.0').token != access.token
    assert address(access, 80).endswith(f':80/?token={access.token}')
    assert make_access().token == ''
    assert address(make_access(), 8080) == 'http://127.0.0.1:8080/'


def test_a_given_token_is_not_printed(shared, monkeypatch):
    assert shared.address.endswith('/?token=...')
    assert TOKEN not in '\n'.join(shared.lines)
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    assert parser.parse_args([]).token == TOKEN
    assert TOKEN not in parser.format_help()


@pytest.mark.parametrize('token', ['short', 'sixteen letters!', 'a' * 15, 'é' * 20])
def test_a_token_that_can_be_guessed_is_refused(token):
    with pytest.raises(ValueError, match='at least 16'):
        make_access('0.0.0.0', token)
