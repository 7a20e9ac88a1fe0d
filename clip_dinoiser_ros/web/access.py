# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Who may use the page: checked for every request and connection, before anything else runs."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = ('127.0.0.1', 'localhost', '::1')
MIN_TOKEN = 16  # characters
MAX_BODY = 20 * 2**20  # bytes; a photo of a phone has 3 to 12 MB
_READS = ('GET', 'HEAD')
# Everything comes from this server; NiceGUI's page has scripts and templates in its HTML.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
_HEADERS = {
    'content-security-policy': _POLICY,
    'x-content-type-options': 'nosniff',
    'x-frame-options': 'DENY',
    'referrer-policy': 'no-referrer',  # the first address has the token
}


@dataclass(frozen=True)
class Access:
    """Who may use a page.

    Attributes:
        host: Address to listen on.
        token: Asked for; empty: not asked for, on loopback only.
        read_only: Nothing can be changed and no image can be tried.
    """

    host: str = LOOPBACK[0]
    token: str = ''
    read_only: bool = False

    @property
    def is_local(self) -> bool:
        """Whether only programs of this machine can connect."""
        return self.host in LOOPBACK


def make_access(host: str = '', token: str = '', read_only: bool = False) -> Access:
    """Return what the arguments mean, with a new token where one is needed and none is given.

    Raises:
        ValueError: A token that can be guessed.
    """
    access = Access(host or LOOPBACK[0], token, read_only)
    if token and (len(token) < MIN_TOKEN or not token.isascii() or not token.isalnum()):
        raise ValueError(
            f'the token must have at least {MIN_TOKEN} characters, only letters and digits'
        )
    if not token and not access.is_local:
        return Access(access.host, secrets.token_hex(16), read_only)
    return access


class Guard:
    """An ASGI application around another one, which sees only what is allowed.

    Args:
        app: The other one.
        access: Who may use it.
        port: Of the server. Cookies do not tell ports apart, so it is part of their name.
    """

    def __init__(self, app: ASGIApp, access: Access, port: int) -> None:
        self.app, self._access = app, access  # NiceGUI follows `app`
        self._cookie = f'clip_dinoiser_{port}'

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request or connection on, or refuse it."""
        if scope['type'] == 'lifespan':
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = parse_qs(scope['query_string'].decode('latin-1')).get('token', [''])[0]
        refusal = self._refusal(scope, headers, given)
        if refusal is not None:
            if scope['type'] == 'websocket':
                await receive()  # the request to connect
                await send({'type': 'websocket.close', 'code': 1008, 'reason': refusal[1]})
            else:
                await PlainTextResponse(refusal[1], refusal[0])(scope, receive, _harden(send))
        elif scope['type'] == 'http' and self._access.token and given:
            answer = RedirectResponse(scope['path'], 303)  # the token leaves the address bar
            answer.set_cookie(
                self._cookie, self._access.token, httponly=True, samesite='lax', path='/'
            )
            await answer(scope, receive, _harden(send))
        else:
            await self.app(scope, receive, _harden(send))

    def _refusal(self, scope: Scope, headers: Headers, given: str) -> tuple[int, str] | None:
        """Return status and reason of a refusal; None: allowed."""
        host = headers.get('host', '')
        if self._access.is_local and urlsplit(f'//{host}').hostname not in LOOPBACK:
            # a page of a name that was made to point at this machine (DNS rebinding)
            return 403, 'open this page as http://localhost, or start it with --host'
        reads = scope['type'] == 'http' and scope['method'] in _READS
        origin = headers.get('origin')
        if (origin is not None or not reads) and urlsplit(origin or '').netloc != host:
            return 403, 'this request comes from another page'
        if not self._knows_token(headers, given):
            return 401, (
                'A token is needed: open the address that was printed when this page was started. '
                'It ends in ?token=...'
            )
        if not reads and scope['type'] == 'http':
            length = headers.get('content-length', '')
            if not length.isdecimal():
                return 411, 'the length of the upload must be given'
            if int(length) > MAX_BODY:
                return 413, f'too large: at most {MAX_BODY // 2**20} MB are allowed'
        return None

    def _knows_token(self, headers: Headers, given: str) -> bool:
        wanted = self._access.token
        shown = given or cookie_parser(headers.get('cookie', '')).get(self._cookie, '')
        return not wanted or secrets.compare_digest(shown.encode(), wanted.encode())


def _harden(send: Send) -> Send:
    """Add headers to answers by which a browser refuses what this page never needs."""

    async def sending(message: Message) -> None:
        if message['type'] == 'http.response.start':
            MutableHeaders(scope=message).update(_HEADERS)
        await send(message)

    return sending
