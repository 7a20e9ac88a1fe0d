# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The settings of the page as parameters of the node."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import rcl_interfaces.msg
from rclpy.parameter import Parameter

from clip_dinoiser_ros.web.source import SETTINGS, Settings

TEXT, TEXTS = Parameter.Type.STRING, Parameter.Type.STRING_ARRAY
# an empty list has no type of its own; the others are numbers
TYPES = {'prompts': TEXTS, 'negative_prompts': TEXTS, 'background': TEXT}


def to_parameters(settings: Settings) -> list[rcl_interfaces.msg.Parameter]:
    """Return settings as the node takes them."""
    return [_to_parameter(name, value) for name, value in settings.items()]


def _to_parameter(name: str, value: Any) -> rcl_interfaces.msg.Parameter:
    kind = TYPES.get(name, Parameter.Type.DOUBLE)
    converted = {TEXTS: list, TEXT: str}.get(kind, float)(value)
    return Parameter(name, kind, converted).to_parameter_msg()


def to_settings(values: Sequence[Any]) -> Settings:
    """Return the values of the parameters `SETTINGS` as settings."""
    settings = dict(zip(SETTINGS, values, strict=True))
    if settings['negative_prompts'] == ('',):  # how a parameter file says that there are none
        settings['negative_prompts'] = ()
    return settings


def refused_parameter(reason: str, settings: Settings) -> str:
    """Return which of the settings a reason is about; one that names none is about a prompt."""
    if len(settings) == 1:
        return next(iter(settings))
    words = re.findall(r'\w+', reason.replace('negative prompts', 'negative_prompts'))
    named = [word for word in words if word in settings]
    return named[0] if named else 'prompts' if 'prompts' in settings else ''
