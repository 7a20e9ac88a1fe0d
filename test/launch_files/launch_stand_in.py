# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""A stand-in for the packages `launch` and `launch_ros`, which have no wheels.

It knows only what the files in launch/ use of them, records what they ask for, and starts nothing.
A name or an argument that it does not know is an error. test_stand_in.py compares it with the real
packages where these are installed.
"""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import yaml
from ament_index_python.packages import get_package_prefix, get_package_share_directory


class LaunchContext:
    def __init__(self) -> None:
        self.launch_configurations: dict[str, str] = {}


# substitutions


class Substitution:
    def perform(self, context: LaunchContext) -> str:
        raise NotImplementedError


class LaunchConfiguration(Substitution):
    def __init__(self, variable_name: str) -> None:
        self.variable_name = variable_name

    def perform(self, context: LaunchContext) -> str:
        if self.variable_name not in context.launch_configurations:
            raise RuntimeError(f'launch configuration {self.variable_name!r} does not exist')
        return context.launch_configurations[self.variable_name]


class PathJoinSubstitution(Substitution):
    def __init__(self, substitutions: Iterable[Any]) -> None:
        self.substitutions = list(substitutions)

    def perform(self, context: LaunchContext) -> str:
        return str(Path(*(_perform(context, part) for part in self.substitutions)))


class FindPackageShare(Substitution):
    def __init__(self, package: str) -> None:
        self.package = package

    def perform(self, context: LaunchContext) -> str:
        return get_package_share_directory(self.package)


def perform_substitutions(context: LaunchContext, subs: Iterable[Any]) -> str:
    return ''.join(_perform(context, part) for part in subs)


def _perform(context: LaunchContext, value: Any) -> str:
    return value.perform(context) if isinstance(value, Substitution) else str(value)


# descriptions


class LaunchDescription:
    def __init__(self, initial_entities: Iterable[Any]) -> None:
        self.entities = list(initial_entities)

    def visit(self, context: LaunchContext) -> list[Any]:
        return self.entities


def get_launch_description_from_python_launch_file(
    python_launch_file_path: str,
) -> LaunchDescription:
    spec = importlib.util.spec_from_file_location('launch_file', python_launch_file_path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    description: LaunchDescription = module.generate_launch_description()
    return description


class PythonLaunchDescriptionSource:
    def __init__(self, launch_file_path: str) -> None:
        self.launch_file_path = launch_file_path


# actions


class Action:
    def visit(self, context: LaunchContext) -> Any:
        return self.execute(context)

    def execute(self, context: LaunchContext) -> Any:
        return None


class DeclareLaunchArgument(Action):
    def __init__(
        self,
        name: str,
        *,
        default_value: Any = None,
        description: str | None = None,
        choices: list[str] | None = None,
    ) -> None:
        if choices is not None and isinstance(default_value, str) and default_value not in choices:
            raise RuntimeError(f'default {default_value!r} of {name!r} is not among {choices}')
        self.name = name
        self.choices = choices
        self.description = description
        self.default_value = None if default_value is None else [default_value]

    def execute(self, context: LaunchContext) -> None:
        values = context.launch_configurations
        if self.name not in values:
            if self.default_value is None:
                raise RuntimeError(f'Required launch argument "{self.name}" was not provided.')
            values[self.name] = perform_substitutions(context, self.default_value)
        if self.choices is not None and values[self.name] not in self.choices:
            raise RuntimeError(
                f'Argument "{self.name}" provided value "{values[self.name]}" is not valid. '
                f'Valid options are: {self.choices}'
            )


class EmitEvent(Action):
    def __init__(self, *, event: Any) -> None:
        self.event = event


class LogInfo(Action):
    def __init__(self, *, msg: Any) -> None:
        self.msg = [msg]


class OpaqueFunction(Action):
    def __init__(self, *, function: Callable[[LaunchContext], Any]) -> None:
        self.function = function

    def execute(self, context: LaunchContext) -> Any:
        return self.function(context)


class TimerAction(Action):
    def __init__(self, *, period: float, actions: Iterable[Any]) -> None:
        self.period = period
        self.actions = list(actions)


class RegisterEventHandler(Action):
    def __init__(self, event_handler: EventHandler) -> None:
        self.event_handler = event_handler


class IncludeLaunchDescription(Action):
    def __init__(
        self,
        launch_description_source: PythonLaunchDescriptionSource,
        *,
        launch_arguments: Iterable[tuple[str, Any]] = (),
    ) -> None:
        self.launch_description_source = launch_description_source
        self.launch_arguments = list(launch_arguments)

    def execute(self, context: LaunchContext) -> list[Any]:
        path = self.launch_description_source.launch_file_path
        description = get_launch_description_from_python_launch_file(path)
        return [*(SetLaunchConfiguration(*pair) for pair in self.launch_arguments), description]


class SetLaunchConfiguration(Action):
    def __init__(self, name: str, value: Any) -> None:
        self.name, self.value = name, value

    def execute(self, context: LaunchContext) -> None:
        context.launch_configurations[self.name] = _perform(context, self.value)


class ExecuteProcess(Action):
    def __init__(
        self,
        *,
        cmd: Sequence[Any],
        output: str = 'log',
        emulate_tty: bool = False,
        respawn: bool = False,
        respawn_delay: float | None = None,
        additional_env: Mapping[str, str] | None = None,
    ) -> None:
        if not isinstance(respawn, bool):
            raise TypeError(f'respawn must be a bool, got {respawn!r}')
        self.cmd = [[part] for part in cmd]
        self.output = [output]
        self.emulate_tty = emulate_tty
        self.__respawn = respawn
        self.__respawn_delay = respawn_delay
        added = None if additional_env is None else [([k], [v]) for k, v in additional_env.items()]
        self.process_description = SimpleNamespace(additional_env=added)


class Node(ExecuteProcess):
    def __init__(
        self,
        *,
        name: str,
        namespace: str,
        package: str,
        executable: str,
        parameters: Sequence[Any] = (),
        arguments: Sequence[str] = (),
        ros_arguments: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        program = Path(get_package_prefix(package), 'lib', package, executable)
        given = ['--ros-args', *ros_arguments] if ros_arguments else []
        super().__init__(cmd=[program, *arguments, *given, '--ros-args'], **kwargs)
        self._name, self._namespace, self._parameters = name, namespace, parameters

    def _perform_substitutions(self, context: LaunchContext) -> None:
        """Add name, namespace and parameter files to the command line, as the real one does."""
        outer = context.launch_configurations.get('ros_namespace')
        namespace = '/' + (prefix_namespace(outer, self._namespace) or '').lstrip('/')
        words = ['-r', f'__node:={self._name}', '-r', f'__ns:={namespace}']
        for parameters in self._parameters:
            if isinstance(parameters, Mapping):
                parameters = _write({f'{namespace.rstrip("/")}/{self._name}': parameters})
            words += ['--params-file', str(parameters)]
        self.cmd += [[word] for word in words]


class LifecycleNode(Node):
    pass


def _write(nodes: Mapping[str, Mapping[str, Any]]) -> str:
    with tempfile.NamedTemporaryFile('w', prefix='launch_params_', delete=False) as file:
        yaml.safe_dump({name: {'ros__parameters': dict(p)} for name, p in nodes.items()}, file)
    return file.name


def prefix_namespace(base_ns: str | None, ns: str | None) -> str | None:
    if not base_ns or ns is None or ns.startswith('/'):
        joined = base_ns if ns is None else ns
    else:
        joined = f'{base_ns.rstrip("/")}/{ns}'
    return joined if joined is None or joined == '/' else joined.rstrip('/')


# events and their handlers


class Shutdown:
    def __init__(self, *, reason: str) -> None:
        self.reason = reason


class ChangeState:
    def __init__(
        self, *, lifecycle_node_matcher: Callable[[Any], bool], transition_id: int
    ) -> None:
        self.lifecycle_node_matcher = lifecycle_node_matcher
        self.transition_id = transition_id


class EventHandler:
    def __init__(self, entities: Any) -> None:
        if callable(entities):
            self.entities = []
        else:
            self.entities = list(entities) if isinstance(entities, Iterable) else [entities]

    def describe(self) -> tuple[str, list[Any]]:
        return type(self).__name__, self.entities


class OnProcessStart(EventHandler):
    def __init__(self, *, target_action: Any = None, on_start: Any) -> None:
        super().__init__(on_start)
        self.target_action = target_action


class OnProcessExit(EventHandler):
    def __init__(self, *, target_action: Any = None, on_exit: Any) -> None:
        super().__init__(on_exit)
        self.target_action = target_action


class OnStateTransition(EventHandler):
    def __init__(
        self, *, entities: Any, start_state: str | None = None, goal_state: str | None = None
    ) -> None:
        super().__init__(entities)
        self.start_state, self.goal_state = start_state, goal_state


MODULES: Mapping[str, Sequence[Any]] = {
    'launch': [LaunchContext, LaunchDescription],
    'launch.actions': [
        DeclareLaunchArgument,
        EmitEvent,
        ExecuteProcess,
        IncludeLaunchDescription,
        LogInfo,
        OpaqueFunction,
        RegisterEventHandler,
        SetLaunchConfiguration,
        TimerAction,
    ],
    'launch.event_handlers': [OnProcessExit, OnProcessStart],
    'launch.events': [Shutdown],
    'launch.launch_description_sources': [
        PythonLaunchDescriptionSource,
        get_launch_description_from_python_launch_file,
    ],
    'launch.substitutions': [LaunchConfiguration, PathJoinSubstitution],
    'launch.utilities': [perform_substitutions],
    'launch_ros': [],
    'launch_ros.actions': [LifecycleNode, Node],
    'launch_ros.event_handlers': [OnStateTransition],
    'launch_ros.events': [],
    'launch_ros.events.lifecycle': [ChangeState],
    'launch_ros.substitutions': [FindPackageShare],
    'launch_ros.utilities': [prefix_namespace],
}


@contextmanager
def in_use() -> Iterator[None]:
    """Let `import launch` and `import launch_ros` find the stand-in."""
    hidden = {name: sys.modules.pop(name) for name in list(sys.modules) if _is_ours(name)}
    for name, contents in MODULES.items():
        module = ModuleType(name)
        vars(module).update({thing.__name__: thing for thing in contents})
        sys.modules[name] = module
    try:
        yield
    finally:
        for name in list(sys.modules):
            if _is_ours(name):
                del sys.modules[name]
        sys.modules.update(hidden)


def _is_ours(name: str) -> bool:
    return name.partition('.')[0] in ('launch', 'launch_ros')
