# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""A launch file unfolded without starting anything, with the real `launch` or with the stand-in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parents[2] / 'launch'


class _Loader(yaml.SafeLoader):
    """Takes the mark that launch_ros writes at lists; rcl's parser passes over it."""


_Loader.add_constructor(
    'tag:yaml.org,2002:python/tuple', lambda loader, node: loader.construct_sequence(node)
)


def unfold(file: str, **arguments: str) -> tuple[list[Any], Any]:
    """Return all actions that a file comes to, and the context that knows the arguments."""
    from launch.launch_description_sources import get_launch_description_from_python_launch_file

    from launch import LaunchContext

    context = LaunchContext()
    context.launch_configurations.update(arguments)
    description = get_launch_description_from_python_launch_file(str(FOLDER / file))
    return list(_unfold(description, context)), context


def _unfold(entity: Any, context: Any) -> Iterator[Any]:
    from launch.actions import ExecuteProcess, RegisterEventHandler, TimerAction

    yield entity
    if isinstance(entity, RegisterEventHandler):
        for inner in entity.event_handler.describe()[1]:
            yield from _unfold(inner, context)
    elif isinstance(entity, TimerAction):
        for inner in entity.actions:
            yield from _unfold(inner, context)
    elif not (isinstance(entity, ExecuteProcess) or _kind(entity) == 'EmitEvent'):
        for inner in entity.visit(context) or []:  # a visit of those would start something
            yield from _unfold(inner, context)


def command(action: Any, context: Any) -> list[str]:
    """Return the command line of a process, in words."""
    from launch.utilities import perform_substitutions

    return [perform_substitutions(context, part) for part in action.cmd]


@dataclass(frozen=True)
class Node:
    """What a node is started with.

    Attributes:
        command: Its command line, in words, without the parameter files.
        parameters: What the parameter files say, in their order, by node.
        respawn, respawn_delay, output, emulate_tty: As of ExecuteProcess.
        environment: What is added to the environment.
    """

    command: list[str]
    parameters: list[dict[str, Any]]
    respawn: bool
    respawn_delay: float
    output: str
    emulate_tty: bool
    environment: dict[str, str]

    def overrides(self) -> dict[str, Any]:
        """Return the parameters that the arguments have set over those of the file."""
        assert len(self.parameters) <= 2
        (found,) = self.parameters[1:] or [{'': {'ros__parameters': {}}}]
        ((_, parameters),) = found.items()
        return dict(parameters['ros__parameters'])


def node(actions: list[Any], context: Any, kind: str = 'LifecycleNode') -> Node:
    """Return what the one node of a kind among actions is started with."""
    from launch.utilities import perform_substitutions

    (action,) = (a for a in actions if _kind(a) == kind)
    action._perform_substitutions(context)  # the first thing that the real one does on its start
    if hasattr(context, 'extend_locals'):  # the second, in the real one only
        namespace, _, name = action.node_name.rpartition('/')
        names = {'name': f'__node:={name}', 'ns': f'__ns:={namespace or "/"}'}
        context.extend_locals({'ros_specific_arguments': names})
    words, files = command(action, context), []
    while '--params-file' in words:
        at = words.index('--params-file')
        files.append(yaml.load(Path(words[at + 1]).read_text(), _Loader))
        del words[at : at + 2]
    return Node(
        command=words,
        parameters=files,
        respawn=_private(action, 'respawn'),
        respawn_delay=_private(action, 'respawn_delay'),
        output=''.join(part if isinstance(part, str) else part.text for part in action.output),
        emulate_tty=action.emulate_tty,
        environment={
            perform_substitutions(context, name): perform_substitutions(context, value)
            for name, value in action.process_description.additional_env or ()
        },
    )


def describe(actions: list[Any], context: Any) -> list[Any]:
    """Tell all actions as plain data."""
    return [_describe(action, context) for action in actions]


def _describe(action: Any, context: Any) -> Any:
    from launch.utilities import perform_substitutions

    kind = _kind(action)
    told: Any = None
    if kind == 'DeclareLaunchArgument':
        default = action.default_value
        text = None if default is None else perform_substitutions(context, default)
        told = (action.name, text, action.choices)
    elif kind in ('LifecycleNode', 'Node'):
        told = node([action], context, kind)
    elif kind == 'ExecuteProcess':
        told = command(action, context)
    elif kind == 'TimerAction':
        told = action.period
    elif kind == 'LogInfo':
        told = perform_substitutions(context, action.msg)
    elif kind == 'EmitEvent':
        event = action.event
        told = (_kind(event), getattr(event, 'reason', None), getattr(event, 'transition_id', None))
    elif kind == 'RegisterEventHandler':
        told = _kind(action.event_handler)
    return kind, told


def _kind(thing: Any) -> str:
    return type(thing).__name__


def _private(action: Any, name: str) -> Any:
    """Return what launch keeps to itself."""
    (value,) = (v for k, v in vars(action).items() if k.endswith(f'__{name}'))
    return value
