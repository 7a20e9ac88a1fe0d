# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""The types in bags are the ones that are built: same definitions, same hashes."""

import json
import os
from pathlib import Path

import pytest

from clip_dinoiser_ros.bag.types import DEFINITIONS, typestore
from clip_dinoiser_ros.frames.outputs import LIVE_OUTPUTS, OUTPUTS

ROOT = Path(__file__).parents[2]


def test_definitions_are_copies():
    """Of all messages that a topic has; FoundObject is in answers of a service."""
    originals = {
        'clip_dinoiser_ros': ROOT / 'msg',
        'vision_msgs': ROOT / 'test/vision_msgs/msg',
    }
    copies = {path.parent.name: path.parent for path in DEFINITIONS.glob('*/*.msg')}
    assert copies.keys() == originals.keys()
    for package, folder in originals.items():
        texts = {
            path.name: path.read_text()
            for path in folder.glob('*.msg')
            if path.stem != 'FoundObject'
        }
        assert {path.name: path.read_text() for path in copies[package].iterdir()} == texts


def test_hashes_are_those_of_the_built_types():
    prefixes = os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep)
    built = {}
    for prefix in filter(None, prefixes):
        for path in Path(prefix).glob('share/*/msg/*.json'):
            for entry in json.loads(path.read_text())['type_hashes']:
                built[entry['type_name']] = entry['hash_string']
    if not built:
        pytest.skip('no ROS in this environment')
    for type_name in {output.type_name for output in (*OUTPUTS.values(), *LIVE_OUTPUTS.values())}:
        assert typestore().hash_rihs01(type_name) == built[type_name]
