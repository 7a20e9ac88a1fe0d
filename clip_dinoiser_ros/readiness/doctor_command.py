# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""`clip-dinoiser doctor`: what is installed, what is missing, and what to do about it."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict

from clip_dinoiser_ros.arguments import add_device_arguments, add_weights_arguments
from clip_dinoiser_ros.readiness.finding import Finding
from clip_dinoiser_ros.readiness.software import (
    examine_packages,
    examine_python,
    examine_ros,
    examine_torch,
)
from clip_dinoiser_ros.readiness.weights import examine_folders, examine_weights


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    add_device_arguments(add_weights_arguments(parser))
    parser.add_argument('--json', action='store_true', help='for programs')


def run(args: argparse.Namespace) -> int:
    """Print the findings; return 0 if the node can run, else 1."""
    findings = list(_examine(args))
    missing = [finding.about for finding in findings if finding.level == 'missing']
    if args.json:
        content = {'ready': not missing, 'findings': [asdict(finding) for finding in findings]}
        print(json.dumps(content, indent=2))  # noqa: T201
    else:
        for finding in findings:
            print(_line(finding))  # noqa: T201
        verdict = f'cannot start: {", ".join(missing)}' if missing else 'can start'
        print(f'\nThe node {verdict}')  # noqa: T201
    return 1 if missing else 0


def _examine(args: argparse.Namespace) -> Iterator[Finding]:
    yield examine_python()
    yield from examine_torch(args.device, args.precision, args.engine)
    yield from examine_packages()
    yield from examine_ros()
    yield from examine_weights(args.model, args.pretrained, args.heads)
    yield from examine_folders()


def _line(finding: Finding) -> str:
    advice = f'\n{"":9}  -> {finding.advice}' if finding.advice else ''
    return f'{finding.level:9}{finding.about}: {finding.text}{advice}'
