# Copyright 2026 clip_dinoiser_ros maintainers
# SPDX-License-Identifier: Apache-2.0

"""Whichever vision_msgs is on the path, ours or a robot's: it is the type that consumers know."""

import json
import os
from pathlib import Path

import pytest

# as built from vision_msgs 4.1.1
HASHES = {
    'VisionClass': 'RIHS01_1e4a11f0fed50b5623cb8ff26ca0e37952a48a9c074d16f804b44e9164c2037a',
    'LabelInfo': 'RIHS01_3d37df4015cdf660cc851c51897f2acd957e1ca6205ba0a99aebffb9406b0783',
}


@pytest.fixture
def definitions():
    """Give the folder of the generated vision_msgs definitions."""
    prefixes = os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep)
    for prefix in filter(None, prefixes):
        folder = Path(prefix, 'share/vision_msgs/msg')
        if folder.is_dir():
            return folder
    if not any(Path(prefix, 'share/rclpy').is_dir() for prefix in prefixes):
        pytest.skip('no ROS in this environment')
    return pytest.fail(f'no vision_msgs in {prefixes}')


@pytest.mark.parametrize('name', HASHES)
def test_type_is_the_real_one(definitions, name):
    description = json.loads((definitions / f'{name}.json').read_text())
    hashes = {entry['type_name']: entry['hash_string'] for entry in description['type_hashes']}
    assert hashes[f'vision_msgs/msg/{name}'] == HASHES[name]


def test_python_type_carries_the_fields(definitions):
    from vision_msgs.msg import LabelInfo, VisionClass

    message = LabelInfo(class_map=[VisionClass(class_id=65535, class_name='a')], threshold=0.5)
    assert LabelInfo.get_fields_and_field_types() == {
        'header': 'std_msgs/Header',
        'class_map': 'sequence<vision_msgs/VisionClass>',
        'threshold': 'float',
    }
    assert message.class_map[0].class_id == 65535
