# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""A web server on loopback that fails as asked: a file server, a model hub, a proxy.

It stands for servers that the tests cannot have. What it imitates of a hub are the answers that the
hub's own client reads; a proxy serves its own files, whichever host it is asked for.
"""

import base64
import contextlib
import hashlib
import http.server
import os
import re
import ssl
import threading
import time
from dataclasses import dataclass, field
from urllib.parse import urlsplit

PROXIES = ('http_proxy', 'https_proxy', 'all_proxy', 'no_proxy')


@dataclass
class Web:
    """What the server has and how it fails; tests change it at any time.

    Attributes:
        files: By path.
        statuses: Each request in turn is answered by one of them instead, as long as there are any.
        breaks: Each GET in turn ends after so many bytes, as long as there are any.
        ranges: Whether it knows Range.
        length: What it announces as Content-Length; None: the truth.
        pause_s: After each piece of 1000 bytes.
        password: NAME:PASSWORD that it wants as a proxy.
        token: That it wants as a hub, and must not be sent as the host a hub redirects to.
        revision: As which it is a hub; None: it is not.
        sends: As a hub, whatever it says; None: the truth.
        etag: What it calls a digest as a hub; None: the truth.
        requests: (method, target, Range or '') of each request.
    """

    port: int = 0
    files: dict[str, bytes] = field(default_factory=dict)
    statuses: list[int] = field(default_factory=list)
    breaks: list[int] = field(default_factory=list)
    ranges: bool = True
    length: int | None = None
    pause_s: float = 0.0
    password: str | None = None
    token: str | None = None
    revision: str | None = None
    sends: bytes | None = None
    etag: str | None = None
    requests: list[tuple[str, str, str]] = field(default_factory=list)

    @property
    def url(self):
        return f'http://127.0.0.1:{self.port}'

    def gets(self):
        return [(path, part) for method, path, part in self.requests if method == 'GET']


@contextlib.contextmanager
def served(certificate=None):
    """Serve a `Web` until the end of the block; by TLS with a certificate and its key in a file."""
    web = Web()

    class Handler(_Handler):
        pass

    Handler.web = web
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler) as server:
        server.daemon_threads = True
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        web.port = server.server_port
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield web
        finally:
            server.shutdown()


@contextlib.contextmanager
def served_hub(monkeypatch, folder):
    """Serve a hub that the hub's client in this process asks, and heads; caches in a folder.

    That client reads the environment when it is imported: here its constants are set as well.
    """
    import huggingface_hub.constants as hub

    from clip_dinoiser_ros.core import attempts, sources

    for name in os.environ:
        if name.startswith(('HF_', 'HUGGINGFACE_', 'TRANSFORMERS_')) or name.lower() in PROXIES:
            monkeypatch.delenv(name)
    monkeypatch.setenv('HF_HOME', str(folder / 'hf'))
    monkeypatch.setenv('XDG_CACHE_HOME', str(folder / 'cache'))
    monkeypatch.setattr(attempts, 'PAUSE_S', 0.01)
    with served() as web:
        template = web.url + '/{repo_id}/resolve/{revision}/{filename}'
        monkeypatch.setattr(hub, 'ENDPOINT', web.url)
        monkeypatch.setattr(hub, 'HUGGINGFACE_CO_URL_TEMPLATE', template)
        monkeypatch.setattr(hub, 'HF_HUB_OFFLINE', False)
        monkeypatch.setattr(hub, 'HF_TOKEN_PATH', str(folder / 'hf/token'))
        monkeypatch.setattr(sources, 'AUTHORS_URL', f'{web.url}/last.pt')
        new_session()
        yield web
    new_session()


def new_session():
    """Let the hub's client open new connections, by the proxies of now."""
    from huggingface_hub.utils._http import close_session

    close_session()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    web: Web

    def log_message(self, *_):
        pass

    def do_CONNECT(self):
        self._note()
        self._answer(407 if not self._knows_the_password() else 502)

    def do_HEAD(self):
        self._serve(with_body=False)

    def do_GET(self):
        self._serve(with_body=True)

    def _note(self):
        self.web.requests.append((self.command, self.path, self.headers.get('Range', '')))

    def _knows_the_password(self):
        if self.web.password is None:
            return True
        wanted = 'Basic ' + base64.b64encode(self.web.password.encode()).decode()
        return self.headers.get('Proxy-Authorization') == wanted

    def _serve(self, with_body):
        if self.path.startswith('/api/'):  # beside the files, the hub's client asks now and then
            return self._answer(404)
        self._note()
        web = self.web
        if not self._knows_the_password():
            return self._answer(407)
        if web.statuses:
            return self._answer(web.statuses.pop(0))
        path = urlsplit(self.path).path
        if web.token and ('Authorization' in self.headers) == path.startswith('/cdn'):
            return self._answer(401)
        if web.token and self.headers.get('Authorization', web.token) != web.token:
            return self._answer(403)
        content = web.files.get(path)
        if content is None:
            return self._answer(404)
        if web.revision and '/resolve/' in path and not path.startswith('/cdn'):
            return self._redirect(path, content)
        return self._send(content, with_body)

    def _redirect(self, path, content):
        """Send who asks a hub for a large file to another host, and say what it will get."""
        web = self.web
        web.files[f'/cdn{path}'] = content if web.sends is None else web.sends
        self.send_response(302)
        self.send_header('Location', f'http://localhost:{web.port}/cdn{path}')
        self.send_header('X-Repo-Commit', web.revision)
        etag = hashlib.sha256(content).hexdigest() if web.etag is None else web.etag
        self.send_header('X-Linked-Etag', f'"{etag}"')
        self.send_header('X-Linked-Size', str(len(content)))
        self.send_header('Content-Length', '0')
        self.end_headers()

    def _send(self, content, with_body):
        web, start = self.web, 0
        asked = re.fullmatch(r'bytes=(\d+)-', self.headers.get('Range', ''))
        if asked and web.ranges:
            start = int(asked[1])
            if start >= len(content):
                return self._answer(416)
            self.send_response(206)
            self.send_header('Content-Range', f'bytes {start}-{len(content) - 1}/{len(content)}')
        else:
            self.send_response(200)
        body = content[start:]
        length = len(body) if web.length is None else web.length
        self.send_header('Content-Length', str(length))
        self.end_headers()
        if with_body:
            self._send_body(body[:length], length)
        return None

    def _send_body(self, body, length):
        web = self.web
        if web.breaks:
            body = body[: web.breaks.pop(0)]
        with contextlib.suppress(OSError):  # who asked has gone
            piece = 1000 if web.pause_s else len(body)
            for place in range(0, len(body), piece or 1):
                self.wfile.write(body[place : place + piece])
                time.sleep(web.pause_s)
        if len(body) < length:
            self.close_connection = True

    def _answer(self, status):
        self.send_response(status)
        if status == 407:
            self.send_header('Proxy-Authenticate', 'Basic realm="proxy"')
        self.send_header('Content-Length', '0')
        self.end_headers()
