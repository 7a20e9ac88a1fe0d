# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Parameter services that may take long while the node serves other requests."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import rcl_interfaces.msg
from rcl_interfaces.msg import SetParametersResult
from rcl_interfaces.srv import SetParameters, SetParametersAtomically
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.lifecycle import LifecycleNode
from rclpy.parameter import Parameter
from rclpy.service import Service

from clip_dinoiser_ros.core.errors import one_line
from clip_dinoiser_ros.core.memory import is_out_of_memory
from clip_dinoiser_ros.frames.guard import NEEDS_LESS
from clip_dinoiser_ros.node.parameters import coerced


class ParameterServicesNode(LifecycleNode):
    """A managed node that can prepare a change of parameters before applying it.

    rclpy checks and sets parameters in one step, on the thread of the executor. Here the services
    await `prepare` first, so the executor serves other callbacks and changes meanwhile.
    """

    async def prepare(self, changes: list[Parameter]) -> None:
        """Do the slow part of a change before it is checked; raises if it is refused."""

    def create_service(
        self, srv_type: type, srv_name: str, callback: Callable[..., Any], **options: Any
    ) -> Service:
        """Create a service; rclpy also creates the parameter services with this method."""
        answers = {SetParameters: self._set_each, SetParametersAtomically: self._set_together}
        if srv_type in answers:
            callback = answers[srv_type]
            options['callback_group'] = ReentrantCallbackGroup()
        return super().create_service(srv_type, srv_name, callback, **options)

    async def _set_each(
        self, request: SetParameters.Request, response: SetParameters.Response
    ) -> SetParameters.Response:
        for message in request.parameters:
            response.results.append(await self._set([message]))
        return response

    async def _set_together(
        self, request: SetParametersAtomically.Request, response: SetParametersAtomically.Response
    ) -> SetParametersAtomically.Response:
        response.result = await self._set(request.parameters)
        return response

    async def _set(self, messages: Iterable[rcl_interfaces.msg.Parameter]) -> SetParametersResult:
        """Set parameters together; any error becomes the answer."""
        try:
            given = [Parameter.from_parameter_msg(message) for message in messages]
            changes = [coerced(parameter) for parameter in given]
            await self.prepare(changes)
            result = self.set_parameters_atomically(changes)
        except Exception as error:  # otherwise rclpy would send no answer
            return SetParametersResult(successful=False, reason=reason(error))
        if result.successful:
            result.reason = '; '.join(
                f'{old.name}: one string is a list of one, {new.value}; commas stay part of it'
                for old, new in zip(given, changes, strict=True)
                if (old.type_, new.type_) == (Parameter.Type.STRING, Parameter.Type.STRING_ARRAY)
            )
        return result


def reason(error: Exception) -> str:
    """Return an error as one line; errors of this project need no type name."""
    kind = '' if isinstance(error, ValueError) else f'{type(error).__name__}: '
    help_ = f'; {NEEDS_LESS}' if is_out_of_memory(error) else ''
    return kind + one_line(error) + help_
