# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The stand-in says the same as the real `launch` and `launch_ros`; skipped where they are not."""

import importlib
import inspect

import pytest
from launch_stand_in import MODULES, in_use
from unfolding import describe, unfold

SEGMENT = {
    'prompts': 'yes, 12, red ball ,"quoted": #1',
    'model': '1e3',
    'device': 'cuda:0',
    'pretrained': 'null',
    'image_topic': '/lens',
    'transport': 'compressed',
    'use_sim_time': 'true',
    'autostart': 'false',
    'respawn': 'false',
    'log_level': 'debug',
}


@pytest.fixture(autouse=True)
def _real_packages():
    pytest.importorskip('launch', reason='there is no launch here')
    pytest.importorskip('launch_ros', reason='there is no launch_ros here')


REST = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
NAMES = [(module, thing) for module, things in MODULES.items() for thing in things]


@pytest.mark.parametrize(
    ('module', 'ours'), NAMES, ids=lambda value: getattr(value, '__name__', value)
)
def test_the_real_package_has_the_name_and_its_parameters(module, ours):
    real = getattr(importlib.import_module(module), ours.__name__)
    known = parameters(real)
    for name, parameter in parameters(ours).items():
        assert name in known
        assert parameter.kind == known[name].kind, name
    needed = [name for name, p in inspect.signature(real).parameters.items() if is_needed(p)]
    assert set(needed) <= set(parameters(ours))


def parameters(thing):
    """Parameters of a function, or of a class with those that it hands on to its bases."""
    found = {}
    functions = [c.__init__ for c in thing.__mro__] if inspect.isclass(thing) else [thing]
    for function in functions:
        own = inspect.signature(function).parameters
        found = {
            name: p for name, p in own.items() if p.kind not in REST and name != 'self'
        } | found
        if all(p.kind != inspect.Parameter.VAR_KEYWORD for p in own.values()):
            break
    return found


def is_needed(parameter):
    return parameter.default is parameter.empty and parameter.kind not in REST


@pytest.mark.usefixtures('ros2_bag')
@pytest.mark.parametrize(
    ('file', 'arguments'),
    [
        ('segment.launch.py', {}),
        ('segment.launch.py', SEGMENT),
        ('segment.launch.py', {'namespace': 'robot1/arm'}),
        ('segment.launch.py', {'namespace': '/robot1/', 'ros_namespace': '/fleet'}),
        ('segment.launch.py', {'namespace': 'arm', 'ros_namespace': '/fleet'}),
        ('replay.launch.py', {'bag': 'BAG'}),
        ('replay.launch.py', {'bag': 'BAG', 'record': '', 'rate': '2.0', 'prompts': 'a, b'}),
    ],
)
def test_a_launch_file_comes_to_the_same(file, arguments, bag):
    arguments = {name: str(bag) if value == 'BAG' else value for name, value in arguments.items()}
    real = describe(*unfold(file, **arguments))
    with in_use():
        assert describe(*unfold(file, **arguments)) == real


@pytest.mark.parametrize(
    'arguments',
    [{'autostart': 'maybe'}, {'log_level': 'loud'}, {'params_file': '/no/such.yaml'}],
)
def test_errors_equal_those_of_the_real_packages(arguments):
    with pytest.raises(RuntimeError) as real:
        unfold('segment.launch.py', **arguments)
    with in_use(), pytest.raises(RuntimeError) as ours:
        unfold('segment.launch.py', **arguments)
    assert str(ours.value) == str(real.value)
