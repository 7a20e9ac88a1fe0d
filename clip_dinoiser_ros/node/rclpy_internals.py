# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""All uses of private names of rclpy; the test names the versions that were checked."""

from __future__ import annotations

from typing import Any

from rclpy.lifecycle import LifecycleNode
from rclpy.node import Node

from clip_dinoiser_ros.core.errors import one_line


def refuse_unavailable_transitions(node: LifecycleNode) -> None:
    """Let a node refuse requests for transitions that its state does not have.

    rclpy raises an error and sends no answer, so the client waits.
    """
    service: Any = node._service_change_state
    machine: Any = node._state_machine
    change_state = service.callback

    def answer(request: Any, response: Any) -> Any:
        try:
            return change_state(request, response)
        except RuntimeError as error:  # errors of rcl are RuntimeErrors
            asked = request.transition.label or request.transition.id
            allowed = [label for _, label, *_ in machine.available_transitions]
            node.get_logger().error(
                f'transition {asked} refused in state {machine.current_state[1]}, '
                f'allowed: {", ".join(allowed) or "none"} (RuntimeError: {one_line(error)})'
            )
            response.success = False
            return response

    service.callback = answer


def given_parameters(node: Node) -> list[str]:
    """Return the names of the parameters that a file or the command line gives to a node."""
    overrides: Any = node._parameter_overrides
    return list(overrides)


def current_state(node: LifecycleNode) -> str:
    """Return the state of a node: 'unconfigured', 'inactive', 'active', 'finalized'."""
    machine: Any = node._state_machine
    label: str = machine.current_state[1]
    return label
