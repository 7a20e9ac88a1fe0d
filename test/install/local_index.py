# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""A package index on this machine: small packages over HTTP, with the faults of real ones."""

from __future__ import annotations

import hashlib
import io
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata

BUILD_SYSTEM = (
    '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
)


class Index:
    """Files by name; a lock is written from them, and a server offers them."""

    def __init__(self):
        self.files = {}

    def add(self, name, version, requires=(), extras=()):
        """Add a wheel with one module, which says its version.

        As in the wheels of ROS a folder besides tells of the module under another name.
        """
        lines = [f'Metadata-Version: 2.1\nName: {name}\nVersion: {version}']
        lines += [f'Requires-Dist: {requirement}' for requirement in requires]
        lines += [f'Provides-Extra: {extra}' for extra in extras]
        self._add_wheel(
            name,
            version,
            {
                f'{name}.py': f'VERSION = {version!r}\n'.encode(),
                f'plain_{name}-0.9-py3.egg-info/PKG-INFO': (
                    f'Metadata-Version: 2.1\nName: plain_{name}\nVersion: 0.9\n'.encode()
                ),
                f'plain_{name}-0.9-py3.egg-info/top_level.txt': f'{name}\n'.encode(),
                f'{name}-{version}.dist-info/METADATA': '\n'.join(lines).encode(),
                f'{name}-{version}.dist-info/WHEEL': (
                    b'Wheel-Version: 1.0\nGenerator: test\n'
                    b'Root-Is-Purelib: true\nTag: py3-none-any\n'
                ),
            },
        )

    def add_sources(self, name, version):
        """Add a package as sources only, to be built by setuptools."""
        files = {
            'pyproject.toml': BUILD_SYSTEM,
            'setup.py': f'from setuptools import setup\n'
            f'setup(name={name!r}, version={version!r}, py_modules=[{name!r}])\n',
            f'{name}.py': f'VERSION = {version!r}\n',
            'PKG-INFO': f'Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n',
        }
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode='w:gz') as archive:
            for path, text in files.items():
                member = tarfile.TarInfo(f'{name}-{version}/{path}')
                member.size = len(text)
                archive.addfile(member, io.BytesIO(text.encode()))
        self.files[f'{name}-{version}.tar.gz'] = content.getvalue()

    def add_installed(self, name):
        """Add a package of the running environment, with all its files; returns its version."""
        distribution = metadata.distribution(name)
        files = {
            str(file): file.locate().read_bytes()
            for file in distribution.files
            if '..' not in file.parts and file.suffix != '.pyc' and file.name != 'RECORD'
        }
        self._add_wheel(name, distribution.version, files)
        return distribution.version

    def _add_wheel(self, name, version, files):
        record = f'{name}-{version}.dist-info/RECORD'
        content = io.BytesIO()
        with zipfile.ZipFile(content, 'w') as archive:
            for path, data in files.items():
                archive.writestr(path, data)
            archive.writestr(record, ''.join(f'{path},,\n' for path in (*files, record)))
        self.files[f'{name}-{version}-py3-none-any.whl'] = content.getvalue()

    def lock(self, *pins):
        """Return a lock of the given NAME==VERSION, with the hashes of their files."""
        entries = []
        for pin in pins:
            name, version = pin.split('==')
            digests = [
                hashlib.sha256(data).hexdigest()
                for file, data in self.files.items()
                if file.startswith((f'{name}-{version}-', f'{name}-{version}.tar'))
            ]
            entries.append(' \\\n'.join([pin, *(f'    --hash=sha256:{one}' for one in digests)]))
        return '\n'.join(entries) + '\n'


class Server:
    """Serves an Index at `url` until the block ends; `asked` are the paths that were asked for.

    Attributes:
        fault: called with a request before it is answered; returns True if it has answered it.
    """

    def __init__(self, index):
        outer = self
        self.asked = []
        self.fault = lambda request: False

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.asked.append(self.path)
                if not outer.fault(self):
                    self._answer(index)

            do_HEAD = do_CONNECT = do_GET  # noqa: N815

            def _answer(self, index):
                folder, _, file = self.path.removeprefix('http://').rstrip('/').rpartition('/')
                if '/simple' in f'/{folder}':
                    links = [f'<a href="/files/{n}">{n}</a>' for n in index.files if _of(n) == file]
                    self.send(200 if links else 404, ''.join(links).encode(), 'text/html')
                elif file in index.files:
                    self.send(200, index.files[file], 'application/octet-stream')
                else:
                    self.send(404, b'', 'text/plain')

            def send(self, status, body, kind, **headers):
                self.send_response(status)
                self.send_header('Content-Type', kind)
                self.send_header('Content-Length', str(len(body)))
                for key, value in headers.items():
                    self.send_header(key.replace('_', '-'), value)
                self.end_headers()
                if self.command != 'HEAD':
                    self.wfile.write(body)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        self.address = f'127.0.0.1:{self._server.server_port}'
        self.url = f'http://{self.address}/simple/'

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()


def _of(file):
    return file.split('-')[0].replace('_', '-').lower()
