# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Serves the page of a source until the program is stopped."""

from __future__ import annotations

import argparse
import os
import socket
import warnings
from pathlib import Path

import uvicorn
from fastapi import FastAPI, WebSocket
from nicegui import ui

from clip_dinoiser_ros.arguments import say
from clip_dinoiser_ros.web.access import Access, Guard, make_access
from clip_dinoiser_ros.web.page import Page, Served
from clip_dinoiser_ros.web.settings_file import WordSets, default_folder
from clip_dinoiser_ros.web.source import Source

PORT = 8080
TOKEN_VARIABLE = 'CLIP_DINOISER_WEB_TOKEN'  # noqa: S105  # its name
_ANY = ('0.0.0.0', '::')  # noqa: S104  # compared, not bound
_MAX_MESSAGE = 2**20  # bytes that a browser may send at once over a WebSocket
_PATIENCE_S = 2  # for connections to close at the end


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the server."""
    group = parser.add_argument_group('page')
    group.add_argument(
        '--host',
        default='',
        metavar='ADDRESS',
        help='listen on this address, such as 0.0.0.0, and ask for a token (this machine only)',
    )
    group.add_argument('--port', type=int, default=PORT, help='%(default)s; 0: any that is free')
    group.add_argument(
        '--token',
        default=os.environ.get(TOKEN_VARIABLE, ''),
        metavar='TEXT',
        help='the token, 16 characters or more, or the environment variable '
        f'{TOKEN_VARIABLE}, which a list of processes does not show (a new one)',
    )
    group.add_argument(
        '--read-only', action='store_true', help='watch only: nothing can be changed or tried'
    )
    group.add_argument(
        '--sets',
        type=Path,
        default=default_folder(),
        metavar='DIR',
        help='folder for sets of words (%(default)s)',
    )


def serve(source: Source, args: argparse.Namespace) -> None:
    """Serve until SIGINT or SIGTERM, and close the source; once in a process.

    Args:
        source: What is shown and changed.
        args: Those of `add_arguments`.

    Raises:
        OSError: The address cannot be used.
        ValueError: The token can be guessed.
    """
    try:
        access = make_access(args.host, args.token, args.read_only)
        family = socket.AF_INET6 if ':' in access.host else socket.AF_INET
        with socket.create_server((access.host, args.port), family=family) as listening:
            port = listening.getsockname()[1]
            config = uvicorn.Config(
                make_app(source, access, port, args.sets),
                log_level='warning',
                access_log=False,  # it would have the token
                server_header=False,
                ws_max_size=_MAX_MESSAGE,
                ws_per_message_deflate=False,  # images are compressed
                timeout_graceful_shutdown=_PATIENCE_S,
            )
            # NiceGUI looks for its server among all objects, and torch complains when looked at
            warnings.filterwarnings('ignore', category=FutureWarning, module='nicegui')
            say(f'page: {address(access, port, is_known=bool(args.token))}')
            uvicorn.Server(config).run(sockets=[listening])
    finally:
        source.close()


def address(access: Access, port: int, is_known: bool = False) -> str:
    """Return what to open in a browser; a token that is known stays out of the log."""
    host = socket.gethostname() if access.host in _ANY else access.host
    host = f'[{host}]' if ':' in host else host
    token = f'?token={"..." if is_known else access.token}' if access.token else ''
    return f'http://{host}:{port}/{token}'


def make_app(source: Source, access: Access, port: int, sets: Path) -> Guard:
    """Make the ASGI application of a page; once in a process."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    served = Served(source, WordSets(sets), access.read_only)

    @app.websocket('/video/{kind}/{name:path}')
    async def video(socket: WebSocket, kind: str, name: str) -> None:
        await served.video.serve(socket, kind, name)

    @ui.page('/')
    async def page() -> None:
        Page(served)

    ui.run_with(
        app,
        title=f'{source.title} - words',
        language='en-US',
        dark=None,  # as the browser is set
        show_welcome_message=False,
    )
    return Guard(app, access, port)
