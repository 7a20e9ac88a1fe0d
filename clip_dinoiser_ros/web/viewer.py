# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The part of the page that shows the frames of one stream; it draws in the browser."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import quote

from nicegui import ui
from nicegui.events import GenericEventArguments

from clip_dinoiser_ros.web.source import ClassProbability

Asked = Callable[[float, float], Awaitable[Sequence[ClassProbability]]]


class Viewer(ui.element, component='viewer.js'):
    """Image, labels, objects and legend of a stream.

    Args:
        probabilities: Asked for the classes at a place, with fractions of width and height.
        layered: Offer other views than labels over the image.
        small: A line of classes in place of the legend, and no list of objects.
    """

    def __init__(self, probabilities: Asked, layered: bool = True, small: bool = False) -> None:
        super().__init__()
        self._probabilities = probabilities
        self.props['layered'] = layered
        self.props['small'] = small
        self.on('point', self._point)

    def show(self, kind: str, name: str) -> None:
        """Show another stream."""
        self.props['path'] = f'/video/{kind}/{quote(name, safe="")}' if name else ''
        self.props['answer'] = []
        self.update()

    async def _point(self, event: GenericEventArguments) -> None:
        found = await self._probabilities(float(event.args['x']), float(event.args['y']))
        self.props['answer'] = [
            {'name': one.name, 'probability': one.probability} for one in found[:4]
        ]
        self.update()
